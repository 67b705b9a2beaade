"""Every finished job's record is stored: the outbox, its bounded retry cache, and the endpoint."""
