"""Slow cases of tests/unit/otel_ml/versions/test_estimators.py."""

import warnings
from typing import Any

import pytest

from tests.process.otel_ml.versions.test_estimators import _check


def test_all_estimators() -> None:
    """So is each one of scikit-learn, as its own tests make them, and what is made of several."""
    assert _check(()) > 220


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Let scikit-learn say nothing of small data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
