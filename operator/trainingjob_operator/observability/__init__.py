"""Serves metrics and probes, on a port that every pod of the cluster can reach."""
