"""Who asks and what they may: each user's own Kubernetes token, and the API server's word on it."""
