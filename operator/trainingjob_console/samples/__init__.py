"""Metrics of the operators: a day of samples, derived alerts, and the runs of retention."""
