"""Tests of notifications: how they are stored, and how their id identifies a state change."""

from dataclasses import replace

import pytest

from otel_ml_collector.alerts.notification import (
    AlertedSlice,
    Notification,
    read_notification,
    write_notification,
)

FALLS = Notification(
    project="shop",
    rule="grounded falls",
    severity="page",
    status="firing",
    changed_ns=1_700_000_000_000_000_000,
    notify=("oncall", "slack"),
    annotations={"summary": "Remax: 0.71 over 1h"},
    slices=(AlertedSlice({"client": "Remax"}, 0.71, 1_699_999_000_000_000_000, "/projects/shop"),),
    more_slices=2,
    when='surely(pass_rate("grounded") < 0.9)',
    window="1h",
    path="/projects/shop/alerts/grounded%20falls",
)


def test_stored_text() -> None:
    """A notification that is written and read back is unchanged."""
    assert read_notification(write_notification(FALLS)) == FALLS


def test_id_of_a_change() -> None:
    """The id does not depend on the annotations, slices or severity."""
    assert replace(FALLS, annotations={}, slices=(), severity="warn").id == FALLS.id


@pytest.mark.parametrize(
    "other",
    [
        {"project": "shop2"},
        {"rule": "grounded"},
        {"status": "resolved"},
        {"changed_ns": FALLS.changed_ns + 1},
    ],
)
def test_ids_of_changes(other: dict[str, object]) -> None:
    """A different project, rule, status or time of change gives a different id."""
    assert replace(FALLS, **other).id != FALLS.id  # type: ignore[arg-type] # by name what it takes


def test_most_slices() -> None:
    """A notification with more than ten slices is rejected."""
    with pytest.raises(ValueError, match="at most 10"):
        replace(FALLS, slices=FALLS.slices * 11)
