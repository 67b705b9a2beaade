"""The calls of the API server: with a user's token, or with the console's own account."""
