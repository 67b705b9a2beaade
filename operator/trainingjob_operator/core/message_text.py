"""Makes untrusted text safe for messages and logs: truncates it and escapes control characters."""

from trainingjob_api.constants import MAX_MESSAGE_BYTES

_ELLIPSIS = "..."


def truncate(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """Truncate a text to `limit` bytes of UTF-8, at a character boundary, with `...` at the end."""
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= limit:
        return raw.decode("utf-8")
    return raw[: limit - len(_ELLIPSIS)].decode("utf-8", "ignore") + _ELLIPSIS


def one_line(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """Return the truncated text with control characters escaped, so that it cannot forge a log line."""
    # The slice bounds the work on a very long text.
    safe = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii")
        for c in text[: limit * 2]
    )
    return truncate(safe, limit)


def format_age(seconds: float) -> str:
    """Format a duration as kubectl does: in the largest unit of which there are at least two."""
    whole = max(int(seconds), 0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if whole >= 2 * size:
            return f"{whole // size}{unit}"
    return f"{whole}s"
