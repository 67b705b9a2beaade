"""`job_<uid>/.trainingjob`: whose directory it is.

Written before the job's first pod. The job can write there as well: a mark can hold a directory on
the volume, and can never make anything go that would not have gone without it. It holds nothing
where the register (`register`), which the job cannot reach, says whose the directory is.
"""

from typing import Any, Final

from trainingjob_operator.volume.documents import read_document, write_document
from trainingjob_operator.volume.names import MARK
from trainingjob_operator.volume.sweep.rules import Mark

_NOBODY: Final = Mark(uid="", namespace="", name="", cluster="")
"""A mark that cannot be understood: it is nobody's that we know."""


def write_mark(mark: Mark, *, at: int, name: str = MARK) -> None:
    """Say whose this directory is.

    Raises:
        OSError: the volume does not take it.
    """
    document = {
        "uid": mark.uid,
        "namespace": mark.namespace,
        "name": mark.name,
        "cluster": mark.cluster,
        "identity": mark.identity,
    }
    write_document(name, document, at=at)


def read_mark(*, at: int, name: str = MARK) -> Mark | None:
    """Whose this directory is; None: it does not say.

    Raises:
        OSError: the mark is there and cannot be read.
    """
    try:
        document = read_document(name, at=at)
    except ValueError:
        return _NOBODY
    return None if document is None else _mark(document)


def _mark(document: dict[str, Any]) -> Mark:
    values = [document.get(key) for key in ("uid", "namespace", "name", "cluster")]
    values.append(document.get("identity", ""))  # marks of old have none: that is nobody's
    texts = [value for value in values if isinstance(value, str)]
    return Mark(*texts) if len(texts) == len(values) else _NOBODY
