"""Finds the sample manifests: in an installed wheel, and in a checkout.

The wheel carries `manifests/samples` as `trainingjob_sandbox/_samples`; a checkout has them where
they are written.
"""

from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parent
_FOLDERS: Final = (_HERE / "_samples", _HERE.parents[1] / "manifests" / "samples")


def sample_names() -> list[str]:
    """The samples there are, by name."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def sample_path(name: str) -> Path:
    """The file of one sample.

    Raises:
        KeyError: there is no sample of that name; `sample_names` says which there are.
    """
    if name not in sample_names():
        raise KeyError(name)
    return _folder() / f"{name}.yaml"


def _folder() -> Path:
    return next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
