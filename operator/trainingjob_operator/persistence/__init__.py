"""How finished jobs get out of the cluster: the record, the writer, and the outbox that retries."""
