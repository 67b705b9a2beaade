"""Noticing what kopf asks for, and what it is answered: it has no hook for that.

kopf watches RetentionPolicies. It looks for that kind when it starts, and of some namespaces never
again; and when the kind is not served any more it fails, for good. Its requests go through a
session of ours.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Final

import aiohttp

from trainingjob_api.constants import PLURAL_RETENTION_POLICIES
from trainingjob_operator.kube.errors import NOT_FOUND


class KopfRequestTrace:
    """Sees the answers to kopf's requests for policies.

    Attributes:
        has_asked: kopf has asked for policies, and was answered: it knows of the kind.
    """

    def __init__(self, on_missing: Callable[[str], object]) -> None:
        """Prepare; `config` goes into the session that kopf uses.

        Args:
            on_missing: takes the path of policies that are not served any more. kopf fails right
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
