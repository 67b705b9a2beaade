"""Old files leave the log volume."""
