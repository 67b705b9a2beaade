"""The console: live status, logs, history and housekeeping in a browser, with each user's own rights.

A process of its own, without state on disk; any number of them can run. It stands alone: it knows the
Kubernetes API and the record service's, and nothing else of the operator.
"""
