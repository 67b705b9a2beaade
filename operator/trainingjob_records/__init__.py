"""The record service: takes the records of finished jobs, keeps them for 400 days by default, and lists them.

What the operator's outbox PUTs ends here. It stands alone: it knows the wire format of a record
and nothing else of the operator, and needs no cluster.
"""
