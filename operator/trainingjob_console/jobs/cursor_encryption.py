"""Makes a text a word that only this console can read and make: a browser keeps it, and learns nothing.

The key comes from a secret. Consoles that share the secret read each other's words.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final

_NONCE: Final = 16
_TAG: Final = 16


def encrypt(secret: bytes, text: str) -> str:
    """Return the text as a word that fits into a query, another one each time."""
    hiding, proving = _keys(secret)
    nonce = secrets.token_bytes(_NONCE)
    hidden = nonce + _with_stream(hiding, nonce, text.encode())
    return base64.urlsafe_b64encode(hidden + _tag(proving, hidden)).decode().rstrip("=")


def decrypt(secret: bytes, word: str) -> str:
    """Return the text of a word.

    Raises:
        ValueError: it was not made with this secret.
    """
    hiding, proving = _keys(secret)
    try:
        data = base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise ValueError("no sealed word") from error
    hidden, tag = data[:-_TAG], data[-_TAG:]
    if not hmac.compare_digest(tag, _tag(proving, hidden)):
        raise ValueError("no sealed word")
    return _with_stream(hiding, hidden[:_NONCE], hidden[_NONCE:]).decode()


def _keys(secret: bytes) -> tuple[bytes, bytes]:
    return (
        hmac.digest(secret, b"trainingjob-console hiding", "sha256"),
        hmac.digest(secret, b"trainingjob-console proving", "sha256"),
    )


def _with_stream(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Hide the data, or show it again: it is combined with bytes that only the key's owner knows."""
    stream = hashlib.shake_256(key + nonce).digest(len(data))
    return bytes(a ^ b for a, b in zip(data, stream, strict=True))


def _tag(key: bytes, hidden: bytes) -> bytes:
    return hmac.digest(key, hidden, "sha256")[:_TAG]
