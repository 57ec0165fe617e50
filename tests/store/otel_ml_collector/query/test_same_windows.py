"""Tests that lists, sums, statistics, tiles, charts and filters treat a time range alike."""

import re
import time
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from otel_ml_collector.figures import find_figures_at
from otel_ml_collector.overview.find import OverviewQuery, find_figures
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.stats import StatsQuery, find_all_stats, find_stats
from otel_ml_collector.times import DAY_NS, HOUR_NS, from_rfc3339, to_rfc3339
from otel_ml_collector.traces.sums import find_sums
from otel_ml_collector.windows import Window, find_day, read_zone
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS, make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import sampled

BERLIN: Final = read_zone("Europe/Berlin")
PROJECT: Final = "same windows"
RECENT: Final = "same days"
# Whole and partial days with a clock change, to the nanosecond.
RANGES: Final = (
    ("2026-03-29", "2026-03-30"),
    ("2026-03-28T23:00:00.000000001", "2026-03-29T02:59:59.999999999"),
    ("2026-03-28T17:12:05.000000007", "2026-03-30T05:30:00"),
    ("2026-10-25", "2026-10-26"),
    ("2026-10-25T01:30:00Z", "2026-10-25T01:30:00.000000002Z"),
    ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
)


def edges_of(start: str, end: str) -> Window:
    edges_ns = [from_rfc3339(text, "start", BERLIN) for text in (start, end)]
    return Window(edges_ns[0], edges_ns[1], BERLIN)


def times_around(window: Window) -> set[int]:
    """Return times just before, at and just after both ends of a window."""
    return {
        time_ns + away_ns for time_ns in (window.start_ns, window.end_ns) for away_ns in (-1, 0, 1)
    }


def starts_of_runs() -> list[int]:
    """Return times around all edges, and every hour on the days around them."""
    starts = {time_ns for edges in RANGES for time_ns in times_around(edges_of(*edges))}
    for day in ("2026-03-28", "2026-10-24"):
        first_ns = from_rfc3339(day, "start", BERLIN)
        starts |= set(range(first_ns + HOUR_NS // 3, first_ns + 3 * DAY_NS, HOUR_NS))
    return sorted(starts)


STARTS: Final = starts_of_runs()


@pytest.fixture(scope="module")
def runs(own_service: Service) -> str:
    """Store runs around all edges, and return their project."""
    calls = [make_call(start_ns=start_ns, end_ns=start_ns + 1) for start_ns in STARTS]
    own_service.store.take(PROJECT, *calls)
    return PROJECT


@pytest.fixture(scope="module", params=["runs", "rollup"])
def stored(request: pytest.FixtureRequest, own_service: Service, runs: str) -> str:
    """Return the project first without a rollup, then with it."""
    if request.param == "rollup":
        own_service.store.compute(runs, sorted({at // DAY_NS * DAY_NS for at in STARTS}))
    return runs


def count(window: Window) -> int:
    return sum(window.start_ns <= start_ns < window.end_ns for start_ns in STARTS)


def read(service: Service, path: str, **asked: str) -> Any:
    address = f"{path}?{urlencode(asked)}"
    answered = ask(service.app, address)
    assert answered.status == 200, (address, answered.text)
    return answered


def count_everywhere(service: Service, project: str, **asked: str) -> dict[str, int]:
    """Count the runs of a range with each API endpoint and on the pages."""
    path = f"/api/v1/projects/{project}"
    stats = {
        bucket: read(service, f"{path}/stats", bucket=bucket, **asked).json
        for bucket in ("all", "1h", "6h", "1d")
    }
    chart = read(service, f"/projects/{project}/chart", **asked).text
    drawn = re.search(r"<b>([\d,]+) calls?</b>", chart)
    return {
        "list": len(read(service, f"{path}/runs", limit="1000", **asked).json["runs"]),
        "sums": read(service, f"{path}/sums", **asked).json["total"]["runs"],
        "chart": int(drawn[1].replace(",", "")) if drawn else 0,
        "export": len(read(service, f"{path}/export", **asked).text.splitlines()),
        **{f"stats {bucket}": one["total"]["runs"] for bucket, one in stats.items()},
        **{
            f"buckets {bucket}": sum(part["runs"] for part in group["buckets"])
            for bucket, one in stats.items()
            for group in one["groups"]
        },
    }


@sampled(1)
@pytest.mark.parametrize("edges", RANGES, ids=" ".join)
def test_ranges(own_service: Service, stored: str, edges: tuple[str, str]) -> None:
    """Every count includes the start of the range and excludes its end."""
    start, end = edges
    counts = count_everywhere(own_service, stored, start=start, end=end, tz="Europe/Berlin")
    assert counts == dict.fromkeys(counts, count(edges_of(start, end)))


@sampled(2)
@pytest.mark.parametrize("edges", RANGES, ids=" ".join)
def test_filters(own_service: Service, runs: str, edges: tuple[str, str]) -> None:
    """A date in a filter is read in the requested time zone, like ``start`` and ``end``."""
    start, end = edges
    asked = {
        "where": f'start >= "{start}" and start < "{end}"',
        "start": edges[0][:10] if "Z" not in start else "2026-10-24",
        "tz": "Europe/Berlin",
    }
    path = f"/api/v1/projects/{runs}"
    counts = {
        "list": len(read(own_service, f"{path}/runs", limit="1000", **asked).json["runs"]),
        "sums": read(own_service, f"{path}/sums", **asked).json["total"]["runs"],
        "export": len(read(own_service, f"{path}/export", **asked).text.splitlines()),
    }
    assert counts == dict.fromkeys(counts, count(edges_of(start, end)))


@sampled(1)
@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-24", 24)]
)
def test_buckets_of_a_day(own_service: Service, day: str, hours: int) -> None:
    """Buckets begin at the range's start and at full hours of the zone, for days of 23 to 25 h."""
    end = to_rfc3339(from_rfc3339(day, "end", BERLIN) + hours * HOUR_NS)
    asked = {"start": day, "end": end, "tz": "Europe/Berlin"}
    for bucket, most in (("1h", hours), ("6h", 4), ("1d", 1)):
        path = f"/api/v1/projects/{PROJECT}/stats"
        stats = read(own_service, path, bucket=bucket, **asked).json
        [group] = stats["groups"]
        starts = [part["start_time"] for part in group["buckets"]]
        assert starts[0] == stats["start_time"] == to_rfc3339(edges_of(day, end).start_ns)
        assert len(starts) == most


def test_first_bucket_is_cut(own_service: Service, runs: str) -> None:
    """If a range begins within an hour, its first bucket begins at the range's start."""
    start = to_rfc3339(STARTS[0])
    stats = read(
        own_service, f"/api/v1/projects/{runs}/stats", start=start, end=to_rfc3339(STARTS[9])
    ).json
    assert stats["groups"][0]["buckets"][0]["start_time"] == start


def test_wrong_parameters(own_service: Service, runs: str) -> None:
    """An invalid zone or time is rejected with the parameter's name and the expected form."""
    for asked, field, message in (
        ({"tz": "Mars"}, "tz", "Invalid time zone 'Mars': expected an IANA name such as"),
        ({"last": "1 year"}, "last", "Invalid last '1 year': expected a number of s, m, h, d or w"),
        ({"start": "noon"}, "start", "Invalid time 'noon': expected RFC 3339"),
    ):
        for path in ("runs", "sums", "stats", "export", "sessions"):
            address = f"/api/v1/projects/{runs}/{path}?{urlencode(asked)}"
            answered = ask(own_service.app, address)
            assert answered.status == 400, address
            assert (
                (problem := answered.json["error"])["field"],
                message in problem["message"],
            ) == (field, True)


@sampled(1)
@pytest.mark.parametrize("day", ["today", "yesterday"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_days_of_a_zone(own_service: Service, day: str, zone: str) -> None:
    """*today* and *yesterday* are days of the requested zone, in filters too."""
    now_ns, project = time.time_ns(), f"{RECENT} {day} {zone}"
    window = find_day(day, now_ns, read_zone(zone))
    starts = sorted(at for at in times_around(window) if at <= now_ns)
    calls = [make_call(start_ns=at, end_ns=at + 1) for at in starts]
    own_service.store.take(project, *calls, now_ns=now_ns)
    wanted = sum(window.start_ns <= at < window.end_ns for at in starts)
    counts = count_everywhere(own_service, project, last=day, tz=zone)
    assert counts == dict.fromkeys(counts, wanted)
    where = {"where": f'last("{day}")', "start": "2026-01-01", "tz": zone}
    path = f"/api/v1/projects/{project}"
    assert len(read(own_service, f"{path}/runs", **where).json["runs"]) == wanted
    assert read(own_service, f"{path}/sums", **where).json["total"]["runs"] == wanted


def test_last_day(own_service: Service) -> None:
    """The last 24 hours have the same runs on tiles and in lists, sums and statistics."""
    store, project = own_service.store, "same last day"
    edges = Window(NOW_NS - DAY_NS + 7, NOW_NS + 7)
    starts = sorted({*times_around(edges), NOW_NS - 3 * HOUR_NS})
    store.take(project, *(make_call(start_ns=at, end_ns=at + 1) for at in starts))
    query = RunsQuery(project, limit=100, start_ns=edges.start_ns, end_ns=edges.end_ns)
    sums = find_sums(store.reader, query, "", NOW_NS)
    assert sums is not None
    [home] = [
        group
        for group in find_all_stats(store.reader, edges.end_ns).groups
        if group.project == project
    ]
    overview = find_figures(store.reader, project, OverviewQuery("24h"), edges.end_ns)
    counts = {
        "list": len(find_runs(store.reader, query, NOW_NS).runs),
        "sums": sums.total.runs,
        "home": home.runs,
        "curve": sum(bucket.runs for bucket in home.buckets),
        "overview": overview.total.runs,
        "tiles": sum(bucket.runs for bucket in overview.buckets),
    }
    assert counts == dict.fromkeys(counts, 4)
    assert overview.buckets[0].start_ns == edges.start_ns


def test_week_before(own_service: Service) -> None:
    """The comparison range is exactly as long and one week earlier."""
    store, project = own_service.store, "same week before"
    edges = Window(NOW_NS - DAY_NS + 7, NOW_NS + 7)
    starts = [at - 7 * DAY_NS for at in times_around(edges)]
    store.take(project, *(make_call(start_ns=at, end_ns=at + 1) for at in starts))
    figures = find_figures_at(store.reader, project, edges.cut(HOUR_NS), by=[], order="runs")
    assert figures.compared.before.runs == 3
    assert sum(bucket.runs for bucket in figures.compared.buckets_before) == 3


def test_days_of_statistics_are_exact(own_service: Service) -> None:
    """Statistics of a window count from its first nanosecond to its last."""
    store, project = own_service.store, "same nanoseconds"
    edges = Window(NOW_NS - 5 * DAY_NS + 1, NOW_NS - 1, BERLIN)
    store.take(
        project, *(make_call(start_ns=at, end_ns=at + 1) for at in sorted(times_around(edges)))
    )
    for step_ns in (None, HOUR_NS, 6 * HOUR_NS, DAY_NS):
        stats = find_stats(store.reader, StatsQuery(project, "", "", edges, step_ns, 1))
        assert stats.total.runs == 3
        assert stats.groups[0].buckets[0].start_ns == edges.start_ns
