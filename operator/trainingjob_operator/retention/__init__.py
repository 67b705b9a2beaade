"""Finished jobs leave the cluster when their time is over: the timer, the policies and their status."""
