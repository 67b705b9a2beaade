"""Jobs, live and of the past: the bounded index, filters, pages, one job, and what can be done to it."""
