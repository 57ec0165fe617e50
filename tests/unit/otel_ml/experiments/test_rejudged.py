"""Rejudged runs on disk can be read unchanged and compared in bounded memory."""

import gc
import random
from collections.abc import Callable, Sequence
from typing import Final

import pytest

from otel_ml.experiments.rejudged import RejudgedCounts, RejudgedRuns
from otel_ml.experiments.rows import RejudgedRun
from otel_ml.judges.answer import Judgement
from otel_ml.statistics.judge_change import TwiceJudged, compare_judge_versions
from otel_ml.statistics.scored_runs import JudgeScore
from otel_ml.statistics.sentences import write_judge_change

START_NS: Final = 1_700_000_000_000_000_000
DRAW: Final = random.Random(11)  # noqa: S311 - a sample, no secret


def rejudged(
    place: int, before: JudgeScore | None, cluster: str = "", **after: object
) -> RejudgedRun:
    word = Judgement("brief", "b2", **after)  # type: ignore[arg-type]
    return RejudgedRun(f"{place:032x}-{place:016x}", START_NS + place, cluster, before, word)


WORDS: Final = [
    rejudged(0, None, "trace 0", score=1.0, passed=True),
    rejudged(1, JudgeScore(True, 1.0, "a1"), "trace 1", score=0.0, passed=False, label="no"),
    rejudged(2, JudgeScore(False, 0.0, "a1"), "session ä", score=1.0, passed=True, cost=0.25),
    rejudged(3, JudgeScore(version="a1", failed=True), "session ä", error="odd \ud800 text"),
    rejudged(4, JudgeScore(None, 0.1, "a1"), score=float("inf"), explanation="", latency_ms=0.5),
    rejudged(5, JudgeScore(True, 1.0, "a1"), "trace 5", score=0.0, passed=False, cached=True),
]


def keep(runs: Sequence[RejudgedRun]) -> RejudgedRuns:
    """Keep the runs in random order, because their judges finish in any order."""
    kept = RejudgedRuns()
    for place in DRAW.sample(range(len(runs)), len(runs)):
        kept.keep(3 * place, runs[place])  # the gaps are runs that were left out
    return kept


def test_as_they_were() -> None:
    """Runs are read unchanged, in the order of the list, any number of times."""
    kept = keep(WORDS)
    assert list(kept) == list(kept) == WORDS
    assert kept[2:] == WORDS[2:]
    assert kept[::-2] == WORDS[::-2]
    assert (kept[0], kept[-1], kept[9:]) == (WORDS[0], WORDS[-1], [])
    assert len(kept) == len(WORDS)
    with pytest.raises(IndexError):
        kept[len(WORDS)]
    assert kept.counts == RejudgedCounts(runs=6, stored=0, errors=1, decided=4, passed=2)
    assert (kept.first_error, kept.cost) == ("odd \ud800 text", 0.25)


def test_flips_outlive_what_made_them() -> None:
    """Flips and iterators stay readable after the object that created them is freed.

    Runs that newly fail come first.
    """
    flips, runs = keep(WORDS).flips, iter(keep(WORDS))
    gc.collect()
    assert list(runs) == WORDS
    assert [run.run_id for run in flips] == [WORDS[place].run_id for place in (1, 5, 2)]
    assert flips[1:] == [WORDS[5], WORDS[2]]
    assert len(flips) == 3


def test_nothing_judged() -> None:
    """Without rejudged runs, there is no comparison."""
    kept = RejudgedRuns()
    assert (list(kept), len(kept.flips), kept.compare()) == ([], 0, None)
    assert (kept.first_error, kept.cost) == (None, None)
    assert kept.counts == RejudgedCounts(0, 0, 0, 0, 0)


def passes(place: int) -> RejudgedRun:
    """Return a run with passes, in which some judges fail or have a score without a pass."""
    before = JudgeScore(DRAW.random() < 0.8, DRAW.random(), "a1", failed=DRAW.random() < 0.02)
    if DRAW.random() < 0.03:
        before = JudgeScore(None, 0.5, "a1")
    cluster = f"session {DRAW.randrange(300)}" if place % 3 else f"trace {place}"
    if DRAW.random() < 0.02:
        return rejudged(place, before, cluster, error="no answer")
    return rejudged(place, before, cluster, score=DRAW.random(), passed=DRAW.random() < 0.7)


def scores(place: int) -> RejudgedRun:
    """Return a run that has only scores."""
    before = None if DRAW.random() < 0.1 else JudgeScore(None, DRAW.randrange(5) / 4, "a1")
    cluster = f"session {DRAW.randrange(300)}" if place % 3 else f"trace {place}"
    return rejudged(place, before, cluster, score=DRAW.randrange(5) / 4)


@pytest.mark.parametrize("make", [passes, scores])
def test_compared_as_one_by_one(make: Callable[[int], RejudgedRun]) -> None:
    """The comparison on disk equals the comparison run by run."""
    runs = [make(place) for place in range(2_000)]
    change = keep(runs).compare()
    expected = compare_judge_versions(
        TwiceJudged(
            run.before,
            JudgeScore(run.after.passed, run.after.score, "b2", run.after.error is not None),
            run.cluster,
        )
        for run in runs
        if run.before is not None
    )
    assert change is not None
    assert " clusters" in str(write_judge_change(expected, "v2", "v1"))
    assert change.comparison == expected.comparison
    assert (change.table, change.agreement, change.kappa) == (
        expected.table,
        expected.agreement,
        expected.kappa,
    )
