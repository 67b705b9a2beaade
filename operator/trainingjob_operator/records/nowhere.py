"""Where records go while no endpoint is set: nowhere, and nothing is lost of what is owed.

A job that owes one from another day keeps its finalizer, and waits for an endpoint.
"""

from typing import Final

from trainingjob_operator.core.decision import Delivery
from trainingjob_operator.core.job import JobKey, JobStatus, JobView


class NoRecords:
    """Takes the outbox's place."""

    endpoint_is_down: Final = False

    def offer(self, key: JobKey) -> None:
        """The job waits in the cluster."""

    def delivery_of(self, job: JobView) -> Delivery | None:
        """There is never any news."""
        return None

    def forget_delivery(self, key: JobKey) -> None:
        """Nothing was remembered."""

    async def store_at_once(self, job: JobView, status: JobStatus) -> bool:
        """Nothing is stored."""
        return False
