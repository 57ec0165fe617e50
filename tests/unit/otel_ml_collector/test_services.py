"""Tests of the parts of the application, which routes find by their type."""

import pytest

from otel_ml_collector.access import OPEN, Access
from otel_ml_collector.services import Services


class Plain:
    """A part."""


class Special(Plain):
    """A part of a derived type."""


def test_found_by_type() -> None:
    """A part is found by its type."""
    part = Plain()
    assert Services(OPEN, part).find(Plain) is part
    assert Services(OPEN, part).find(Access) is OPEN


def test_special_part() -> None:
    """A part replaces the part of its base type."""
    services, special = Services(Plain()), Special()
    services.put(special)
    assert services.find(Plain) is services.find(Special) is special


def test_missing_part() -> None:
    """The error about a missing part names its type."""
    with pytest.raises(LookupError, match=r"^The application has no Special$"):
        Services(Plain()).find(Special)
