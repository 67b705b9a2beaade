"""The web console: live status, logs, history and housekeeping of jobs, with the rights of each user.

A separate process without state on disk; several replicas can run. It uses only the Kubernetes API and the API of the
record service, and no code of the operator.
"""
