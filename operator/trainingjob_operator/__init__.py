"""What runs in the cluster: the operator that turns TrainingJobs into pods and follows them."""

__version__ = "0.1.0"
