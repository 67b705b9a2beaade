"""How much memory a document takes once it is decoded, estimated from its JSON.

The size of a job is its user's to choose, and so is its shape: a megabyte of `{},{},...` takes
thirty megabytes as objects, a megabyte of text takes one. What is bounded is therefore this
estimate, and not a number of objects or of bytes on the wire.
"""

import json
from typing import Final

_MAPPING: Final = 200
_SEQUENCE: Final = 80
_MEMBER: Final = 60
_WIDEST: Final = 4
"""One character outside the basic plane makes every character of its string as wide."""


def weight_of(encoded: bytes) -> int:
    """Bytes of memory that this JSON, or a part of it, takes when it is decoded, and a little more."""
    text = len(encoded) * (1 if encoded.isascii() else _WIDEST)
    mappings, sequences = encoded.count(b"{"), encoded.count(b"[")
    return text + _MAPPING * mappings + _SEQUENCE * sequences + _MEMBER * encoded.count(b",")


def weight_of_document(document: object) -> int:
    """The same of a document that is decoded already."""
    return weight_of(
        json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(
            "utf-8", "surrogatepass"
        )
    )
