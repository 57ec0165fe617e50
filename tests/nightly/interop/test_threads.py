"""Threads continue the current run, with the package of the extra `threads`."""

import pytest

from tests.support.interop.environments import Answers, ask


@pytest.fixture(scope="module")
def answers() -> Answers:
    return ask("threads", "threads")


def test_threads_follow(answers: Answers) -> None:
    """Once enabled, threads, timers and pools continue the current run."""
    ways = ("thread", "timer", "submit", "map", "run_in_executor")
    assert answers["follow"] == {**dict.fromkeys(ways, True), "before": False}


def test_judges_do_not_follow(answers: Answers) -> None:
    """A judge runs outside any run, even if its thread was started inside one."""
    assert answers["judge"] is True
