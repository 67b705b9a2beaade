"""`trainingjob run`: a TrainingJob on this machine, without a cluster.

It starts a sandbox and the operator as processes, applies the user's file to them, shows the job
until it is finished, and takes everything down again. It uses the API only, as any client would.
"""

from trainingjob_sandbox.run.command import run_job

__all__ = ["run_job"]
