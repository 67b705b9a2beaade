"""Authenticated encryption of cursors: a browser can neither read nor forge them.

The keys are derived from a secret. Consoles that share the secret can decrypt each other's cursors.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final

_NONCE: Final = 16
_TAG: Final = 16


def encrypt(secret: bytes, text: str) -> str:
    """Return the encrypted text as URL-safe base64; it differs each time because of a random nonce."""
    encryption_key, mac_key = _keys(secret)
    nonce = secrets.token_bytes(_NONCE)
    ciphertext = nonce + _xor_with_key_stream(encryption_key, nonce, text.encode())
    return base64.urlsafe_b64encode(ciphertext + _tag(mac_key, ciphertext)).decode().rstrip("=")


def decrypt(secret: bytes, token: str) -> str:
    """Return the decrypted text.

    Raises:
        ValueError: it was not encrypted with this secret.
    """
    encryption_key, mac_key = _keys(secret)
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise ValueError("not an encrypted cursor") from error
    ciphertext, tag = data[:-_TAG], data[-_TAG:]
    if not hmac.compare_digest(tag, _tag(mac_key, ciphertext)):
        raise ValueError("not an encrypted cursor")
    return _xor_with_key_stream(encryption_key, ciphertext[:_NONCE], ciphertext[_NONCE:]).decode()


def _keys(secret: bytes) -> tuple[bytes, bytes]:
    return (
        hmac.digest(secret, b"trainingjob-console hiding", "sha256"),
        hmac.digest(secret, b"trainingjob-console proving", "sha256"),
    )


def _xor_with_key_stream(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Encrypt or decrypt data: XOR with a SHAKE-256 key stream."""
    stream = hashlib.shake_256(key + nonce).digest(len(data))
    return bytes(a ^ b for a, b in zip(data, stream, strict=True))


def _tag(key: bytes, ciphertext: bytes) -> bytes:
    return hmac.digest(key, ciphertext, "sha256")[:_TAG]
