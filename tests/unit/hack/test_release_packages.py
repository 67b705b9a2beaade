"""Tests of a release's packages: a second build is identical, and the provenance names the inputs."""

import hashlib
import shutil
import time
from pathlib import Path

import pytest

from hack.release import packages, provenance
from hack.release.source import Source, export
from hack.tools.helm import HelmError
from tests.support.repository import ROOT
from trainingjob_operator import __version__


def made(source: Source, out: Path) -> Path:
    out.mkdir()
    packages.build_python(source, out)
    try:
        packages.build_chart(source, out)
    except HelmError as error:
        pytest.skip(f"a chart is packaged with Helm: {error}")
    packages.copy_manifests(source, out)
    return out


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.long  # it builds them twice
def test_two_releases_of_one_commit_are_the_same_and_name_it(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("a release is made from a clone, and this is none")
    sources = [export(tmp_path / name) for name in ("first", "second")]
    first, second = (made(source, source.tree.with_suffix(".out")) for source in sources)
    names = {
        f"trainingjob_operator-{__version__}-py3-none-any.whl",
        f"trainingjob_operator-{__version__}.tar.gz",
        f"trainingjob-operator-{__version__}.tgz",
        "crds.yaml",
        "install.yaml",
        "uninstall.yaml",
    }
    assert digests(first).keys() == names
    assert digests(first) == digests(second)

    assert packages.version(sources[0]) == __version__
    assert sources[0].epoch <= time.time()
    said = provenance.statement(sources[0], None, first.iterdir())
    subjects = {each["name"]: each["digest"]["sha256"] for each in said["subject"]}
    assert subjects == digests(first)
    materials = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert materials[0] == {"name": "source", "digest": {"gitCommit": sources[0].commit}}
    lock = (sources[0].tree / "requirements-operator.lock").read_bytes()
    locked = {"sha256": hashlib.sha256(lock).hexdigest()}
    assert {"name": "requirements-operator.lock", "digest": locked} in materials


def test_the_provenance_names_the_base_the_wheels_and_the_image(tmp_path: Path) -> None:
    base, wheel = tmp_path / "base.tar", tmp_path / "Some_Name-1.0-py3-none-any.whl"
    base.write_text("base")
    wheel.write_text("wheel")
    for name in provenance.LOCKS:
        (tmp_path / name).write_text(name)
    image = provenance.Image(
        name="trainingjob-operator:1",
        digest="sha256:" + "a" * 64,
        python_image="localhost/base:1",
        engine="podman version 4",
        base=base,
        wheels=tmp_path,
    )
    said = provenance.statement(Source(tmp_path, "c0ffee", 7), image, [])
    assert said["subject"] == [{"name": image.name, "digest": {"sha256": "a" * 64}}]
    assert said["predicate"]["buildDefinition"]["resolvedDependencies"][-2:] == [
        {"name": "localhost/base:1", "digest": {"sha256": hashlib.sha256(b"base").hexdigest()}},
        {
            "name": wheel.name,
            "uri": "pkg:pypi/some-name@1.0",
            "digest": {"sha256": hashlib.sha256(b"wheel").hexdigest()},
        },
    ]
    assert said["predicate"]["runDetails"]["builder"]["version"]["engine"] == "podman version 4"
