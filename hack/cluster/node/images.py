"""The images that a node needs: the operator's, and one that stands for the trainers' Python."""

from pathlib import Path
from typing import Final

from hack.image.build import base_image
from hack.image.engine import Engine

TRAINER: Final = "localhost/trainingjob-trainer:1"
"""Its own name, so that no image of a registry is ever taken for it on this machine."""

PYTHON_IMAGE: Final = "docker.io/library/python:3.11-slim"
"""What the samples name; on the node it is the trainer's image."""

_HERE: Final = Path(__file__).parent / "trainer"


def save_images(engine: Engine, operator: str, archive: Path) -> Path:
    """Write the operator's image and the trainer's into one archive for the node.

    Args:
        engine: has the operator's image, and the base of `hack.image.base`.
        operator: the name of the operator's image.
        archive: is written.

    Raises:
        EngineError: an image is missing, or cannot be built.
    """
    engine.build(_HERE, TRAINER, arguments={"PYTHON_IMAGE": base_image()}, labels={})
    engine.save([operator, TRAINER], archive)
    return archive
