"""Prometheus and its promtool, as programs of this machine."""

import os
import shutil
from pathlib import Path
from typing import Final

import pytest

REQUIRE_PROMETHEUS: Final = "TRAININGJOB_TEST_REQUIRE_PROMETHEUS"


def find_program(name: str) -> Path:
    """Return the path of `prometheus` or `promtool`; the test is skipped, or fails, without it."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    reason = f"no {name} on PATH (`apt-get install prometheus`)"
    if os.environ.get(REQUIRE_PROMETHEUS):
        pytest.fail(f"{REQUIRE_PROMETHEUS} is set, and there is {reason}")
    pytest.skip(reason)
