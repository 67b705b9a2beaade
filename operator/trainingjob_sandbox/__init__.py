"""The laptop mode: an API server on loopback, and a node that runs pods as processes; not in the image."""
