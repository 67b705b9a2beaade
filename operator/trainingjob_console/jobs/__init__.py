"""Jobs, live and deleted: the informer, the bounded index, filters, lists, job details, history and actions."""
