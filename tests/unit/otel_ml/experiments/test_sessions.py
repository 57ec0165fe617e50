"""The verdict of an experiment groups items by the session of their source runs."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import statsmodels.api as sm

from otel_ml.experiments.compare import (
    ALIKE,
    ComparisonOptions,
    cluster_of,
    estimate_alone,
    verdict_of,
)
from otel_ml.experiments.rows import ItemRun
from otel_ml.judges.answer import Judgement
from otel_ml.statistics.comparison import FigureComparison
from otel_ml.statistics.intervals import Estimate, newcombe_paired
from otel_ml.statistics.sentences import write_sentence

SIZES = (1, 2, 3, 9, 4, 4, 7, 1, 1, 12, 5, 6, 2, 8)


def runs_of(values: Sequence[float], sessions: Sequence[str], tags: str = "") -> list[ItemRun]:
    """Return one scored run per item; the first half has the tag `a`, the second half `b`."""
    return [
        ItemRun(
            item=f"i{place:03}",
            digest="d",
            source_run=f"run {place}",
            source_session=session,
            tags={"half": "ab"[2 * place // len(values)], "third": place % 40},
            judgements={"close": Judgement("close", "c1", score=value, passed=None)},
        )
        for place, (value, session) in enumerate(zip(values, sessions, strict=True))
    ]


def judged(
    before: list[ItemRun], after: list[ItemRun], how: ComparisonOptions = ALIKE
) -> FigureComparison:
    return verdict_of(after, before, how).judges["close"]


def bounds(of: Estimate | None) -> tuple[float, ...]:
    assert of is not None
    return of.value, of.low, of.high


def exactly(*numbers: float) -> object:
    return pytest.approx(numbers, rel=1e-9, abs=1e-9)


def draw_sides(sessions: Sequence[str]) -> tuple[list[float], list[float]]:
    draw = np.random.default_rng(5)
    of = {one: draw.normal(size=2) for one in {*sessions}}
    sides = [[float(of[one][side] + draw.normal() / 3) for one in sessions] for side in (0, 1)]
    return sides[0], [one + 0.4 for one in sides[1]]


def test_sessions_are_clusters() -> None:
    """With sessions of one size, the interval is the cluster-robust interval of statsmodels."""
    sessions = [f"chat {place % 24}" for place in range(120)]
    before, after = draw_sides(sessions)
    found = judged(runs_of(before, sessions), runs_of(after, sessions))
    model = sm.OLS(np.subtract(after, before), np.ones(len(sessions)))
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": sessions}, use_t=True)
    assert bounds(found.difference) == exactly(fitted.params[0], *fitted.conf_int()[0])
    assert "120 items in 24 sessions" in write_sentence(found)
    alone = estimate_alone(runs_of(after, sessions), ALIKE)["close"].value
    fitted = sm.OLS(after, np.ones(len(sessions))).fit(
        cov_type="cluster", cov_kwds={"groups": sessions}, use_t=True
    )
    assert bounds(alone) == exactly(fitted.params[0], *fitted.conf_int()[0])


def test_sessions_of_any_size() -> None:
    """Sessions may have any size, and an item without a session is its own cluster."""
    sessions = [f"chat {at}" for at, size in enumerate(SIZES) for _ in range(size)] + [""] * 15
    before, after = draw_sides(sessions)
    found = judged(runs_of(before, sessions), runs_of(after, sessions)).difference
    assert found is not None
    assert (found.n, found.clusters) == (80, 29)
    changes = np.subtract(after, before)
    groups = np.array([one or f"alone {place}" for place, one in enumerate(sessions)])
    left = np.array([changes[groups != one].mean() for one in np.unique(groups)])
    error = math.sqrt((len(left) - 1) / len(left) * ((left - changes.mean()) ** 2).sum())
    given = runs_of(before, [*groups]), runs_of(after, [*groups])
    assert judged(*given).difference == found
    named = ComparisonOptions(cluster=lambda run: run.source_session or None)
    assert judged(runs_of(before, sessions), runs_of(after, sessions), named).difference == found
    assert found.value == pytest.approx(changes.mean(), rel=1e-9)
    half = (found.high - found.low) / 2
    assert 2.04 * error < half < 2.4 * error  # Student's t with 6 to 28 degrees of freedom


def test_a_named_cluster_wins() -> None:
    """A named cluster groups the items, whatever their sessions are."""
    sessions = [f"chat {place % 24}" for place in range(120)]
    before, after = draw_sides(sessions)
    given = runs_of(before, sessions), runs_of(after, sessions)
    by = 'tags["third"]'
    found = judged(*given, ComparisonOptions(cluster=cluster_of(by), chosen={"cluster": by}))
    assert write_sentence(found).endswith(f"120 items in 40 clusters by {by})")
    thirds = [f"{place % 40}" for place in range(120)]
    assert found.difference == judged(runs_of(before, thirds), runs_of(after, thirds)).difference
    alone = judged(*given, ComparisonOptions(cluster=lambda run: run.item))
    assert write_sentence(alone).endswith("120 items)")
    bare = [""] * 120
    assert alone == judged(runs_of(before, bare), runs_of(after, bare))


def test_sessions_of_one_item() -> None:
    """If no two items share a session, the interval of passes is Newcombe's paired interval."""
    sides = [
        [
            ItemRun(
                item=f"i{place}",
                digest="d",
                source_session=f"chat {place}" if place % 2 else "",
                judgements={"exact": Judgement("exact", "a1", passed=sign == "+")},
            )
            for place, sign in enumerate(signs)
        ]
        for signs in ("+" * 50 + "-" * 10, "+" * 30 + "-" * 30)
    ]
    found = verdict_of(sides[1], sides[0], ALIKE).judges["exact"]
    assert found.difference == newcombe_paired(30, 20, 0, 10)
    assert write_sentence(found).endswith("60 items in 60 sessions)")
