"""The session cookie: holds the user's token, split into several cookies to fit the browser's size limit.

The token is stored in the browser only. Over TLS the `__Host-` prefix binds the cookie to this
host. Browsers reject that prefix over plain HTTP. So on loopback, where nobody can eavesdrop, the name has
no prefix but contains the port: browsers send a host's cookies to all its ports, and another port
may be forwarded to another cluster.
"""

import re
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

PIECE: Final = 3800
"""Characters per cookie: browsers accept 4,096 bytes including name and attributes."""

MAX_PIECES: Final = 4
MAX_TOKEN: Final = PIECE * MAX_PIECES
_SECURE: Final = "__Host-trainingjob-"
_AGE_S: Final = 12 * 3600
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")


def is_token(text: str) -> bool:
    """Return True if the text has the form of a bearer token."""
    return 0 < len(text) <= MAX_TOKEN and _TOKEN.fullmatch(text) is not None


def read_token(cookies: Mapping[str, str], *, secure: bool, port: int) -> str:
    """Return the token from a request's cookies; empty: there is none.

    Args:
        cookies: the cookies of the request.
        secure: True if the browser uses TLS.
        port: the port that the browser connects to.
    """
    prefix = _prefix(secure=secure, port=port)
    pieces = []
    for number in range(MAX_PIECES):
        piece = cookies.get(f"{prefix}{number}")
        if not piece:
            break
        pieces.append(piece)
    token = "".join(pieces)
    return token if is_token(token) else ""


def set_token(response: Response, token: str, *, secure: bool, port: int) -> None:
    """Set the cookies of a token, and expire the surplus ones of a longer token before it.

    Args:
        response: the response that sets the cookies.
        token: the user's token; empty: expire all its cookies.
        secure: True if the browser uses TLS.
        port: the port that the browser connects to.
    """
    prefix = _prefix(secure=secure, port=port)
    for number in range(MAX_PIECES):
        piece = token[number * PIECE : (number + 1) * PIECE]
        response.set_cookie(
            f"{prefix}{number}",
            piece,
            max_age=_AGE_S if piece else 0,
            path="/",
            secure=secure,
            httponly=True,
            samesite="strict",
        )


def _prefix(*, secure: bool, port: int) -> str:
    return _SECURE if secure else f"trainingjob-{port}-"
