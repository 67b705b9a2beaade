"""The HTTP API of the page: the session, the list of jobs, one job, and what can be done to it."""
