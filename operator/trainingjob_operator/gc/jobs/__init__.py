"""Finished jobs leave the cluster."""
