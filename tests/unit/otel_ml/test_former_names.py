"""Tests of former spellings of public names."""

import pytest

import otel_ml.reader
from otel_ml.former_names import FORMER_NAMES
from otel_ml.reader import UnmatchedRecords
from otel_ml.recorder import Stats
from tests.support.folders import ROOT


def test_former_name_of_a_class() -> None:
    """A former name of a module is the class under its new name."""
    assert otel_ml.reader.Told is UnmatchedRecords


def test_former_name_of_a_field() -> None:
    """A former field of the counters has the value of the new one."""
    assert Stats(pending=3).held == 3


def test_unknown_name() -> None:
    """A name that a module never had is an error with the module's name."""
    with pytest.raises(AttributeError, match=r"module 'otel_ml.reader' has no attribute 'Unheard'"):
        otel_ml.reader.Unheard  # noqa: B018 - reading it is the test


@pytest.mark.parametrize("former", FORMER_NAMES)
def test_former_names_are_documented(former: str) -> None:
    """The docs list each former name with its new one."""
    page = (ROOT / "docs/sdk.md").read_text()
    assert f"| `{former}` | `{FORMER_NAMES[former]}` |" in page
