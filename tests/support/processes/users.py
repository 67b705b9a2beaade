"""Drops root's rights for a part of a test."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

NOBODYS_UID: Final = 65534


@contextmanager
def without_roots_rights() -> Iterator[None]:
    """Switch all threads to another user for the block, if the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(NOBODYS_UID)
    os.seteuid(NOBODYS_UID)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)
