"""Comparison of two versions of a judge."""

import math
import random
from collections import Counter
from dataclasses import replace

import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from otel_ml.statistics.agreement import kappa_of_clusters
from otel_ml.statistics.comparison import Direction
from otel_ml.statistics.intervals import newcombe_paired
from otel_ml.statistics.judge_change import TwiceJudged, compare_judge_versions
from otel_ml.statistics.scored_runs import JudgeScore, ScoredRun
from otel_ml.statistics.sentences import write_judge_change
from otel_ml.statistics.verdict import compare_items
from tests.support.examples import examples

PASS, FAIL = JudgeScore(True, 1.0, "a"), JudgeScore(False, 0.0, "b")
CELLS = {(True, True): 140, (True, False): 25, (False, True): 3, (False, False): 72}


def pairs(cells: dict[tuple[bool, bool], int]) -> list[TwiceJudged]:
    """Make counted runs from a confusion table."""
    words = {True: PASS, False: FAIL}
    return [TwiceJudged(words[one], words[other], "", n) for (one, other), n in cells.items()]


def test_stricter() -> None:
    """The sentence has the size and interval of the change, and the flips in each direction."""
    change = compare_judge_versions(pairs(CELLS))
    expected = newcombe_paired(140, 25, 3, 72)
    assert change.comparison.difference == expected
    assert change.word == "stricter"
    assert (change.to_fail, change.to_pass, change.runs) == (25, 3, 240)
    assert str(write_judge_change(change, "v2", "v1")) == (
        "v2 is stricter: 60 % pass, 69 % with v1. 25 of 240 runs flip to fail, 3 to pass "
        "(pass rate 9 pts lower; 95 % interval: 5 to 13 pts; κ 0.75)"
    )


def test_each_alone_as_together() -> None:
    """Single runs in any order give the same result as the same runs counted."""
    alone = [TwiceJudged(one.before, one.after) for one in pairs(CELLS) for _ in range(one.count)]
    random.Random(1).shuffle(alone)  # noqa: S311 - an order, no secret
    assert compare_judge_versions(alone) == compare_judge_versions(pairs(CELLS))


def test_runs_of_one_trace_hang_together() -> None:
    """Clusters widen the interval; clusters of one run each are not mentioned."""
    told = [
        TwiceJudged(one.before, one.after, f"trace {name}")
        for name, one in enumerate(one for one in pairs(CELLS) for _ in range(one.count))
    ]
    assert compare_judge_versions(told) == compare_judge_versions(pairs(CELLS))
    clustered = [replace(one, cluster=f"trace {place // 8}") for place, one in enumerate(told)]
    change = compare_judge_versions(clustered)
    alone = compare_judge_versions(told)
    assert change.comparison.difference is not None
    assert alone.comparison.difference is not None
    assert change.comparison.difference.low < alone.comparison.difference.low
    assert "30 clusters" in str(write_judge_change(change, "v2", "v1"))


def test_turned_round_is_more_lenient() -> None:
    """With the versions swapped, the change is "more lenient"."""
    turned = {(other, one): n for (one, other), n in CELLS.items()}
    change = compare_judge_versions(pairs(turned))
    assert change.word == "more lenient"
    assert (change.to_fail, change.to_pass) == (3, 25)


@pytest.mark.parametrize(
    ("runs", "word"),
    [(1, "not enough data"), (5, "not enough data"), (6, "stricter"), (19, "stricter")],
)
def test_few(runs: int, word: str) -> None:
    """With fewer than 20 runs, the sign test decides: six that all flip are enough."""
    assert compare_judge_versions(pairs({(True, False): runs})).word == word


def test_scores_alone() -> None:
    """Without passes the mean scores are compared, and there is no agreement."""
    said = [
        TwiceJudged(JudgeScore(score=place % 5), JudgeScore(score=place % 5 - 0.5))
        for place in range(200)
    ]
    change = compare_judge_versions(said)
    assert (change.word, change.agreement, change.kappa) == ("lower", None, None)
    assert change.comparison.difference is not None
    assert change.comparison.difference.value == pytest.approx(-0.5)


def test_errors_are_no_words() -> None:
    """Runs on which a version failed are left out."""
    failed = TwiceJudged(PASS, JudgeScore(failed=True, version="b"), "", 50)
    change = compare_judge_versions([*pairs(CELLS), failed])
    assert change == compare_judge_versions(pairs(CELLS))
    with pytest.raises(ValueError, match="No runs"):
        compare_judge_versions([failed])


def test_kappa_beside_statsmodels() -> None:
    """For many runs the jackknife interval is close to the large-sample interval of statsmodels."""
    table = [[72, 3], [25, 140]]
    found = kappa_of_clusters((None, cell, n) for cell, n in CELLS.items())
    expected = cohens_kappa(table)
    assert found.value == pytest.approx(expected.kappa, abs=1e-12)
    assert found.low == pytest.approx(expected.kappa_low, abs=0.01)
    assert found.high == pytest.approx(expected.kappa_upp, abs=0.01)


def test_kappa_covers() -> None:
    """In clustered samples of a table, the interval contains the true kappa in at least 93 %."""
    draw = random.Random(3)  # noqa: S311 - a sample, no secret
    cells, weights = [*CELLS], [*CELLS.values()]
    true = kappa_of_clusters((None, cell, n) for cell, n in CELLS.items()).value
    held, times = 0, examples(600, 150)
    for _ in range(times):
        counts = Counter[tuple[int, tuple[bool, bool]]]()
        for cluster in range(40):
            (cell,) = draw.choices(cells, weights)
            for _ in range(4):  # half of a session's runs are equal
                cell = cell if draw.random() < 0.5 else draw.choices(cells, weights)[0]
                counts[cluster, cell] += 1
        found = kappa_of_clusters((cluster, cell, n) for (cluster, cell), n in counts.items())
        held += found.low <= true <= found.high
    assert held / times >= 0.93 - (0.03 if times < 600 else 0.0)


def test_kappa_of_one_word() -> None:
    """If all verdicts are equal, kappa is not a number and its interval is -1 to 1."""
    found = kappa_of_clusters([(None, (True, True), 40)])
    assert math.isnan(found.value)
    assert (found.low, found.high) == (-1.0, 1.0)


def test_counted_clusters_as_items() -> None:
    """Counted clusters give the same result as an experiment whose items have these clusters."""
    draw = random.Random(7)  # noqa: S311 - an order, no secret
    twice = [
        TwiceJudged(
            JudgeScore(draw.random() < 0.8), JudgeScore(draw.random() < 0.6), f"s{place // 3 % 50}"
        )
        for place in range(240)
    ]
    twice += [TwiceJudged(JudgeScore(True), JudgeScore(False), f"alone {n}") for n in range(5)]

    def runs(side: str) -> list[ScoredRun]:
        return [
            ScoredRun(item=str(place), cluster=pair.cluster, scores={"judge": getattr(pair, side)})
            for place, pair in enumerate(twice)
        ]

    expected = compare_items(runs("before"), runs("after")).judges["judge"]
    change = compare_judge_versions(twice)
    assert "55 clusters" in str(write_judge_change(change, "v2", "v1"))
    assert change.comparison == replace(expected, direction=Direction.NONE)
    assert change.kappa == kappa_of_clusters(
        (pair.cluster, (pair.before.passed, pair.after.passed), 1) for pair in twice
    )


def test_runs_without_a_pass_are_missing() -> None:
    """If many runs have no pass from one version, there is not enough data, with the reason."""
    silent = TwiceJudged(JudgeScore(True), JudgeScore(None, 0.5), "", 60)
    change = compare_judge_versions([*pairs(CELLS), silent])
    assert change.word == "not enough data"
    claim = write_judge_change(change, "v2", "v1").claim
    assert "the judge scored 80 % of the candidate's runs" in claim
    assert change.table == CELLS
