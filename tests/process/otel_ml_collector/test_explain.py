"""Tests of the SQL that is printed for a filter."""

import subprocess
import sys

import pytest

from otel_ml_collector.explain import QUESTIONS, explain, open_empty

WHERE = 'scores["grounded"] < 0.5 and tags["client"] == "bigshot"'


@pytest.mark.parametrize("question", QUESTIONS)
def test_statements(question: str) -> None:
    """A project that has everything is asked more than one that has nothing."""
    with open_empty(is_full=False) as reader:
        empty = explain(reader, question, WHERE)
    with open_empty(is_full=True) as reader:
        full = explain(reader, question, WHERE)
    assert "FROM runs" in empty
    assert "FROM scores" in empty
    assert "settled" not in empty
    assert len(full) > len(empty)


def test_program() -> None:
    """It is run as a module; a wrong filter is said, with its column."""
    program = [sys.executable, "-m", "otel_ml_collector.explain"]
    shown = subprocess.run(
        [*program, "cost > 1", "--of", "list"], capture_output=True, text=True, check=True
    )
    assert "ifNull(cost > {f0:Float64}, 0)" in shown.stdout
    assert "-- f0 = 1" in shown.stdout
    wrong = subprocess.run([*program, "cots > 1"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "cost" in wrong.stderr
