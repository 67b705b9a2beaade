"""Calls the Kubernetes API; the only package that does, and the only importer of its client."""
