"""A TrainingJob becomes pods and ends with one outcome: index, queue, passes, resync."""
