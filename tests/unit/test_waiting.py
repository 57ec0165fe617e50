"""Tests of the helper that waits, and that tests use no other way to wait."""

import ast
import asyncio
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from tests.support.folders import ROOT
from tests.support.waiting import (
    async_wait_until,
    elapsed,
    run_other_tasks,
    wait_until,
)

TESTS: Final = ROOT / "tests"
HELPERS: Final = {
    TESTS / "support" / "waiting.py",
    TESTS / "bench" / "pace.py",  # a benchmark paces its load
}
# In the source of a child program: a sleep, or a wait for an event that nobody can set.
IN_TEXT: Final = re.compile(r"\b(sleep|wait_for_timeout)\(|\bEvent\(\)\.wait\([^)]")


def is_pause(node: ast.AST) -> bool:
    """Return whether a node is a pause: a call of ``sleep``, or a wait for an unnamed event."""
    match node:
        case ast.Call(func=ast.Name(id="sleep") | ast.Attribute(attr="sleep" | "wait_for_timeout")):
            return True
        case ast.Call(
            func=ast.Attribute(
                attr="wait", value=ast.Call(func=ast.Attribute(attr="Event") | ast.Name(id="Event"))
            )
        ):
            return bool(node.args or node.keywords)
        case ast.Constant(value=str(text)):
            return IN_TEXT.search(text) is not None
    return False


def pauses_in(source: str) -> list[int]:
    """List the line numbers of pauses in a source."""
    if not IN_TEXT.search(source):  # avoids parsing most files
        return []
    return sorted(node.lineno for node in ast.walk(ast.parse(source)) if is_pause(node))  # type: ignore[attr-defined]  # what pauses is an expression


def sources() -> Iterator[Path]:
    """Yield the Python files under ``tests``, without node_modules and the waiting helpers."""
    for path in TESTS.rglob("*.py"):
        if "node_modules" not in path.parts and path not in HELPERS | {Path(__file__)}:
            yield path


def test_no_test_sleeps() -> None:
    """No test calls ``sleep``. Tests wait for a condition with ``tests.support.waiting``."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources()
        for line in pauses_in(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "time.sleep(1)",
        "sleep(1)",
        "async def f():\n    await asyncio.sleep(0)",
        "threading.Event().wait(1)",
        "Event().wait(timeout=1)",
        "page.wait_for_timeout(1_000)",
        "PROGRAM = '''\nimport time\ntime.sleep(60)\n'''",
        "PROGRAM = f'time.sleep({seconds})'",
        "PROGRAM = 'threading.Event().wait(0.05)'",
    ],
)
def test_sleep_is_found(source: str) -> None:
    """A call of ``sleep`` is found in code and in the source of a child program."""
    assert len(pauses_in(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "over.wait(20)",
        "threading.Event().wait()",
        "def test_asleep(): ...",
        "SQL = 'SELECT sleepEachRow(0.3)'",
    ],
)
def test_wait_for_something_is_allowed(source: str) -> None:
    """A wait for an event that a test sets, or one without a timeout, is not a pause."""
    assert pauses_in(source) == []


def test_value_is_returned() -> None:
    """The first truthy value of the condition is returned."""
    values = iter(["", [], "found", "not asked for"])
    assert wait_until(lambda: next(values)) == "found"
    assert next(values) == "not asked for"


def test_failure_names_what_was_awaited() -> None:
    """The error of a failed wait has the time, the subject and the last value of the condition."""
    with pytest.raises(AssertionError) as caught:
        wait_until(lambda: 0, 0.02, about="a stored run")
    assert str(caught.value) == "Waited 0.02 s in vain for: a stored run; its last value is 0"


def test_failure_may_be_described_when_it_happens() -> None:
    """The subject may be a function, which is called only after the deadline."""
    asked: list[int] = []
    with pytest.raises(AssertionError, match=r"for: \d+ polls;"):
        wait_until(lambda: asked.append(1), 0.02, about=lambda: f"{len(asked)} polls")


def test_deadline_asks_a_last_time() -> None:
    """A condition that becomes true during a slow poll is still met after the deadline."""
    is_late = elapsed(0.05)

    def condition() -> bool:
        held = is_late()
        wait_until(elapsed(0.06))
        return held

    wait_until(condition, 0.05)


def test_error_of_a_condition_comes_out() -> None:
    """An error that a condition raises ends the wait."""
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / 0)


def test_polls_become_rarer() -> None:
    """A long wait polls about every 50 ms. A short one polls every few milliseconds."""
    polls: list[float] = []
    wait_until(lambda: polls.append(time.monotonic()) or len(polls) == 15)  # type: ignore[func-returns-value]
    pauses_s = [after - before for before, after in pairwise(polls)]
    assert 0.002 <= min(pauses_s) < 0.05
    assert min(pauses_s[-3:]) >= 0.05


def test_async_value_is_returned() -> None:
    """The async form returns the truthy value, and lets other tasks run meanwhile."""
    stored: list[str] = []

    async def store() -> None:
        await run_other_tasks()
        stored.append("run")

    async def main() -> list[str]:
        task = asyncio.create_task(store())
        found = await async_wait_until(lambda: stored)
        await task
        return found

    assert asyncio.run(main()) == ["run"]


def test_async_failure_names_what_was_awaited() -> None:
    """The error of a failed async wait has the same content."""
    with pytest.raises(AssertionError, match=r"^Waited 0\.02 s in vain for: a reply; .* is None$"):
        asyncio.run(async_wait_until(lambda: None, 0.02, about="a reply"))


def test_elapsed() -> None:
    """`elapsed` is not true before its time has passed."""
    began_s = time.monotonic()
    wait_until(elapsed(0.05))
    assert time.monotonic() - began_s >= 0.05
