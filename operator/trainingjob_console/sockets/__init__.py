"""What a browser tab is sent over its WebSocket, and the limit of everything that waits for it."""
