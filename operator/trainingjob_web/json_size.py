"""How much memory JSON takes when it is decoded, as is known before that."""

from typing import Final

_MAPPING: Final = 200
_SEQUENCE: Final = 80
_MEMBER: Final = 60
_WIDEST: Final = 4
"""One character outside the basic plane makes every character of its string as wide."""


def decoded_size(encoded: bytes) -> int:
    """Bytes of memory that this JSON, or a part of it, takes when it is decoded, and a little more."""
    text = len(encoded) * (1 if encoded.isascii() else _WIDEST)
    mappings, sequences = encoded.count(b"{"), encoded.count(b"[")
    return text + _MAPPING * mappings + _SEQUENCE * sequences + _MEMBER * encoded.count(b",")
