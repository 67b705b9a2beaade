"""Moving jobs towards their specs: the work queue, one pass over one job, and the resync."""
