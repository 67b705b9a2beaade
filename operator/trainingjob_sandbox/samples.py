"""Finds the sample manifests, in an installed wheel or in a checkout.

The wheel contains `manifests/samples` as `trainingjob_sandbox/_samples`.
"""

from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parent
_FOLDERS: Final = (_HERE / "_samples", _HERE.parents[1] / "manifests" / "samples")


def sample_names() -> list[str]:
    """Return the names of the samples."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def sample_path(name: str) -> Path:
    """Return the path of a sample.

    Raises:
        KeyError: no sample has this name; see `sample_names`.
    """
    if name not in sample_names():
        raise KeyError(name)
    return _folder() / f"{name}.yaml"


def _folder() -> Path:
    return next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
