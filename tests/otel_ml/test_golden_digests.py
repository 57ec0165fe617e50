"""Digests that must stay as they are: on every Python, in every release."""

from operator import attrgetter

import pytest

from otel_ml.model_version import define
from tests.otel_ml import golden_sources

# Taken once, the same on Python 3.10, 3.11, 3.12 and 3.13.
DIGESTS = {
    "plain": "c924f17ad064bad4",
    "texts": "51a029a652edd075",
    "comprehensions": "1b32c183d5e714cc",
    "matches": "ada10fdddf82ebf8",
    "lambdas": "b8d30e05fc198768",
    "streams": "929241fe026fafab",
    "classes": "eae00be61b76707f",
    "parameters": "05c5482402e957ce",
    "statements": "b51640f7bb6c3b3d",
    "decorated": "93871183552ce1b3",
    "chained": "123ffcfa8e6f0c66",
    "newest": "cbc17e01bcefa99b",
    "Model.method": "93bba53a59d8976e",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_digest_stays(name: str) -> None:
    """A function's digest is the same on each Python and in each release."""
    assert define(attrgetter(name)(golden_sources)).digest == DIGESTS[name]


@pytest.mark.parametrize("name", DIGESTS)
def test_source_was_read(name: str) -> None:
    """The digest is that of the source: a code object differs from Python to Python."""
    assert define(attrgetter(name)(golden_sources)).source is not None
