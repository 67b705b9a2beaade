"""The adapter to kopf: its settings, and handlers that only delegate and return None."""
