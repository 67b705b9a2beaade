"""The proxy configurations of docs/console.md, adapted to this machine."""

import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import trustme

from tests.support.repository import ROOT

_DOCUMENT = ROOT / "docs" / "console.md"
CONSOLE = "trainingjob-operator-console.trainingjob-system.svc:8070"
"""Where the console is in the document."""


def documented_config(heading: str, changes: Mapping[str, str]) -> str:
    """Return the block below a paragraph of the document that ends so, with other texts for some.

    Raises:
        AssertionError: the document has no such block, or lacks a text that is to be changed.
    """
    found = re.search(rf"{re.escape(heading)}\n\n((?:    .*\n|\n)+)", _DOCUMENT.read_text())
    assert found is not None, heading
    text = dedent(found[1])
    for old, new in changes.items():
        assert old in text, f"{old} is not in the block below {heading}"
        text = text.replace(old, new)
    return text


def issue_certificate(folder: Path, authority: trustme.CA) -> Path:
    """Write a certificate for this machine, with its key, as proxies read them; returns the file."""
    made = authority.issue_cert("127.0.0.1")
    path = folder / "proxy.pem"
    made.private_key_and_cert_chain_pem.write_to_path(path)
    return path
