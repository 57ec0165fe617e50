"""Tests of the lines that show what a benchmark measures."""

import pytest

from tests.bench.progress import measuring, shown_progress
from tests.support.waiting import wait_until


def test_lines_name_the_current_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """While a benchmark measures, lines on the standard error name the part and its round."""
    said = ""

    def is_shown(text: str) -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return text in said

    with shown_progress(0.01), measuring("ingest"):
        with measuring("round 1 of 5"):
            wait_until(lambda: is_shown(" 0 s: ingest, round 1 of 5\n"))
        wait_until(lambda: is_shown(" 0 s: ingest\n"))
