"""The record service: stores the records of finished jobs, for 400 days by default, and lists them.

The operator's outbox sends the records with PUT requests. The service depends on the wire format of a
record and on nothing else of the operator, and does not need a cluster.
"""
