"""The root of the checkout, by which tests find what they read: one place to move with this file."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
