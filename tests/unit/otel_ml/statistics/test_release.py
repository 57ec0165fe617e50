"""Two versions are compared by each measure: words, sentences, and what is still missing."""

import math
import re
from collections.abc import Sequence
from typing import Any

import pytest

from otel_ml.statistics.comparison import (
    Basis,
    Direction,
    FigureComparison,
    FigureSide,
    Method,
    Unit,
    Word,
    make_unbounded,
)
from otel_ml.statistics.intervals import Estimate
from otel_ml.statistics.release import FigureSums, find_onset, judge_release
from otel_ml.statistics.sentences import list_reasons, write_most, write_sentence
from otel_ml.statistics.sequence import CellKey, Moments, Pair, moments_of

Cells = dict[CellKey, Pair]
_OF_CALL = ("is_hourly", "growing", "runs", "sharing")


def alone(passed: int, n: int) -> Moments:
    """Sum up independent runs."""
    return moments_of([(1.0, 1, passed), (0.0, 1, n - passed)])


def judge_one(cells: Cells, *names: str, **options: Any) -> FigureComparison:
    """Judge a version by one figure."""
    of_call = {name: options.pop(name) for name in _OF_CALL if name in options}
    figure = FigureSums(**{"name": "f", "unit": Unit.PASSES, "cells": cells, **options})
    (verdict,) = judge_release([figure], *names, **of_call)
    return verdict


def compare(sides: Sequence[Moments], *names: str, **options: Any) -> FigureComparison:
    before, after = sides
    return judge_one({("", 0): (before, after)}, *names, **options)


def test_fall() -> None:
    """A drop is called worse, with its size in points."""
    verdict = compare((alone(1_800, 2_000), alone(320, 400)))
    assert (verdict.word, verdict.runs) == ("worse", 400)
    assert write_sentence(verdict) == (
        "80 % pass, 90 % before: 10 pts worse (3 to 19 pts; 2,000 runs before, 400 now)"
    )


def test_some_runs_have_the_figure() -> None:
    """If not all compared runs have the figure, the sentence says which do."""
    sides = alone(1_800, 2_000), alone(320, 400)
    options: dict[str, Any] = {"counted": "scored runs"}
    some = compare(sides, "v1", "v2", runs=(2_000, 500), **options)
    assert write_sentence(some).endswith("; 2,000 scored runs with v1, 400 with v2)")
    every = compare(sides, "v1", "v2", runs=(2_000, 400), **options)
    assert write_sentence(every).endswith("; 2,000 runs with v1, 400 with v2)")
    assert some.difference == every.difference


def test_shared_error() -> None:
    """Figures that are compared separately can share the error: then intervals are wider."""
    sides = alone(1_800, 2_000), alone(320, 400)
    one, five = (compare(sides, sharing=sharing) for sharing in (1, 5))
    assert one == compare(sides)
    assert one.difference is not None
    assert five.difference is not None
    assert five.difference.low < one.difference.low < one.difference.high < five.difference.high


def latency(ratio: Estimate, means: tuple[float, float]) -> FigureComparison:
    """Compare latencies without a difference of at least 7 %."""
    before, now = (FigureSide("", make_unbounded(mean, ratio)) for mean in means)
    return FigureComparison(
        subject="latency",
        unit=Unit.LATENCY,
        direction=Direction.LOWER,
        baseline=before,
        candidate=now,
        difference=ratio,
        margin=0.07,
        word=Word.NO_DIFFERENCE,
        basis=Basis(
            method=Method.SEQUENTIAL,
            confidence=0.99,
            counted="runs",
            cluster=None,
            waits_for=1,
            needed=None,
            smallest=None,
            caveats=(),
        ),
    )


def test_same_amount_in_either_order() -> None:
    """The largest possible difference of an amount is the same if the sides are swapped."""
    ratio = Estimate(0.997, 0.937, 1.06, 960, 960)
    swapped = Estimate(1 / 0.997, 1 / 1.06, 1 / 0.937, 960, 960)
    most = {
        write_most(latency(own, means))
        for own, means in ((ratio, (139.4, 139.0)), (swapped, (139.0, 139.4)))
    }
    assert most == {"at most 9.4 ms"}


def test_rise_of_errors() -> None:
    """A rise of errors is called worse."""
    verdict = compare(
        (alone(20, 2_000), alone(40, 400)), lower_is_better=True, unit=Unit.ERROR_SHARE
    )
    assert verdict.word == "worse"
    assert write_sentence(verdict).startswith("10 % fail, 1 % before: 9 pts worse (")


@pytest.mark.parametrize("unit", [Unit.PASSES, Unit.SCORE, Unit.LATENCY])
def test_order_does_not_matter(unit: Unit) -> None:
    """A is worse than B if and only if B is better than A, with mirrored figures."""
    sides = [alone(900, 1_000), alone(700, 1_000)]
    (one, two) = (compare(order, unit=unit, growing=None) for order in (sides, sides[::-1]))
    words = ["better", "worse"] if unit is Unit.LATENCY else ["worse", "better"]
    if unit is Unit.LATENCY:
        one, two = (
            compare(order, unit=unit, growing=None, lower_is_better=True)
            for order in (sides, sides[::-1])
        )
    assert [one.word, two.word] == words
    assert one.basis.needed == two.basis.needed
    assert one.strength == pytest.approx(two.strength, rel=1e-12)
    assert (one.runs, two.runs) == (1_000, 1_000)


def test_no_difference() -> None:
    """If the whole interval is within the margin, there is no difference."""
    verdict = compare((alone(36_000, 40_000), alone(36_000, 40_000)))
    assert verdict.word == "no difference"


def test_rounding_is_no_difference() -> None:
    """If all scores are equal, a difference in the last digit is neither better nor worse."""
    before, now = (moments_of([(value, 1, 500)]) for value in (0.3, 0.1 + 0.2))
    assert compare((before, now), unit=Unit.SCORE).word == "no difference"


def test_missing_runs() -> None:
    """Without a verdict, the sentence says about how many more runs suffice."""
    verdict = compare((alone(180_000, 200_000), alone(360, 400)))
    assert verdict.word == "not enough data"
    assert verdict.basis.needed is not None
    # A single look needs 0.09 (1.96 + 0.84)² / 0.02² = 1,760 runs; all looks together need more.
    assert 4_000 < verdict.basis.needed < 8_000
    more = write_sentence(verdict).partition(" (")[0]
    assert more.startswith("not enough data: about ")
    assert more.endswith(" more runs now")


def test_far_more_runs_are_not_counted() -> None:
    """If more than 20 times the runs are needed, the sentence says what they can show."""
    verdict = compare((alone(180_000, 200_000), alone(90, 100)), "v1", "v2")
    assert verdict.basis.needed is not None
    assert verdict.basis.needed > 2_000
    assert verdict.detectable is not None
    # A single look shows 2.8 standard errors of 3 points.
    assert 0.08 < verdict.detectable < 0.2
    runs, shown, rate, *_ = re.findall(r"(\d+) (?:runs with v2|pts|%)", write_sentence(verdict))
    assert (runs, shown, rate) == ("100", f"{100 * verdict.detectable:.0f}", "90")


def test_sessions_that_show_nothing() -> None:
    """Runs of few sessions may not show any change."""
    sides = moments_of([(0.0, 15, 12)])
    verdict = compare((sides, sides), "v1", "v2", growing=None, lower_is_better=True)
    assert write_sentence(verdict).startswith(
        "not enough data: 180 runs with v2 cannot show any change yet ("
    )


def test_missing_runs_of_the_smaller_side() -> None:
    """If both sides still grow, the smaller one needs the runs, in either order."""
    sides = alone(9_000, 10_000), alone(450, 500)
    for order, name in ((sides, "v2"), (sides[::-1], "v1")):
        verdict = compare(order, "v1", "v2", growing=None)
        assert f" more runs with {name} (" in write_sentence(verdict)
        assert verdict.runs == 500


def test_small_baseline_says_what_it_can_show() -> None:
    """A baseline of 500 runs cannot show 2 points, however many runs the new version has."""
    verdict = compare((alone(450, 500), alone(9_000, 10_000)))
    assert (verdict.word, verdict.basis.needed) == ("not enough data", None)
    assert verdict.basis.smallest == pytest.approx(0.06, abs=0.005)
    assert re.findall(r"\d+ pts", write_sentence(verdict))[0] == "6 pts"


def test_counts_below_thirty_runs() -> None:
    """With fewer than 30 runs on a side there is no interval, only counts."""
    verdict = compare(
        (alone(2, 500), alone(12, 12)), "v1", lower_is_better=True, unit=Unit.ERROR_SHARE
    )
    assert verdict.word == "not enough data"
    assert write_sentence(verdict) == "12 of 12 runs failed; v1: 2 of 500"
    assert verdict.difference is None
    slow = FigureSums(
        name="latency",
        unit=Unit.LATENCY,
        cells={("", 0): (moments_of([(1.0, 1, 514)]), moments_of([(9.0, 1, 1)]))},
        lower_is_better=True,
    )
    assert judge_release([slow]) == []


def test_verdict_needs_a_hundred_runs() -> None:
    """Between 30 and 100 runs on a side there is an interval, and no verdict."""
    verdict = compare(
        (alone(20, 2_000), alone(60, 60)), lower_is_better=True, unit=Unit.ERROR_SHARE
    )
    assert verdict.word == "not enough data"
    assert list_reasons(verdict) == ["60 of 100 runs now"]


def test_verdict_needs_sessions() -> None:
    """A hundred runs in ten sessions give no verdict."""
    sessions = moments_of([(0.0, 10, 10)])
    verdict = compare((alone(1_900, 2_000), sessions))
    assert list_reasons(verdict) == ["10 of 12 sessions or traces now"]


def test_another_mix_is_no_other_version() -> None:
    """If each client is unchanged, more runs of the worst client do not make a version worse."""
    good, bad = (alone(1_900, 2_000), alone(760, 800)), (alone(1_000, 2_000), alone(1_600, 3_200))
    verdict = judge_one({("good", 0): good, ("bad", 0): bad})
    assert verdict.word != "worse"
    plain = judge_one({("", 0): (good[0].add(bad[0]), good[1].add(bad[1]))})
    assert plain.word == "worse"


def test_fall_in_one_client() -> None:
    """Clients have the weight that they have in the traffic of both versions."""
    verdict = judge_one(
        {
            ("good", 0): (alone(1_900, 2_000), alone(600, 800)),
            ("bad", 0): (alone(1_000, 2_000), alone(1_600, 3_200)),
        }
    )
    assert verdict.word == "worse"
    # 20 points in this client, which has 2,800 of the 8,000 runs.
    assert "7 pts worse" in write_sentence(verdict)


def test_client_that_only_one_side_has() -> None:
    """Runs of a client that only one side has are not compared."""
    verdict = judge_one(
        {
            ("old", 0): (alone(1_800, 2_000), alone(900, 1_000)),
            ("gone", 0): (alone(0, 1_000), Moments()),
            ("new", 0): (Moments(), alone(0, 1_000)),
        }
    )
    assert verdict.word != "worse"
    assert verdict.runs == 1_000


def test_onset() -> None:
    """A verdict names the hour from which it was certain, until now."""
    hour = alone(1_000, 1_000), alone(70, 100)
    cells = {("", place): hour for place in range(5)}
    assert judge_one(cells, is_hourly=True).word == "worse"
    assert onset(cells) == 0
    slight = {("", place): (alone(900, 1_000), alone(80, 100)) for place in range(8)}
    assert judge_one(slight, is_hourly=True).word == "worse"
    since = onset(slight)
    assert since is not None
    assert 0 < since < 7
    fewer = {key: pair for key, pair in slight.items() if key[1] < since}
    assert judge_one(fewer, is_hourly=True).word == "not enough data"
    assert onset(fewer) is None


def onset(cells: Cells) -> int | None:
    figure = FigureSums(name="f", unit=Unit.PASSES, cells=cells)
    return find_onset(figure, is_hourly=True, sharing=1)


def test_amounts_are_ratios() -> None:
    """Latencies are compared by the ratio of their geometric means."""
    sides = [
        moments_of([(math.log(value * times), 1, 100) for value in (80, 100, 125)])
        for times in (1, 2)
    ]
    verdict = compare(sides, unit=Unit.LATENCY, lower_is_better=True, name="latency")
    assert verdict.word == "worse"
    assert verdict.difference is not None
    assert verdict.difference.value == pytest.approx(2)
    assert [side.value for side in verdict.sides] == pytest.approx([100, 200])


def test_no_unit() -> None:
    """A figure that one side has no values of is left out."""
    assert judge_release([FigureSums(name="f", unit=Unit.PASSES, cells={})]) == []
    only = FigureSums(name="f", unit=Unit.PASSES, cells={("", 0): (Moments(), alone(1, 2))})
    assert judge_release([only]) == []


def test_half_broken_version_is_found_within_200_runs() -> None:
    """A version that half fails is worse after 200 runs, among five figures."""
    cells = {("", 0): (alone(301, 301), alone(100, 200))}
    same = {("", 0): (alone(0, 301), alone(0, 200))}
    figures = [FigureSums(name="right", unit=Unit.PASSES, cells=cells)]
    figures += [
        FigureSums(name=str(place), unit=Unit.PASSES, cells=same, lower_is_better=True)
        for place in range(4)
    ]
    assert judge_release(figures, is_hourly=True, growing=None)[0].word == "worse"
