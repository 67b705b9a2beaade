"""The laptop mode: a loopback API server and a node that runs pods as processes; never in the image."""
