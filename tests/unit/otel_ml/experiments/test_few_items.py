"""Tests of results of few items: what is printed first, and what a test can demand."""

import json
import re

import pytest

from otel_ml import Client, Dataset
from otel_ml.experiments.result import Result
from otel_ml.judges.ready import exact

ROWS = [{"inputs": {"n": n}, "expected": n, "id": f"i{n}"} for n in range(9)]


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> Result:
    """The result of nine items of which three broke. One item is in the data set twice."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    items = Dataset("few", [*ROWS, ROWS[4]])
    client = Client("few")
    before = client.evaluate(lambda n: n, items, [exact], name="before")
    return client.evaluate(lambda n: n if n > 2 else -1, items, [exact], baseline=before)


def test_printed_first(undecided: Result) -> None:
    """What so few items can show is the first line, on the terminal and in Markdown."""
    opening = str(undecided).splitlines()[0]
    assert opening.startswith("Not enough data: ")
    assert re.findall(r"\d+", opening) == ["9", "73"]  # items, and points
    assert undecided.to_markdown().splitlines()[0] == f"{opening}."
    assert json.loads(undecided.to_json())["verdict"] == "not enough data"


def test_duplicates_are_named(undecided: Result) -> None:
    """An item that was left out as a duplicate is named."""
    assert len(undecided.runs) == 9
    assert "left out as duplicates, with the same id and content: i4" in undecided.notes


def test_demanded_verdict(undecided: Result) -> None:
    """A test can demand a verdict."""
    undecided.assert_not("worse")
    with pytest.raises(AssertionError, match="not enough data"):
        undecided.assert_not("not enough data")
