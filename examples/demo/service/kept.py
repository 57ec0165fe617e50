"""Saves trained models to files in the current folder and loads them."""

from pathlib import Path
from typing import Any, Final

import joblib

DIGITS: Final = Path("models/digits.joblib")
TUMOURS: Final = Path("models/breast-cancer.joblib")


def keep(model: object, path: Path) -> None:
    """Save a model to a file."""
    path.parent.mkdir(exist_ok=True)
    joblib.dump(model, path)


def load(path: Path) -> Any:
    """Load a model that `keep` saved."""
    return joblib.load(path)
