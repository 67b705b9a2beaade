"""The only package that talks to Kubernetes, and the only importer of its client."""
