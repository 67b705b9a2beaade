"""Text from outside, made safe to store and to print: bounded, and on one line."""

from trainingjob_api.constants import MAX_MESSAGE_BYTES

_ELLIPSIS = "..."


def cut(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """Cut a text to `limit` bytes of UTF-8, never inside a character, and say that it was cut."""
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= limit:
        return raw.decode("utf-8")
    return raw[: limit - len(_ELLIPSIS)].decode("utf-8", "ignore") + _ELLIPSIS


def one_line(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """Return the text with control characters made visible, so that it cannot forge a log line."""
    # The slice bounds the work: the tail of a megabyte is of no use.
    safe = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii")
        for c in text[: limit * 2]
    )
    return cut(safe, limit)


def age(seconds: float) -> str:
    """Write a time that has passed, as kubectl prints it: in the largest unit that still says enough."""
    whole = max(int(seconds), 0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if whole >= 2 * size:
            return f"{whole // size}{unit}"
    return f"{whole}s"
