"""The sweep of the log volume: removes expired files of jobs, and nothing else."""
