"""Simulated rollouts: how often unchanged versions are called worse or better, and falls found."""

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np
import pytest

from otel_ml.statistics.comparison import LEAST_CLUSTERS, LEAST_RUNS, RATE_MARGIN, decide
from otel_ml.statistics.release import SPENT
from otel_ml.statistics.rollout import Choice, Rollout, Stretch, choose_runs, find_rollout
from otel_ml.statistics.sequence import Moments, StratumSums, compare_sums
from tests.support.examples import draws, examples
from tests.support.sampling import harder, sampled

Draw = np.random.Generator
Numbers = np.ndarray[Any, np.dtype[Any]]
DRAWS: Final = draws(at_night=200, on_commit=25)
FALLS: Final = examples(at_night=200, on_commit=15)
HOURS: Final = 48
# Looks per hour.
LOOKS: Final = 4
CLIENTS: Final = 4
# Name, kind, and the level of a rate (as a logit) or of an amount (as a logarithm).
MEASURES: Final = (
    ("grounded", "rate", 2.2),
    ("errors", "rate", -4.0),
    ("missing outputs", "rate", -5.5),
    ("latency", "amount", 6.0),
)


@dataclass(frozen=True)
class Sessions:
    """Sessions in the order of their starts, one entry each.

    Attributes:
        slots: The quarter of an hour in which the session starts.
        is_new: Whether the new version answers it.
        sizes: Number of runs.
        clients: Number of the client.
        counts: For each measure, the number of runs that have a value.
        totals: For each measure, the sum over these runs.
    """

    slots: Numbers
    is_new: Numbers
    sizes: Numbers
    clients: Numbers
    counts: list[Numbers]
    totals: list[Numbers]


# Share of the new version, by quarter of an hour.
def canary(draw: Draw) -> Numbers:
    """Grow from 1 to 100 %, in steps of random length."""
    steps = np.sort(draw.choice(HOURS * LOOKS, 7, replace=False))
    shares = np.array([0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.8, 1.0])
    return shares[np.searchsorted(steps, np.arange(HOURS * LOOKS), side="right")]


def alternating(draw: Draw) -> Numbers:
    """Give the new version another share in every hour."""
    return np.repeat(draw.choice([0.1, 0.3, 0.5, 0.7, 0.9], HOURS), LOOKS)


def trial(draw: Draw) -> Numbers:
    """Try the new version for a moment, and roll it out later."""
    shares = np.zeros(HOURS * LOOKS)
    shares[draw.integers(0, HOURS)] = 0.05
    shares[draw.integers(HOURS, HOURS * LOOKS - HOURS) :] = 1.0
    return shares


def retry(draw: Draw) -> Numbers:
    """Roll out, roll back, and roll out again."""
    first, back, again = np.sort(draw.choice(HOURS * LOOKS, 3, replace=False))
    shares = np.zeros(HOURS * LOOKS)
    shares[first:back] = 1.0
    shares[again:] = 1.0
    return shares


def gradual(draw: Draw) -> Numbers:
    """Grow from 5 to 100 % within 3 to 24 hours."""
    length = int(draw.integers(3, 25)) * LOOKS
    first = int(draw.integers(HOURS, HOURS * LOOKS - length))
    shares = np.zeros(HOURS * LOOKS)
    shares[first : first + length] = np.linspace(0.05, 1.0, length)
    shares[first + length :] = 1.0
    return shares


def holdback(draw: Draw) -> Numbers:
    """Keep a part of the traffic on the older version."""
    shares = np.zeros(HOURS * LOOKS)
    shares[draw.integers(HOURS, 2 * HOURS) :] = draw.uniform(0.7, 0.97)
    return shares


def at_once(draw: Draw) -> Numbers:
    """Switch from one moment to the next."""
    return (np.arange(HOURS * LOOKS) >= draw.integers(HOURS, HOURS * LOOKS)).astype(float)


ROLLOUTS: Final = {each.__name__: each for each in (canary, alternating, trial, retry, at_once)}


def draw_sessions(
    draw: Draw,
    shares: Numbers,
    runs: int,
    most: int,
    *,
    fixed: bool = False,
    fall: float = 0.0,
    scored: float = 1.0,
) -> Sessions:
    """Draw sessions of 1 to `most` runs, or of exactly `most`, and about `runs` runs in all.

    The judge scores a share of the runs, `scored`.

    Without `fixed`, clients differ in all measures, the new version has another mix of them, and
    traffic and levels change with the hour.
    """
    count = max(round(runs / (most if fixed else (1 + most) / 2)), 4)
    sizes = np.full(count, most) if fixed else draw.integers(1, most + 1, count)
    times = np.arange(HOURS * LOOKS) / LOOKS
    wave = np.sin((times + draw.uniform(0, 24)) * 2 * np.pi / 24)
    weights = np.ones_like(wave) if fixed else 1 + 0.8 * wave
    slots = np.sort(draw.choice(len(shares), count, p=weights / weights.sum()))
    is_new = draw.random(count) < shares[slots]
    if fixed:
        clients = np.zeros(count, dtype=int)
        # A session's rate has a beta distribution: the correlation of two of its runs is 0.2.
        rates = np.where(is_new, 0.9 - fall, 0.9)
        rates = draw.beta(rates * 4, (1 - rates) * 4)
        levels = np.zeros(count)
        mood = np.zeros(count)
    else:
        mixes = [draw.dirichlet(np.full(CLIENTS, 3.0)) for _ in range(2)]
        clients = np.where(
            is_new,
            draw.choice(CLIENTS, count, p=mixes[1]),
            draw.choice(CLIENTS, count, p=mixes[0]),
        )
        levels = draw.normal(0, 0.8, CLIENTS)[clients]
        mood = draw.normal(0, 0.7, count)
        rates = None
    counts = [sizes] * len(MEASURES)
    if scored < 1:
        counts[0] = draw.binomial(sizes, scored)
    totals = []
    for (_, kind, level), sizes_of in zip(MEASURES, counts, strict=True):
        if kind == "amount":
            noise = draw.normal(0, 0.5, count) / np.sqrt(sizes)
            totals.append(sizes * (level + levels / 2 + mood / 2 + noise))
        elif rates is not None and level > 0:
            totals.append(draw.binomial(sizes_of, rates).astype(float))
        else:
            logits = level + levels + mood
            totals.append(draw.binomial(sizes_of, 1 / (1 + np.exp(-logits))).astype(float))
    return Sessions(slots, is_new, sizes, clients, counts, totals)


def sum_cells(sessions: Sessions, measure: int) -> Numbers:
    """Return the moments by quarter of an hour, client, side and kind of sum."""
    totals, sizes = sessions.totals[measure], sessions.counts[measure].astype(float)
    shape = (HOURS * LOOKS, CLIENTS, 2)
    cells = np.ravel_multi_index(
        (sessions.slots, sessions.clients, sessions.is_new.astype(int)), shape
    )
    values = (
        sizes > 0,
        sizes,
        totals,
        sizes**2,
        sizes * totals,
        totals**2,
        totals > 0,
        totals < sizes,
    )
    return np.stack(
        [np.bincount(cells, value, math.prod(shape)).reshape(shape) for value in values], axis=-1
    )


class Rollouts:
    """Finds the rollout at many looks; `find_rollout` does it for one."""

    def __init__(self, sessions: Sessions) -> None:
        self.slots = np.repeat(sessions.slots, sessions.sizes)
        self.is_new = np.repeat(sessions.is_new, sessions.sizes)
        self.hours = self.slots // LOOKS
        sums = np.concatenate([[0], np.cumsum(self.is_new)])
        self.bad = np.flatnonzero(sums[100:] - sums[:-100] < 20)
        self.sums = sums

    def find(self, slot: int) -> Rollout | None:
        calls = int(np.searchsorted(self.slots, slot, side="right"))
        if not self.is_new[:calls].any():
            return None
        least = int(self.hours[np.argmax(self.is_new)])
        bad = self.bad[: np.searchsorted(self.bad, calls - 100, side="right")]
        last_bad = int(bad[-1]) if len(bad) else -1
        for hour in np.unique(self.hours[:calls]):
            first, end = np.searchsorted(self.hours[:calls], [hour, hour + 1]).tolist()
            old = end - first - int(self.sums[end] - self.sums[first])
            switch = first + old
            is_clean = first < switch < end and self.sums[first] == self.sums[switch]
            if hour < least:
                continue
            if is_clean and switch > last_bad and self._is_left(switch, calls):
                return Rollout(int(hour), is_clean=True)
            if first > last_bad and self._is_left(first, calls):
                return Rollout(int(hour), is_clean=False)
        return None

    def _is_left(self, first: int, calls: int) -> bool:
        left = calls - first
        return left >= 100 or int(self.sums[calls] - self.sums[first]) >= 0.2 * left


def find_word(strata: list[StratumSums], kind: str, error: float, level: float) -> str:
    """Decide one measure as `judge_release` does."""
    expected = 0.08 if kind == "rate" else math.log(1.2)
    found = compare_sums(strata, is_rate=kind == "rate", error=error, expected=expected)
    if found is None:
        return ""
    sides = found.baseline, found.candidate
    if min(side.n for side in sides) < LEAST_RUNS:
        return ""
    if min(side.clusters for side in sides) < LEAST_CLUSTERS:
        return ""
    margin = RATE_MARGIN if kind == "rate" else math.log1p(0.05)
    return decide(found.difference, margin, lower_is_better=level < 0 or kind == "amount")


def is_scarce(strata: list[StratumSums]) -> bool:
    """Whether a side has too few runs with a value."""
    return any(sum(item.sides[side].runs for item in strata) < LEAST_RUNS for side in (0, 1))


def sum_around(cells: Numbers, rollout: Rollout, slot: int) -> list[StratumSums]:
    """Return the sums of the older version before a rollout, and of the newer one since then."""
    before = cells[: min(rollout.end * LOOKS, slot + 1), :, 0].sum(axis=0).tolist()
    after = cells[rollout.hour * LOOKS : slot + 1, :, 1].sum(axis=0).tolist()
    strata = [StratumSums() for _ in range(CLIENTS)]
    for client, each in enumerate(strata):
        each.add((Moments(*before[client]), Moments(*after[client])))
    return strata


def look(sessions: Sessions, every: int = 1) -> Iterator[tuple[int, Choice, list[str], bool]]:
    """Compare the versions again and again.

    Yields:
        The quarter of an hour, the compared runs, the words of all measures, and whether the judge
        is compared by the runs around the rollout, because it scored too few runs of the hours.
    """
    sums = [sum_cells(sessions, place) for place in range(len(MEASURES))]
    runs = sums[0][..., 1].sum(axis=1)
    rollouts = Rollouts(sessions)
    hourly = [[StratumSums() for _ in range(CLIENTS)] for _ in MEASURES]
    older, newer = Counter[int](), Counter[int]()
    error = SPENT / len(MEASURES)
    for slot in range(HOURS * LOOKS):
        hour, part = divmod(slot, LOOKS)
        older[hour] += round(runs[slot, 0])
        newer[hour] += round(runs[slot, 1])
        is_last = part == LOOKS - 1
        if slot % every == every - 1:
            rollout = rollouts.find(slot)
            choice = choose_runs(older, newer, rollout)
            words, is_around = [], False
            for place, (_, kind, level) in enumerate(MEASURES):
                cells = sums[place]
                if choice.kind == "hours":
                    strata = copy.deepcopy(hourly[place])
                    now = cells[hour * LOOKS : slot + 1].sum(axis=0).tolist()
                    for client, pair in enumerate(now):
                        strata[client].add((Moments(*pair[0]), Moments(*pair[1])))
                    if place == 0 and rollout is not None and is_scarce(strata):
                        around = sum_around(cells, rollout, slot)
                        is_around = not is_scarce(around)
                        strata = around if is_around else strata
                elif choice.kind == "rollout" and choice.rollout is not None:
                    strata = sum_around(cells, choice.rollout, slot)
                else:
                    continue
                words.append(find_word(strata, kind, error, level))
            yield slot, choice, words, is_around
        if is_last:
            for place, cells in enumerate(sums):
                whole = cells[hour * LOOKS : slot + 1].sum(axis=0).tolist()
                for client, pair in enumerate(whole):
                    hourly[place][client].add((Moments(*pair[0]), Moments(*pair[1])))


def count_called(
    draw: Draw, make_shares: Callable[[Draw], Numbers], *, few_scores: bool = False
) -> tuple[int, Counter[str]]:
    """Return how many unchanged versions were ever called worse or better, and what was compared.

    With `few_scores`, the judge scores about 1,000 to 10,000 runs.
    """
    called = 0
    kinds = Counter[str]()
    for _ in range(DRAWS):
        runs = int(10 ** draw.uniform(3.3 if few_scores else 2.5, 4.7))
        sessions = draw_sessions(
            draw,
            make_shares(draw),
            runs=runs,
            most=int(draw.integers(1, 51)),
            scored=min(10 ** draw.uniform(3, 4) / runs, 1.0) if few_scores else 1.0,
        )
        looks = [*look(sessions)]
        called += any({"worse", "better"} & {*words} for _, _, words, _ in looks)
        kinds[looks[-1][1].kind] += 1
        around = [is_around for *_, is_around in looks]
        kinds["judge switched"] += any(around) and not around[-1]
    print(f"{make_shares.__name__}: {called} of {DRAWS} worse or better; {dict(kinds)}")  # noqa: T201
    return called, kinds


@sampled(2)
@harder
@pytest.mark.parametrize("rollout", ROLLOUTS)
def test_nothing_changed(rollout: str) -> None:
    """At most one in a hundred unchanged versions is ever called worse or better."""
    draw = np.random.default_rng([20, *map(ord, rollout)])
    called, _ = count_called(draw, ROLLOUTS[rollout])
    assert called <= 0.01 * DRAWS


@sampled(1)
@harder
@pytest.mark.parametrize(("make_shares", "least"), [(gradual, 0.0), (holdback, 0.2)])
def test_nothing_changed_few_scores(make_shares: Callable[[Draw], Numbers], least: float) -> None:
    """The same holds for a judge with few scores.

    Its runs before and since the rollout are compared, until it has scored 100 runs of each version
    in the hours of both.
    """
    draw = np.random.default_rng([21, *map(ord, make_shares.__name__)])
    called, kinds = count_called(draw, make_shares, few_scores=True)
    assert kinds["judge switched"] >= least * DRAWS
    assert called <= 0.01 * DRAWS


def find_wait(draw: Draw, shares: Numbers, fall: float, first: int) -> float:
    """Return the hours from a look on until the pass rate is worse, with 20,000 runs a day."""
    sessions = draw_sessions(draw, shares, 20_000 * HOURS // 24, 4, fixed=True, fall=fall)
    for slot, _, words, _ in look(sessions, every=LOOKS):
        if words and words[0] == "worse":
            return (slot + 1 - first) / LOOKS
    return math.inf


@harder
def test_fall_in_a_canary() -> None:
    """A fall by 10 points in a canary of 5 % is found within the day, in the median."""
    draw = np.random.default_rng(31)
    shares = np.full(HOURS * LOOKS, 0.05)
    waits = [find_wait(draw, shares, 0.1, 0) for _ in range(FALLS)]
    print(f"canary of 5 %, 10 points: {median(waits)} h, 90 % {np.quantile(waits, 0.9)} h")  # noqa: T201
    assert median(waits) <= 24


@harder
def test_fall_after_a_rollout() -> None:
    """A fall by 5 points after a full rollout is found within two days, in the median."""
    draw = np.random.default_rng(32)
    first = HOURS * LOOKS // 2
    shares = (np.arange(HOURS * LOOKS) >= first).astype(float)
    waits = [find_wait(draw, shares, 0.05, first) for _ in range(FALLS)]
    print(f"rollout, 5 points: {median(waits)} h, 90 % {np.quantile(waits, 0.9)} h")  # noqa: T201
    assert median(waits) <= 48


def test_rollouts_of_draws() -> None:
    """The rollout that the simulation finds at many looks is that of `find_rollout`."""
    draw = np.random.default_rng(33)
    for rollout in ROLLOUTS.values():
        sessions = draw_sessions(draw, rollout(draw), 3_000, 6)
        rollouts = Rollouts(sessions)
        for slot in range(0, HOURS * LOOKS, 7):
            calls = [
                Stretch(int(hour), bool(is_new), 1)
                for at, hour, is_new in zip(
                    rollouts.slots, rollouts.hours, rollouts.is_new, strict=True
                )
                if at <= slot
            ]
            assert rollouts.find(slot) == find_rollout(calls)
