"""Every hostile case behaves as without otel-ml and records the expected runs."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.folders import ROOT
from tests.support.hostile.case import Case
from tests.support.hostile.driver import CASES, Row
from tests.support.sampling import sampled


@pytest.fixture(scope="module")
def done(request: pytest.FixtureRequest) -> subprocess.CompletedProcess[str]:
    """Run the selected cases together in another process."""
    asked = [
        case.name
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is sys.modules[__name__]
        if hasattr(item, "callspec") and isinstance(case := item.callspec.params["case"], Case)
    ]
    # Python 3.12 and later warn about any fork in a process with threads.
    python = [sys.executable, "-W", "ignore::DeprecationWarning"]
    return subprocess.run(
        [*python, "-m", "tests.support.hostile", "--json", *asked],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


@pytest.fixture(scope="module")
def lines(done: subprocess.CompletedProcess[str]) -> list[Any]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@sampled(3)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, lines: list[Any]) -> None:
    """A traced function behaves as without otel-ml, and its runs are stored."""
    [row] = [Row(**line) for line in lines if line.get("case") == case.name]
    assert row == row.wanted(case)


def test_nothing_is_printed(done: subprocess.CompletedProcess[str]) -> None:
    """The SDK prints and logs nothing in any case, not even about contexts it could not detach."""
    assert done.stderr == ""


def test_nothing_gave_trouble(lines: list[Any]) -> None:
    """The SDK counts no internal error in any case."""
    assert lines[-1] == {}


def test_names_are_different() -> None:
    """Case names are unique, so that no case hides another one's runs."""
    assert len({case.name for case in CASES}) == len(CASES)
