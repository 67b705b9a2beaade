"""`python -m hack.release`: builds all files of a release in build/release, and tests them.

The release is built from the last commit and pushed nowhere. Two runs for one commit give the same
files; `--again` verifies this: it builds all of them again and compares.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from hack.cluster.assets import AssetsError
from hack.cluster.process import StartError
from hack.image import base
from hack.image.build import Tree, base_image, build, build_locally, fetched_wheels
from hack.image.engine import EngineError, find_builder
from hack.release import packages, provenance, sbom, trial
from hack.release.image import normalize
from hack.release.source import ROOT, ReleaseError, Source, export, refuse_other_tools
from hack.tools.helm import HelmError

OUT: Final = ROOT / "build" / "release"
NAME: Final = "trainingjob-operator"
SUMS: Final = "SHA256SUMS"


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = _parser().parse_args(argv)
    problems = (ReleaseError, EngineError, base.BaseError, HelmError, AssetsError, StartError)
    try:
        refuse_other_tools()
        if arguments.again:
            compare(arguments.python_image)
        else:
            release(OUT, arguments.python_image)
            try_release(OUT)
    except problems as error:
        say(str(error))
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hack.release", description="Make a release of the last commit, and try it."
    )
    parser.add_argument(
        "--python-image",
        default="",
        help="what to build the image on; default: a Debian that is made here",
    )
    parser.add_argument("--again", action="store_true", help="make it once more, and compare")
    return parser


def release(out: Path, python_image: str) -> None:
    """Build all files of a release in a directory, which is emptied first.

    Args:
        out: the folder.
        python_image: the base image; "": the local Debian base.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="trainingjob-release-") as scratch:
        source = export(Path(scratch) / "source")
        version = packages.version(source)
        say(f"{version} of {source.commit[:12]}")
        packages.build_python(source, out)
        packages.build_chart(source, out)
        packages.copy_manifests(source, out)
        image = build_image(source, out, version, python_image)
        said = provenance.statement(source, image, out.iterdir())
        (out / f"{NAME}-{version}.provenance.json").write_text(_json(said))
    sums = [f"{provenance.sha256(path)}  {path.name}\n" for path in sorted(out.iterdir())]
    (out / SUMS).write_text("".join(sums))


def build_image(source: Source, out: Path, version: str, python_image: str) -> provenance.Image:
    """Build the image, and write its archive and its SBOM."""
    engine = find_builder()
    draft = f"localhost/{NAME}:release"
    tree = Tree(folder=source.tree, version=version, revision=source.commit, epoch=source.epoch)
    if python_image:
        build(engine, draft, python_image=python_image, tree=tree)
    else:
        build_locally(engine, draft, tree=tree)
    with tempfile.TemporaryDirectory(prefix="trainingjob-image-") as scratch:
        saved = Path(scratch) / "image.tar"
        engine.save_layout(draft, saved)
        name = f"{NAME}:{version}"
        archive = out / f"{NAME}-{version}.image.tar"
        written = normalize(saved, archive, name=name, epoch=source.epoch, wanted=sbom.wanted)
    bill = sbom.bill(
        written.files, name=NAME, version=version, digest=written.digest, epoch=source.epoch
    )
    (out / f"{NAME}-{version}.cdx.json").write_text(_json(bill))
    say(f"image {written.digest}, {archive.stat().st_size / 1e6:.0f} MB")
    return provenance.Image(
        name=name,
        digest=written.digest,
        python_image=python_image or base_image(),
        engine=provenance.engine_version(engine.program),
        base=None if python_image else base.archive(),
        wheels=None if python_image else fetched_wheels(source.tree),
    )


def try_release(out: Path) -> None:
    """Test the files in the directory as users use them."""
    [wheel] = out.glob("*.whl")
    version = wheel.name.split("-")[1]
    begun = time.monotonic()
    trial.try_wheel(wheel, version)
    say("the wheel installs into a new virtual environment, and runs")
    said = trial.try_image(out / f"{NAME}-{version}.image.tar", version)
    say(f"the image {said}")
    trial.try_chart(out / f"{NAME}-{version}.tgz", out)
    say("the chart package and the manifests install on a real control plane")
    say(f"tried in {time.monotonic() - begun:.0f} s; all of it is in {out.relative_to(ROOT)}")
    sys.stdout.write((out / SUMS).read_text())


def compare(python_image: str) -> None:
    """Build the release again elsewhere, and compare its files with the existing ones.

    Raises:
        ReleaseError: a file differs, or there is none to compare with.
    """
    if not (OUT / SUMS).exists():
        raise ReleaseError("there is nothing to compare with: run `make release` first")
    with tempfile.TemporaryDirectory(prefix="trainingjob-again-") as folder:
        again = Path(folder) / "release"
        release(again, python_image)
        if differ := differences(OUT, again):
            raise ReleaseError("the second release differs from the first:\n" + "\n".join(differ))
        say(f"all {len(list(again.iterdir()))} files are the same, byte for byte")


def differences(first: Path, second: Path) -> list[str]:
    """Return the names of the files that differ between the directories, each with the difference."""
    digests = [
        {path.name: provenance.sha256(path) for path in each.iterdir()} for each in (first, second)
    ]
    found = []
    for name in sorted(digests[0].keys() | digests[1].keys()):
        one, other = (each.get(name) for each in digests)
        if one != other:
            found.append(f"{name}: {one or 'not there'}, then {other or 'not there'}")
    return found


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def say(line: str) -> None:
    """Print a line of progress."""
    sys.stderr.write(f"release: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
