"""The API server client: calls with a user's token, or with the console's own account."""
