"""Where threads follow, with the package of the extra `threads`."""

import pytest

from tests.support.interop.environments import Answers, ask


@pytest.fixture(scope="module")
def answers() -> Answers:
    return ask("threads", "threads")


def test_threads_follow(answers: Answers) -> None:
    """Threads, timers and pools take the run along from then on, and not before."""
    ways = ("thread", "timer", "submit", "map", "run_in_executor")
    assert answers["follow"] == {**dict.fromkeys(ways, True), "before": False}


def test_judges_do_not_follow(answers: Answers) -> None:
    """A judge is in no run, also where its thread was started within one."""
    assert answers["judge"] is True
