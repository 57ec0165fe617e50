"""Tells hand-written digits and tumours apart with what `train` has learned."""

from typing import Any, Final

import numpy as np
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from otel_ml import Client, Judge, current_run

from .caller import CALLER  # noqa: TID252 - see the package
from .kept import DIGITS, TUMOURS, load  # noqa: TID252

digits = Client("digits")
tumours = Client("breast-cancer")

_DIGITS_MODEL: Final = load(DIGITS)
_TUMOURS_MODEL: Final = load(TUMOURS)

MALIGNANT_FROM = 0.5


class Digit(TypedDict):
    """The digit on an image, and how sure that is, 0 to 1."""

    digit: int
    confidence: float


class Diagnosis(TypedDict):
    """``malignant`` or ``benign``, and how sure that is, 0 to 1."""

    diagnosis: str
    confidence: float


def is_digit(outputs: Digit, expected: int) -> bool:
    """Tell whether the digit is the one that was written."""
    return outputs["digit"] == expected


def is_diagnosis(outputs: Diagnosis, expected: str) -> bool:
    """Tell whether the diagnosis is the one that was found in the tissue."""
    return outputs["diagnosis"] == expected


@digits.assess(Judge("exact", "The digit is the one that was written", is_digit))
def classify(image: np.ndarray[Any, np.dtype[np.float64]], expected: int) -> Digit:
    """Say which digit stands on an image of 8 by 8 pixels; `expected` is for the judge alone."""
    current_run().tag(CALLER.get())
    chances = _DIGITS_MODEL.predict_proba(image.reshape(1, -1))[0]
    return {"digit": int(chances.argmax()), "confidence": round(float(chances.max()), 4)}


@tumours.assess(Judge("exact", "The diagnosis is the one found in the tissue", is_diagnosis))
def diagnose(measurements: dict[str, float], expected: str) -> Diagnosis:
    """Judge a tumour by its 30 measurements; `expected` is for the judge alone."""
    current_run().tag(CALLER.get())
    malignant = float(_TUMOURS_MODEL.predict_proba([list(measurements.values())])[0, 0])
    is_malignant = malignant >= MALIGNANT_FROM
    return {
        "diagnosis": "malignant" if is_malignant else "benign",
        "confidence": round(malignant if is_malignant else 1 - malignant, 4),
    }
