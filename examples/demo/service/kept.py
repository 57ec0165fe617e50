"""The files in which trained models are kept, under the current folder."""

from pathlib import Path
from typing import Any, Final

import joblib

DIGITS: Final = Path("models/digits.joblib")
TUMOURS: Final = Path("models/breast-cancer.joblib")


def keep(model: object, path: Path) -> None:
    """Write a model to its file."""
    path.parent.mkdir(exist_ok=True)
    joblib.dump(model, path)


def load(path: Path) -> Any:
    """Read the model that `keep` wrote."""
    return joblib.load(path)
