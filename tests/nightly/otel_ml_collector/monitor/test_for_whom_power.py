"""How often the country is named in which a new version fell, by the fall and the number of runs.

The results are in docs/design/070-for-whom.md.
"""

from typing import Final

import numpy as np
import pytest

from otel_ml_collector.findings.slice_changes import find_changes_of_slices
from tests.unit.otel_ml_collector.test_slice_change_draws import (
    FIGURES,
    HOURS,
    VALUES,
    Draw,
    Traffic,
    look_at,
)

POWER_DRAWS: Final = 20
RATE: Final = 0.85
COUNTRIES: Final = 4
COUNTRY: Final = 1  # the place of this tag among the eight tags
FELL: Final = 1 + VALUES[0]  # the number of its first value


def draw_fall(draw: Draw, fall: float, labelled: int) -> Traffic:
    """Draw a rollout: v2 has `labelled` runs in each country, and its pass rate fell in one.

    The older version has 1.5 times as many runs. Each run is a session of its own.
    """
    after = COUNTRIES * labelled
    count = after + after * 3 // 2
    is_new = np.arange(count) >= count - after
    tags = [draw.integers(0, size, count) for size in VALUES]
    tags[COUNTRY] = np.arange(count) % COUNTRIES
    rates = np.where(is_new & (tags[COUNTRY] == 0), RATE - fall, RATE)
    values = [
        (draw.random(count) < rates).astype(float),
        (draw.random(count) < 0.02).astype(float),
        draw.beta(4, 2, count),
        np.round(64 * draw.gamma(2, 0.4, count)) / 64,
    ]
    hours = np.arange(count) * HOURS // count
    return Traffic(hours, is_new, np.arange(count), tags, values, is_hourly=False)


@pytest.mark.parametrize(
    ("fall", "labelled", "least"),
    [
        (0.45, 250, 20),
        (0.45, 100, 20),
        (0.45, 50, 10),
        (0.3, 250, 20),
        (0.3, 100, 5),
        (0.2, 250, 10),
        (0.1, 1_000, 5),
    ],
)
def test_power(fall: float, labelled: int, least: int) -> None:
    """A fall of 45 points in one country of four is always found with 250 labelled runs."""
    draw = np.random.default_rng(83)
    found = other = 0
    for _ in range(POWER_DRAWS):
        traffic = draw_fall(draw, fall, labelled)
        compared, _ = look_at(traffic, len(traffic.is_new))
        named = {
            (change.slice, change.figure)
            for change in find_changes_of_slices(compared, FIGURES)
            if change.is_named
        }
        found += (FELL, 0) in named
        other += bool(named - {(FELL, 0)})
    print(f"{fall}, {labelled} runs: {found} of {POWER_DRAWS}, another slice: {other}")  # noqa: T201
    assert found >= least
    assert other <= 1
