"""Old files leave the log volume, and nothing else does."""
