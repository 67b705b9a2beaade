"""Housekeeping: finished jobs leave the cluster, then memory, and their files leave the volume."""
