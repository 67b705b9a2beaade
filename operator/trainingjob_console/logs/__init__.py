"""The logs of jobs: live logs of pods, and archived logs of deleted pods."""
