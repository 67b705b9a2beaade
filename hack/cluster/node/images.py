"""Builds the images of a node: the operator's, and a replacement for the samples' Python image."""

from pathlib import Path
from typing import Final

from hack.image.build import base_image
from hack.image.engine import Engine

TRAINER: Final = "localhost/trainingjob-trainer:1"
"""A name of its own, so that it is never confused with an image of a registry."""

PYTHON_IMAGE: Final = "docker.io/library/python:3.11-slim"
"""The image name in the samples, which is the trainer's image on the node."""

_HERE: Final = Path(__file__).parent / "trainer"


def save_images(engine: Engine, operator: str, archive: Path) -> Path:
    """Write the operator's image and the trainer's into one archive for the node.

    Args:
        engine: the engine with the operator's image and the base of `hack.image.base`.
        operator: the name of the operator's image.
        archive: path of the new archive.

    Raises:
        EngineError: an image is missing, or cannot be built.
    """
    engine.build(_HERE, TRAINER, arguments={"PYTHON_IMAGE": base_image()}, labels={})
    engine.save([operator, TRAINER], archive)
    return archive
