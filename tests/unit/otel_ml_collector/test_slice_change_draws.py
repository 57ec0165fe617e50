"""Simulated versions: how often a slice is named although nothing changed, and falls found."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest

from otel_ml_collector.findings.slice_changes import (
    ChangedFigure,
    ComparedRuns,
    find_changes_of_slices,
)
from tests.support.examples import draws, examples
from tests.support.sampling import harder

Draw = np.random.Generator
Numbers = np.ndarray[Any, np.dtype[Any]]
DRAWS: Final = draws(at_night=200, on_commit=4)
FALLS: Final = examples(at_night=50, on_commit=2)
HOURS: Final = 48
# Number of values of each tag: 200 in all. The second tag is the region of the first, the client.
VALUES: Final = (40, 5, 2, 3, 10, 20, 60, 60)
FIGURES: Final = (
    ChangedFigure(name="grounded", kind="rate", lower_is_better=False, margin=0.02),
    ChangedFigure(name="errors", kind="rate", lower_is_better=True, margin=0.02),
    ChangedFigure(name="score", kind="score", lower_is_better=False, margin=0.05),
    ChangedFigure(name="latency", kind="amount", lower_is_better=True, margin=0.05),
)


@dataclass(frozen=True)
class Traffic:
    """Runs in the order of their starts, one entry each.

    Attributes:
        hours: Hour of the start.
        is_new: Whether the new version answers.
        units: Number of the session.
        tags: For each tag, the number of the value.
        values: For each figure, the value.
    """

    hours: Numbers
    is_new: Numbers
    units: Numbers
    tags: list[Numbers]
    values: list[Numbers]
    is_hourly: bool


def draw_traffic(draw: Draw, runs: int, most: int, *, fall: float = 0.0) -> Traffic:
    """Draw sessions of 1 to `most` runs, about `runs` runs in all.

    The values of all tags, the hour and the session differ in level. The new version has another
    mix of the values of each tag. `fall` lowers the pass rate of value 0 of the fourth tag.
    """
    count = max(2 * runs // (1 + most), 60)
    sizes = draw.integers(1, most + 1, count)
    is_hourly = bool(draw.integers(2))
    hours = np.sort(draw.integers(0, HOURS, count))
    share = draw.uniform(0.05, 0.5)
    if is_hourly:
        is_new = draw.random(count) < np.clip(share * draw.uniform(0.5, 1.5, HOURS), 0, 1)[hours]
    else:
        is_new = hours >= round(HOURS * (1 - share))
    places = np.arange(count).repeat(sizes)
    tags = []
    region = draw.integers(0, VALUES[1], VALUES[0])
    shift = draw.choice([0.0, 1.0])
    for size in VALUES:
        common = draw.dirichlet(np.full(size, draw.choice([0.3, 3.0])))
        other = draw.dirichlet(np.full(size, 1.0))
        mixed = (1 - shift / 2) * common + shift / 2 * other
        own = np.where(
            is_new, draw.choice(size, count, p=mixed), draw.choice(size, count, p=common)
        )[places]
        if draw.integers(3) == 0:  # the tag changes within a session
            free = draw.choice(size, len(places), p=common)
            own = np.where(draw.random(len(places)) < 0.3, free, own)
        tags.append(own)
    tags[1] = region[tags[0]]
    kinds = []
    wave = draw.normal(0, 0.3, HOURS)
    strength = draw.uniform(0, 0.7)
    for figure, level in zip(FIGURES, (1.5, draw.choice([-4.5, -3.0]), 0.0, 6.0), strict=True):
        levels = level + wave[hours][places] + draw.normal(0, draw.uniform(0, 0.8), count)[places]
        for own, size in zip(tags, VALUES, strict=True):
            levels = levels + draw.normal(0, strength, size)[own]
        if figure.kind == "rate":
            rates = 1 / (1 + np.exp(-levels))
            if fall and figure.name == "grounded":
                rates = rates - fall * (is_new[places] & (tags[3] == 0)) * (rates > fall)
            kinds.append((draw.random(len(places)) < rates).astype(float))
        elif figure.kind == "score":
            kinds.append(1 / (1 + np.exp(-levels - draw.normal(0, 1, len(places)))))
        else:
            noise = draw.gamma(2, 0.4, len(places))
            kinds.append(np.round(64 * (levels / 3 + noise)) / 64)
    return Traffic(hours[places], is_new[places], places, tags, kinds, is_hourly)


def look_at(traffic: Traffic, runs: int) -> tuple[ComparedRuns, list[str]]:
    """Return the first runs of the traffic, with their slices by number."""
    part = slice(0, runs)
    columns: dict[str, Any] = {
        "is_before": ~traffic.is_new[part],
        "start_ns": np.arange(runs),
        "hour": traffic.hours[part],
        "unit": traffic.units[part],
    }
    for at, values in enumerate(traffic.values):
        columns |= {f"h{at}": np.ones(runs, bool), f"v{at}": values[part]}
    ids, names = [], [""]
    for tag, (own, size) in enumerate(zip(traffic.tags, VALUES, strict=True)):
        ids.append(own[part] + len(names))
        names += [f"tag {tag}"] * size
    compared = ComparedRuns(
        pa.table(columns),
        pa.array(np.concatenate(ids).astype(np.int64)),
        pa.array(np.tile(np.arange(runs), len(VALUES))),
        dict(enumerate(names)),
        is_hourly=traffic.is_hourly,
    )
    return compared, names


def list_looks(traffic: Traffic) -> list[int]:
    """Return the numbers of runs after which the smaller side has 100, 200, 400, ... of them."""
    sides = np.cumsum(traffic.is_new), np.cumsum(~traffic.is_new)
    smaller = np.minimum(*sides)
    looks, runs = [], 100
    while smaller[-1] >= runs:
        looks.append(int(np.searchsorted(smaller, runs)) + 1)
        runs *= 2
    return looks


@harder
def test_nothing_changed() -> None:
    """At most 5 of 100 versions without a difference ever have a slice that is named."""
    draw = np.random.default_rng(81)
    named = looks = 0
    for _ in range(DRAWS):
        traffic = draw_traffic(draw, int(10 ** draw.uniform(2.7, 4.3)), int(draw.integers(1, 51)))
        found = False
        for runs in list_looks(traffic):
            compared, _ = look_at(traffic, runs)
            changes = find_changes_of_slices(compared, FIGURES)
            found = found or any(change.is_named for change in changes)
            looks += 1
        named += found
    print(f"{named} of {DRAWS} versions name a slice, {looks} looks")  # noqa: T201
    assert named <= max(0.05 * DRAWS, 1)


@harder
@pytest.mark.parametrize(("fall", "least"), [(0.45, 0.6), (0.2, 0.2)])
def test_fall_in_a_slice(fall: float, least: float) -> None:
    """A fall of 45 points is found in most draws, one of 20 points in some, both in its slice."""
    draw = np.random.default_rng(82)
    found = wrong = 0
    for _ in range(FALLS):
        traffic = draw_traffic(draw, 4_000, 4, fall=fall)
        compared, _ = look_at(traffic, len(traffic.is_new))
        changes = [
            change for change in find_changes_of_slices(compared, FIGURES) if change.is_named
        ]
        first = 1 + sum(VALUES[:3])
        found += any(change.slice == first and change.figure == 0 for change in changes)
        wrong += any(change.slice != first for change in changes)
    print(f"fall by {fall}: found in {found} of {FALLS}, another slice named in {wrong}")  # noqa: T201
    assert found >= least * FALLS
    assert wrong <= 0.05 * FALLS
