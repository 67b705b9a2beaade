"""Tests of the lock files: the image uses tested versions, and nothing of the laptop mode."""

import re
import tomllib

import pytest

from tests.support.repository import ROOT

IMAGE_LOCKS = ("requirements-operator.lock", "requirements-build.lock")


def pins(lock: str) -> set[str]:
    """`name==version` for everything that a lock names."""
    return set(re.findall(r"^([a-z0-9.-]+==[^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", IMAGE_LOCKS)
@pytest.mark.parametrize("tested", ["requirements.lock", "requirements-dev.lock"])
def test_the_image_takes_the_versions_that_were_tested(lock: str, tested: str) -> None:
    assert pins(lock)
    assert pins(lock) - pins(tested) == set()


@pytest.mark.parametrize("lock", IMAGE_LOCKS)
def test_what_the_image_takes_is_the_same_for_every_python(lock: str) -> None:
    # Its wheels are fetched for the image's Python by another one, which would judge markers.
    lines = [line for line in (ROOT / lock).read_text().splitlines() if "==" in line]
    # This one is true of every Python that an image would have.
    markers = {line.partition(";")[2].strip(" \\") for line in lines if ";" in line}
    assert markers <= {"implementation_name != 'pypy'"}


def extra(name: str) -> set[str]:
    """The names of what an extra brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {re.split(r"[\[<>=]", one)[0] for one in project["optional-dependencies"][name]}
    assert len(found) > 2
    return found


def image_names() -> set[str]:
    return {pin.split("==")[0] for pin in pins("requirements-operator.lock")}


def test_the_image_has_no_dependency_that_only_the_laptop_mode_has() -> None:
    assert extra("sandbox") & image_names() <= {"jsonpatch"}  # kopf needs that one too


def test_the_image_has_what_the_record_service_needs() -> None:
    assert extra("records") <= image_names()


def test_the_image_has_what_the_console_needs() -> None:
    assert extra("console") <= image_names()


def test_the_laptop_mode_is_not_in_what_the_image_is_built_from() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    packages = {str(path.relative_to(ROOT)) for path in (ROOT / "operator").glob("trainingjob_*")}
    packages.remove("operator/trainingjob_sandbox")
    assert {path for path in allowed if path.startswith("operator")} == packages
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (operator/\w+) (operator/\w+)$", dockerfile, re.MULTILINE)
    assert set(copied) == {(path, path) for path in packages}
    assert [path for path in allowed if not (ROOT / path).exists()] == []
