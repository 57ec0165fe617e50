"""Former names of public classes and fields."""

import pytest

import otel_ml.reader
from otel_ml.former_names import FORMER_NAMES
from otel_ml.reader import UnmatchedRecords
from otel_ml.recorder import Stats
from tests.support.folders import ROOT


def test_former_name_of_a_class() -> None:
    """A class is still available under its former name."""
    assert otel_ml.reader.Told is UnmatchedRecords


def test_former_name_of_a_field() -> None:
    """A former field name of `Stats` has the value of the new field."""
    assert Stats(pending=3).held == 3


def test_unknown_name() -> None:
    """An unknown name raises an error that names the module."""
    with pytest.raises(AttributeError, match=r"module 'otel_ml.reader' has no attribute 'Unheard'"):
        otel_ml.reader.Unheard  # noqa: B018 - reading it is the test


@pytest.mark.parametrize("former", FORMER_NAMES)
def test_former_names_are_documented(former: str) -> None:
    """The docs list each former name with the new name."""
    page = (ROOT / "docs/sdk.md").read_text()
    assert f"| `{former}` | `{FORMER_NAMES[former]}` |" in page
