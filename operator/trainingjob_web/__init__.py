"""Shared library of the programs: bounded HTTP connections, TLS, uvicorn, settings, logs, kubeconfig."""
