"""Estimates how much memory a JSON text will use once it is decoded, without decoding it."""

from typing import Final

_MAPPING: Final = 200
_SEQUENCE: Final = 80
_MEMBER: Final = 60
_WIDEST: Final = 4
"""Bytes of a character in a string that has one character outside the Basic Multilingual Plane."""


def decoded_size(encoded: bytes) -> int:
    """Return an upper estimate of the bytes of memory that this JSON, or a part of it, decodes to."""
    text = len(encoded) * (1 if encoded.isascii() else _WIDEST)
    mappings, sequences = encoded.count(b"{"), encoded.count(b"[")
    return text + _MAPPING * mappings + _SEQUENCE * sequences + _MEMBER * encoded.count(b",")
