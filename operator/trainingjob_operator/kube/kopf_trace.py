"""Traces kopf's requests for RetentionPolicies, because kopf has no hook that reports them.

kopf watches RetentionPolicies. It discovers that kind when it starts; an operator of only some
namespaces never discovers it again. When the kind is no longer served, kopf fails and does not
recover. Its requests go through a session of ours, where a trace can see them.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Final

import aiohttp

from trainingjob_api.constants import PLURAL_RETENTION_POLICIES
from trainingjob_operator.kube.errors import NOT_FOUND


class KopfRequestTrace:
    """Observes the responses to kopf's requests for policies.

    Attributes:
        has_asked: kopf has requested policies and got a response, so it has discovered the kind.
        config: the trace; it goes into the session that kopf uses.
    """

    def __init__(self, on_missing: Callable[[str], object]) -> None:
        """Begin with no request seen.

        Args:
            on_missing: called with the path of policies that are no longer served. kopf fails right
                after that call.
        """
        self._on_missing: Final = on_missing
        self.has_asked = False
        self.config: Final = aiohttp.TraceConfig()
        self.config.on_request_end.append(self._note)

    async def _note(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        request: aiohttp.TraceRequestEndParams,
    ) -> None:
        path = request.url.path
        if request.method != "GET" or not path.endswith(f"/{PLURAL_RETENTION_POLICIES}"):
            return
        self.has_asked = True
        if request.response.status == NOT_FOUND:
            self._on_missing(path)
