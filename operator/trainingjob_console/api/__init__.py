"""The HTTP API of the page: session, list of jobs, one job and its logs, actions, housekeeping."""
