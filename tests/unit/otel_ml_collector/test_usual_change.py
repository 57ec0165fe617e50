"""Tests of changes from last week on tiles: usual variation is not shown as a number."""

from collections.abc import Sequence
from datetime import UTC
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from otel_ml_collector.figures import ComparedFigures, Tile, make_tiles
from otel_ml_collector.stats import RunFigures, StatsBucket
from otel_ml_collector.times import DAY_NS, HOUR_NS, to_rfc3339

START_NS: Final = 20_000 * DAY_NS
USUAL: Final = "usual"
FLAT: Final = [100] * 24
BUSY_BY_HOUR: Final = [60, 140] * 12


def make_figures(runs: int, errors: int = 0) -> dict[str, object]:
    return {
        **dict.fromkeys(("p50_ms", "p90_ms", "p95_ms", "p99_ms"), 10.0),
        "runs": runs,
        "errors": errors,
        "error_share": errors / runs,
        "tokens": {"input": None, "output": None},
        "cost": None,
        "judges": [],
    }


def make_buckets(hours: Sequence[int], start_ns: int) -> list[StatsBucket]:
    return [
        StatsBucket.model_validate(
            {
                **make_figures(runs),
                "start_time": to_rfc3339(start_ns + place * HOUR_NS),
                "start_ns": start_ns + place * HOUR_NS,
            }
        )
        for place, runs in enumerate(hours)
    ]


def list_changes(
    now: Sequence[int], before: Sequence[int], errors: tuple[int, int] = (0, 0)
) -> dict[str, str]:
    """Return the change on each tile of a day, by the name of the tile."""
    return {
        name: USUAL if USUAL in tile.change.split() else tile.change
        for name, tile in list_tiles(now, before, errors).items()
    }


def list_tiles(
    now: Sequence[int],
    before: Sequence[int],
    errors: tuple[int, int] = (0, 0),
    length_ns: int = DAY_NS,
) -> dict[str, Tile]:
    """Return the tiles of a day by name."""
    compared = ComparedFigures(
        start_time=to_rfc3339(START_NS),
        end_time=to_rfc3339(START_NS + length_ns),
        bucket_s=3600,
        total=RunFigures.model_validate(make_figures(sum(now), errors[0])),
        buckets=make_buckets(now, START_NS),
        before_start_time=to_rfc3339(START_NS - 7 * DAY_NS),
        before=RunFigures.model_validate(make_figures(sum(before), errors[1])),
        buckets_before=make_buckets(before, START_NS - 7 * DAY_NS),
    )
    return {tile.name: tile for tile in make_tiles(compared, [], ZoneInfo(str(UTC)))}


def test_unfinished_hour() -> None:
    """The way to an hour that is not over is a curve of its own; a complete hour has none."""
    whole = list_tiles([1, 2, 3], [1, 2, 3], length_ns=3 * HOUR_NS)["Runs"]
    cut = list_tiles([1, 2, 3], [1, 2, 3], length_ns=2 * HOUR_NS + HOUR_NS // 2)["Runs"]
    assert (whole.now, whole.unfinished) == ("0.0,19.0 50.0,10.0 100.0,1.0", "")
    assert (cut.now, cut.unfinished) == ("0.0,19.0 50.0,10.0", "50.0,10.0 100.0,1.0")


@pytest.mark.parametrize(
    ("now", "before", "change"),
    [
        (FLAT, FLAT, "unchanged"),
        ([140, 66] * 12, BUSY_BY_HOUR, USUAL),  # +3 %, but every hour differs by 70 or more
        ([110] * 24, FLAT, "+10\u202f%"),  # every hour has more
        ([400] + [100] * 23, FLAT, USUAL),  # +13 %, caused by one hour
        ([1000] + [100] * 23, FLAT, "+38\u202f%"),  # too large to omit
        ([500] * 24, FLAT, "5× as much"),
        ([103] * 3, [100] * 3, "+3\u202f%"),  # too few hours to know the usual variation
    ],
)
def test_amount(now: Sequence[int], before: Sequence[int], change: str) -> None:
    """A change of an amount below 25 % is shown only if most hours changed in the same way."""
    assert list_changes(now, before)["Runs"] == change


@pytest.mark.parametrize(
    ("errors", "change"),
    [
        ((12, 8), USUAL),
        ((60, 8), "+2.2\u202fpts"),
        ((400, 8), "+16\u202fpts"),
        ((8, 8), "unchanged"),
    ],
)
def test_share(errors: tuple[int, int], change: str) -> None:
    """A change of a share is shown only if chance does not explain it."""
    assert list_changes(FLAT, FLAT, errors)["Errors"] == change
