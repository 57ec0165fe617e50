"""Tests of printing the SQL for a filter."""

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from otel_ml_collector.explain import QUESTIONS, explain, main, open_empty
from tests.support.sampling import at_night, sampled

WHERE = 'scores["grounded"] < 0.5 and tags["client"] == "bigshot"'


@sampled(1)
@pytest.mark.parametrize("question", QUESTIONS)
def test_statements(question: str) -> None:
    """A project with every kind of record needs more SQL than an empty project."""
    with open_empty(is_full=False) as reader:
        empty = explain(reader, question, WHERE)
    with open_empty(is_full=True) as reader:
        full = explain(reader, question, WHERE)
    assert "FROM runs" in empty
    assert ("FROM scores" in empty) is (question != "list")
    assert "settled" not in empty
    assert len(full) > len(empty)


@sampled(1)
@pytest.mark.parametrize(("is_full", "most"), [(False, 33), (True, 42)])
def test_selects(*, is_full: bool, most: int) -> None:
    """A list, a statistic and a verdict with four conditions take at most this many SELECTs."""
    where = f'{WHERE} and outcome == "ok" and latency > 1s'
    with open_empty(is_full=is_full) as reader:
        asked = "\n".join(explain(reader, question, where) for question in QUESTIONS)
    assert len(re.findall(r"\bSELECT\b", asked)) <= most


@at_night
def test_program() -> None:
    """`otel_ml_collector.explain` can be run as a module."""
    program = [sys.executable, "-m", "otel_ml_collector.explain"]
    shown = subprocess.run(
        [*program, "cost > 1", "--of", "list"], capture_output=True, text=True, check=True
    )
    assert "ifNull(`cost` > {f0:Float64}, 0)" in shown.stdout
    assert "-- f0 = 1" in shown.stdout


@sampled(1)
@pytest.mark.parametrize(
    ("where", "at"),
    [
        ("cots > 1", "cots"),
        ('model == "answer" and cots > 1', "cots"),
        ("cost >", ""),
        ('"日本" in input and cots > 1', "cots"),
    ],
)
def test_wrong_filter(where: str, at: str) -> None:
    """A wrong filter exits with status 2 and a caret below the error."""
    answered = CliRunner().invoke(main, [where])
    assert (answered.exit_code, answered.stdout) == (2, "")
    message, shown, caret = answered.stderr.splitlines()
    assert shown == f"  {where}"
    if at:
        assert "cost" in message
        cells = sum(2 if char in "日本" else 1 for char in shown[: shown.index(at)])
        assert caret == " " * cells + "^"
    assert caret.strip() == "^"
