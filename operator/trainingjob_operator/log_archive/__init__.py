"""A pod's log is on the log volume before the pod is deleted."""
