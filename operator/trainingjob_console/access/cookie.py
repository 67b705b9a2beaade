"""The session cookie: the user's token in pieces that a browser takes, in the browser and nowhere else.

`__Host-` binds it to this very host over TLS. Over plain HTTP a browser would not take such a
cookie, so on loopback, where nobody listens in between, it has a plain name. That name has the port:
browsers send the cookies of a host to all its ports, where other clusters are forwarded to.
"""

import re
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

PIECE: Final = 3800
"""Characters of one cookie: browsers take 4,096 bytes with its name and attributes."""

MAX_PIECES: Final = 4
MAX_TOKEN: Final = PIECE * MAX_PIECES
_SECURE: Final = "__Host-trainingjob-"
_AGE_S: Final = 12 * 3600
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")


def is_token(text: str) -> bool:
    """Return True if this can be a bearer token."""
    return 0 < len(text) <= MAX_TOKEN and _TOKEN.fullmatch(text) is not None


def read_token(cookies: Mapping[str, str], *, secure: bool, port: int) -> str:
    """Return the token of a request's cookies; empty: there is none.

    Args:
        cookies: of the request.
        secure: the browser speaks TLS.
        port: to which the browser speaks.
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
    """Set the cookie, and take away what is left of a longer one; an empty token: all of it.

    Args:
        response: gets it.
        token: of the user.
        secure: the browser speaks TLS.
        port: to which the browser speaks.
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
