"""Notebooks: cells can redefine a traced function, and they display runs."""

import re
from typing import Any

import pytest

from tests.support.collector import CollectorProcess
from tests.support.services.processes import run

Answer = dict[str, Any]


@pytest.fixture(scope="module")
def executed(collector: CollectorProcess) -> Answer:
    """Execute the cells; return their output and the runs that arrived while the kernel ran."""
    endpoint = {"OTEL_ML_ENDPOINT": collector.endpoint, "OTEL_ML_PROJECT": "cells"}
    answer: Answer = run("tests.nightly.services.programs.notebook", **endpoint)
    assert answer["alive"] is True
    return answer


def test_versions_of_cells(executed: Answer) -> None:
    """An unchanged cell keeps the version when run again; a changed constant or code adds one."""
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
    """A cell shows the return value of a traced function."""
    assert executed["shown"][:5] == [
        "'Say first'",
        "'Say defined again'",
        "'Shout other prompt'",
        "'Say first prompt again'",
        "'Say other code!'",
    ]


def test_run_is_displayed(executed: Answer, collector: CollectorProcess) -> None:
    """A cell shows a run with its id, state and page."""
    page = f"{collector.endpoint}/projects/cells"
    training = executed["runs"][0]["run_id"]
    nothing = f"{'0' * 32}-{'0' * 16}"
    assert re.fullmatch("[0-9a-f]{32}-[0-9a-f]{16}", training)
    assert executed["shown"][5:9] == [
        f"<OpenedRun {training} open {page}/runs/{training}>",
        f"<OpenedRun {training} ok {page}/runs/{training}>",
        f"<Run {nothing} not recorded>",
        f"<Client cells {page}>",
    ]
    assert f'href="{page}/runs/{training}"' in executed["tables"][5]
    assert f'href="{page}"' in executed["tables"][8]


def test_list_is_displayed(executed: Answer, collector: CollectorProcess) -> None:
    """A cell shows a list of runs as a table, one of its runs, and their number."""
    page = f"{collector.endpoint}/projects/cells/runs"
    _, run, counted, _ = executed["shown"][9:]
    assert executed["shown"][9] == f"<Runs cells {page}>"
    table = executed["tables"][9]
    assert table.count("<tr>") == 1 + 6
    for one in executed["runs"]:
        assert f'href="{page}/{one["run_id"]}"' in table
    assert run.startswith(f"<Run {executed['runs'][0]['run_id']} training ok ")
    assert counted == "(6, ['training', 'answer'])"


def test_collector_that_is_away_is_a_line(executed: Answer) -> None:
    """A cell reports that no collector responds, and does not fail otherwise."""
    assert (
        "Not shown: No answer from http://127.0.0.1:9: connection refused"
        in (executed["tables"][-1])
    )
