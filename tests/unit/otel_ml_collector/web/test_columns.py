"""Tests of the columns of the runs table."""

from otel_ml_collector.traces.run_list import FIELDS, ListColumn, choose_columns, offer_columns
from otel_ml_collector.web.view import spark

USUAL = list(FIELDS[:6])


def test_usual_columns() -> None:
    """By default the table has six columns."""
    assert choose_columns([], []) == USUAL


def test_chosen_columns() -> None:
    """The URL names fields, judges and tags in order, each once."""
    keys = ["model", "score:grounded", "tag:client", "model", "tag:", "no such"]
    assert choose_columns(keys, []) == [
        FIELDS[2],
        ListColumn("score:grounded", "grounded", "n w3"),
        ListColumn("tag:client", "client", "tag-value"),
    ]
    assert choose_columns(["no such"], []) == USUAL


def test_what_is_chosen_is_offered() -> None:
    """A chosen column that no run on the page has can still be removed."""
    chosen = choose_columns(["tag:rare"], [])
    assert offer_columns(chosen, []) == [*FIELDS, *chosen]


def test_curve() -> None:
    """Missing values keep their place in a curve. If all values are equal, the curve is flat."""
    assert spark([0, None, 10]) == "0.0,19.0 100.0,1.0"
    assert spark([None, 3, 3]) == "50.0,10.0 100.0,10.0"
    assert spark([None, None]) == ""
