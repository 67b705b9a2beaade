"""Authentication and authorization: users log in with their own Kubernetes tokens, the API server decides."""
