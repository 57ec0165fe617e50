"""Classifies handwritten digits and tumours with the models that `train` saved."""

from typing import Any, Final

import numpy as np
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from otel_ml import Client, Judge, current_run

from .caller import CALLER  # noqa: TID252 - see the package
from .kept import DIGITS, TUMOURS, load  # noqa: TID252

digits = Client("digits")
tumours = Client("breast-cancer")

_DIGITS_MODEL: Final = load(DIGITS)
_TUMOURS_MODEL: Final = load(TUMOURS)

MALIGNANT_FROM = 0.5


class Digit(TypedDict):
    """The digit on an image and the confidence, from 0 to 1."""

    digit: int
    confidence: float


class Diagnosis(TypedDict):
    """``malignant`` or ``benign``, and the confidence, from 0 to 1."""

    diagnosis: str
    confidence: float


def is_digit(outputs: Digit, expected: int) -> bool:
    """Return whether the digit is the expected one."""
    return outputs["digit"] == expected


def is_diagnosis(outputs: Diagnosis, expected: str) -> bool:
    """Return whether the diagnosis is the expected one."""
    return outputs["diagnosis"] == expected


@digits.assess(Judge("exact", "The digit is the one that was written", is_digit))
def classify(image: np.ndarray[Any, np.dtype[np.float64]], expected: int) -> Digit:
    """Classify the digit on an 8×8 image. Only the judge uses `expected`."""
    current_run().tag(CALLER.get())
    chances = _DIGITS_MODEL.predict_proba(image.reshape(1, -1))[0]
    return {"digit": int(chances.argmax()), "confidence": round(float(chances.max()), 4)}


@tumours.assess(Judge("exact", "The diagnosis is the one found in the tissue", is_diagnosis))
def diagnose(measurements: dict[str, float], expected: str) -> Diagnosis:
    """Diagnose a tumour from its 30 measurements. Only the judge uses `expected`."""
    current_run().tag(CALLER.get())
    malignant = float(_TUMOURS_MODEL.predict_proba([list(measurements.values())])[0, 0])
    is_malignant = malignant >= MALIGNANT_FROM
    return {
        "diagnosis": "malignant" if is_malignant else "benign",
        "confidence": round(malignant if is_malignant else 1 - malignant, 4),
    }
