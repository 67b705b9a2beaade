"""The logs of jobs: what pods write now, and what was archived of those that are gone."""
