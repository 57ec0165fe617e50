"""Slow cases of tests/unit/otel_ml/versions/test_estimators.py."""

import warnings
from typing import Any

import pytest

from tests.process.otel_ml.versions.test_estimators import _check


def test_all_estimators() -> None:
    """Each scikit-learn estimator keeps its version when refitted, used or loaded."""
    assert _check(()) > 220


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Suppress scikit-learn's warnings about small data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
