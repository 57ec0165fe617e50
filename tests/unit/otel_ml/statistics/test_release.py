"""A new version compared with its baseline: false "worse" verdicts, and delay of detection."""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any, Final

import numpy as np
import pytest

from otel_ml.statistics.intervals import Estimate, blend
from otel_ml.statistics.release import FigureUnits, FigureVerdict, Unit, Units, judge_release
from otel_ml.statistics.verdict import JudgeVerdict
from tests.support.examples import examples
from tests.support.sampling import harder

Draw = np.random.Generator
Numbers = np.ndarray[Any, np.dtype[Any]]
RELEASES: Final = examples(at_night=1_000, on_commit=60)
WINDOW: Final = 200
CLIENTS: Final = ("Remax", "Century", "Redfin", "Zillow")


def alone(passed: int, n: int, stratum: str = "") -> Units:
    """Make units of independent runs."""
    return {Unit(stratum, 1.0, 1, 1.0): passed, Unit(stratum, 0.0, 1, 0.0): n - passed}


def pass_rate(draw: Draw, before: int, rate: float, now: float, windows: int) -> FigureUnits:
    """Draw a baseline of runs and windows of 200 runs of the new version."""
    return FigureUnits(
        name="grounded",
        kind="rate",
        baseline=alone(draw.binomial(before, rate), before),
        windows=[alone(draw.binomial(WINDOW, now), WINDOW) for _ in range(windows)],
    )


def test_unknown_values() -> None:
    """Sessions without a value only count in the test for "worse", with the best possible value."""
    known = [alone(120, 200) for _ in range(5)]
    unknown = {Unit("", 0.0, 0, 1.0): 1_000}
    whole, half = (
        FigureUnits(name="truth", kind="rate", baseline=alone(1_800, 2_000), windows=windows)
        for windows in (known, [{**window, **unknown} for window in known])
    )
    (sure,), (open_,) = judge_release([whole]), judge_release([half])
    assert (sure.word, open_.word) == ("worse", "not enough data")
    assert sure.runs == open_.runs == 1_000
    assert open_.verdict.sides == sure.verdict.sides
    assert open_.stake < sure.stake
    assert isinstance(sure.verdict, JudgeVerdict)
    assert isinstance(open_.verdict, JudgeVerdict)
    assert open_.verdict.candidate == sure.verdict.candidate


def draw_sizes(draw: Draw, runs: int, most: int) -> Numbers:
    """Draw sizes of sessions that together have about `runs` runs."""
    sizes = draw.integers(1, most + 1, runs)
    return sizes[: max(int(np.searchsorted(sizes.cumsum(), runs)), 2)]


def draw_units(draw: Draw, sizes: Numbers, mix: Numbers, level: Numbers) -> dict[str, list[Unit]]:
    """Draw sessions' values of four figures; clients and sessions differ in all figures alike."""
    clients = draw.choice(len(CLIENTS), len(sizes), p=mix)
    mood = draw.normal(0, 0.7, len(sizes))
    figures = {}
    for name, logit in (("grounded", 2.2), ("errors", -4.0), ("missing", -5.5)):
        rates = 1 / (1 + np.exp(-(logit + level[clients] + mood)))
        totals = draw.binomial(sizes, rates).astype(float)
        figures[name] = totals
    noise = draw.normal(0, 0.5, len(sizes)) / np.sqrt(sizes)
    figures["latency"] = sizes * np.clip(level[clients] / 2 + mood / 2 + noise, -1.5, 1.5)
    return {
        name: [
            Unit(CLIENTS[client], total, size, total / size)
            for client, total, size in zip(
                clients.tolist(), totals.tolist(), sizes.tolist(), strict=True
            )
        ]
        for name, totals in figures.items()
    }


def cut(units: Sequence[Unit]) -> list[Units]:
    """Split sessions into windows of about 200 runs."""
    windows: list[Counter[Unit]] = [Counter()]
    runs = 0
    for unit in units:
        if runs >= WINDOW:
            windows.append(Counter())
            runs = 0
        windows[-1][unit] += 1
        runs += unit.n
    return [*windows]


def draw_release(draw: Draw) -> list[FigureUnits]:
    """Draw a release that changes only the mix of clients."""
    runs = int(10 ** draw.uniform(2, 5))
    canary = draw.uniform(0.05, 0.5)
    most = int(draw.integers(1, 51))
    level = draw.normal(0, 0.8, len(CLIENTS))
    mixes = [draw.dirichlet(np.full(len(CLIENTS), 3.0)) for _ in range(2)]
    before, after = (
        draw_units(draw, draw_sizes(draw, count, most), mix, level)
        for count, mix in ((runs, mixes[0]), (max(int(runs * canary), 10), mixes[1]))
    )
    return [
        FigureUnits(
            name=name,
            kind="amount" if name == "latency" else "rate",
            baseline=Counter(before[name]),
            windows=cut(after[name]),
            low=-1.5 if name == "latency" else 0.0,
            high=1.5 if name == "latency" else 1.0,
            lower_is_better=name != "grounded",
        )
        for name in before
    ]


@harder
def test_nothing_changed() -> None:
    """At most one in a hundred releases that change nothing is ever called worse."""
    draw = np.random.default_rng(20)
    worse = 0
    words: Counter[str] = Counter()
    for _ in range(RELEASES):
        verdicts = judge_release(draw_release(draw))
        worse += any(verdict.since is not None for verdict in verdicts)
        words.update(verdict.word for verdict in verdicts)
    print(f"worse {worse} of {RELEASES}, {dict(words)}")  # noqa: T201 - with `-s`
    assert worse <= 0.01 * RELEASES


@pytest.mark.parametrize(
    ("before", "now", "most"), [(2_000, 0.8, 3), (20_000, 0.85, 8)], ids=["10 points", "5 points"]
)
def test_fall(before: int, now: float, most: int) -> None:
    """A drop from 90 % by 10 points is found in 3 windows of 200 runs, by 5 points in 8."""
    draw = np.random.default_rng(21)
    waits = []
    for _ in range(101):
        (verdict,) = judge_release([pass_rate(draw, before, 0.9, now, 30)])
        waits.append(math.inf if verdict.since is None else verdict.since + 1)
    print(f"median {median(waits)}, 90 % {sorted(waits)[90]}")  # noqa: T201 - with `-s`
    assert median(waits) <= most


def test_fall_among_six_figures() -> None:
    """Five unchanged figures do not delay the detection of a drop beyond 3 windows."""
    draw = np.random.default_rng(22)
    waits = []
    for _ in range(51):
        figures = [pass_rate(draw, 2_000, 0.9, now, 10) for now in (0.8, *[0.9] * 5)]
        verdicts = judge_release(figures)
        assert [verdict.word for verdict in verdicts][1:] != ["worse"] * 5
        since = verdicts[0].since
        waits.append(math.inf if since is None else since + 1)
    assert median(waits) <= 3


def judge_one(baseline: Units, *windows: Units, name: str = "", **options: Any) -> FigureVerdict:
    """Judge a new version by one figure."""
    figure = FigureUnits(name="f", kind="rate", baseline=baseline, windows=windows, **options)
    (verdict,) = judge_release([figure], name)
    return verdict


def test_word_of_a_fall() -> None:
    """A drop is called worse, with its size in points."""
    verdict = judge_one(alone(1_800, 2_000), alone(160, 200), alone(160, 200))
    assert (verdict.word, verdict.runs, verdict.since) == ("worse", 400, 1)
    assert verdict.sentence == (
        "80 % pass, 90 % before: 10 pts worse (6 to 14 pts; 2,000 runs before, 400 now)"
    )


def test_rise_of_errors() -> None:
    """A rise of errors is called worse."""
    verdict = judge_one(
        alone(20, 2_000), alone(20, 200), alone(20, 200), lower_is_better=True, passing="fail"
    )
    assert verdict.word == "worse"
    assert verdict.sentence == (
        "10 % fail, 1 % before: 9 pts worse (6 to 12 pts; 2,000 runs before, 400 now)"
    )


def test_better_and_no_different() -> None:
    """The words "better" and "no difference" come from the interval over the whole time."""
    better = judge_one(alone(1_600, 2_000), alone(950, 1_000))
    same = judge_one(alone(18_000, 20_000), alone(18_000, 20_000))
    assert (better.word, better.since) == ("better", None)
    assert (same.word, same.since) == ("no difference", None)


def test_rounding_is_no_difference() -> None:
    """If all scores are equal, a difference in the last digit is neither better nor worse."""
    before, now = ({Unit("", value, 1, value): 500} for value in (0.3, 0.1 + 0.2))
    figure = FigureUnits(name="grade", kind="score", baseline=before, windows=[now])
    assert [verdict.word for verdict in judge_release([figure])] == ["no difference"]


def test_watching_says_how_many_runs() -> None:
    """Without a verdict, the sentence has the number of runs so far and the number needed."""
    verdict = judge_one(alone(18_000, 20_000), alone(360, 400))
    assert verdict.word == "not enough data"
    assert verdict.needed is not None
    assert verdict.sentence == "not enough data: 400 of about 2,000 runs"
    # By the normal distribution: 0.09 (1.96 + 0.84)² / (0.02² - 0.09 (1.96 + 0.84)² / 20,000)
    assert 1_800 < verdict.needed < 2_200


def test_small_baseline_says_what_it_can_show() -> None:
    """A baseline of 500 runs cannot show 2 points, however many runs the new version has."""
    verdict = judge_one(alone(450, 500), alone(90, 100))
    assert (verdict.word, verdict.needed) == ("not enough data", None)
    few = "not enough data: 500 runs before can show a change of 4 pts or more"
    assert verdict.sentence == few


def test_clear_fall_is_named_before_it_is_certain() -> None:
    """The sentence names a drop that the interval shows before the repeated test confirms it."""
    verdict = judge_one(alone(750, 800), alone(354, 400))
    assert verdict.word == "not enough data"
    assert "(88 % pass, 94 % before; −9.0 to −1.9 pts;" in verdict.sentence


def test_counts_below_thirty_runs() -> None:
    """With fewer than 30 runs on a side there is no interval, only counts."""
    verdict = judge_one(
        alone(2, 500), alone(12, 12), lower_is_better=True, passing="fail", name="v1"
    )
    assert (verdict.word, verdict.verdict.word) == ("not enough data", "not enough data")
    assert verdict.sentence == "12 of 12 runs failed; v1: 2 of 500"
    assert verdict.verdict.difference is None  # type: ignore[union-attr]
    slow = FigureUnits(
        name="latency",
        kind="amount",
        baseline={Unit("", 1.0, 1, 1.0): 514},
        windows=[{Unit("", 9.0, 1, 9.0): 1}],
        high=10.0,
        lower_is_better=True,
    )
    assert judge_release([slow]) == []


def test_verdict_needs_a_hundred_runs() -> None:
    """Between 30 and 100 runs on a side there is an interval, and no verdict."""
    verdict = judge_one(alone(20, 2_000), alone(60, 60), lower_is_better=True, passing="fail")
    assert (verdict.word, verdict.since) == ("not enough data", None)
    assert verdict.verdict.reasons == ["60 of 100 runs now"]
    assert "99 pts" in verdict.comparison


def test_another_mix_is_no_other_version() -> None:
    """If each client is unchanged, more runs of the worst client do not make a version worse."""
    before = {**alone(1_900, 2_000, "good"), **alone(1_000, 2_000, "bad")}
    window = {**alone(38, 40, "good"), **alone(80, 160, "bad")}
    verdict = judge_one(before, *[window] * 20)
    assert verdict.word != "worse"
    assert isinstance(verdict.verdict.sentence, str)
    plain = judge_one(alone(2_900, 4_000), *[alone(118, 200)] * 20)
    assert plain.word == "worse"


def test_fall_in_one_client() -> None:
    """A drop in one of two clients is found, whatever the mix is."""
    before = {**alone(1_900, 2_000, "good"), **alone(1_000, 2_000, "bad")}
    window = {**alone(30, 40, "good"), **alone(80, 160, "bad")}
    verdict = judge_one(before, *[window] * 20)
    assert verdict.word == "worse"
    # 20 points in this client, which has half of the baseline's runs.
    assert "10 pts worse" in verdict.sentence


def test_client_that_only_one_side_has() -> None:
    """Runs of a client that only one side has are not compared."""
    before = {**alone(1_800, 2_000, "old"), **alone(0, 1_000, "gone")}
    window = {**alone(180, 200, "old"), **alone(0, 200, "new")}
    verdict = judge_one(before, *[window] * 5)
    assert verdict.word != "worse"
    assert verdict.runs == 1_000


def test_window_waits_for_all_clients() -> None:
    """A window without all clients is joined with the next one."""
    before = {**alone(900, 1_000, "a"), **alone(900, 1_000, "b")}
    windows = [alone(60, 100, "a"), alone(60, 100, "b"), {}]
    assert judge_one(before, *windows).since == 1


def test_no_unit() -> None:
    """A figure that one side has no values of is left out."""
    nothing = FigureUnits(name="f", kind="rate", baseline={}, windows=[alone(1, 2)])
    assert judge_release([nothing]) == []


def test_blend_of_two() -> None:
    """Half-widths of two estimates that are averaged add as squares."""
    parts = [(0.5, Estimate(0.4, 0.1, 0.7, 10, 10)), (0.5, Estimate(0.8, 0.4, 1.2, 20, 5))]
    whole = blend(parts)
    assert (whole.n, whole.clusters) == (30, 15)
    assert [whole.value, whole.low, whole.high] == pytest.approx([0.6, 0.35, 0.85])
