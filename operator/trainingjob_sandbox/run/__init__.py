"""`trainingjob run`: runs a TrainingJob on this machine, without a cluster.

It starts a sandbox and the operator as child processes, creates the objects of the user's file,
shows the job until it is finished, and stops everything. It uses the Kubernetes API only.
"""

from trainingjob_sandbox.run.command import run_job

__all__ = ["run_job"]
