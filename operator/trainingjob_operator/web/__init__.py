"""The operator's own endpoints, which every pod of the cluster can reach."""
