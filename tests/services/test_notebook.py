"""Notebooks: cells that define a traced function again, and what a run looks like in them."""

import re
from typing import Any

import pytest

from tests.services.processes import run
from tests.support.collector import CollectorProcess

pytestmark = pytest.mark.interop

Answer = dict[str, Any]


@pytest.fixture(scope="module")
def executed(collector: CollectorProcess) -> Answer:
    """What the cells displayed, and the runs that had arrived before the kernel ended."""
    endpoint = {"OTEL_ML_ENDPOINT": collector.endpoint, "OTEL_ML_PROJECT": "notebook"}
    answer: Answer = run("tests.services.programs.notebook", **endpoint)
    assert answer["alive"] is True
    return answer


def test_versions_of_cells(executed: Answer) -> None:
    """Run again unchanged a cell keeps the version; a changed constant or code opens one."""
    runs = reversed(executed["runs"])
    assert [(run["name"], run["version"], run["outputs"]) for run in runs] == [
        ("answer", 1, "Say first"),
        ("answer", 1, "Say defined again"),
        ("answer", 2, "Shout other prompt"),
        ("answer", 1, "Say first prompt again"),
        ("answer", 3, "Say other code!"),
        ("training", None, ""),
    ]


def test_answers_are_displayed(executed: Answer) -> None:
    """A cell shows what the traced function returned."""
    assert executed["shown"][:5] == [
        "'Say first'",
        "'Say defined again'",
        "'Shout other prompt'",
        "'Say first prompt again'",
        "'Say other code!'",
    ]


def test_run_is_displayed(executed: Answer) -> None:
    """A cell shows a run with its id and state."""
    training = executed["runs"][0]["run_id"]
    nothing = f"{'0' * 32}-{'0' * 16}"
    assert re.fullmatch("[0-9a-f]{32}-[0-9a-f]{16}", training)
    assert executed["shown"][5:] == [
        f"<OpenedRun {training} open>",
        f"<OpenedRun {training} ok>",
        f"<Run {nothing} not recorded>",
    ]
