"""The timed queries, and the time limit of each over a million runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

import orjson

from otel_ml_collector.times import DAY_NS, to_rfc3339
from tests.bench.dataset import JUDGE, WORDS, project_name
from tests.bench.dataset_load import EXTRAS, LONG_TRACE_ID, TRAINING, Loaded
from tests.support.collector import CollectorProcess

_PAGE: Final = 50
_PAGES: Final = 1_000
_FIRST_RUNS: Final = 500
_MONTH_NS: Final = 30 * DAY_NS
_LATEST: Final = "latest 50 of a project"

Parameters = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Asked:
    """A query.

    Attributes:
        floor_ms: How long the slowest of twenty responses may take.
        path: Returns the path for each repetition, which varies its subject.
        fits: Returns whether a response can be correct.
    """

    title: str
    floor_ms: float
    path: Callable[[int], str]
    fits: Callable[[bytes], bool]


def make_queries(collector: CollectorProcess, loaded: Loaded) -> list[Asked]:
    """Make the queries over a loaded store; lists query its largest project."""
    return [
        *_lists(collector, loaded),
        *_records(loaded),
        *_series(loaded),
        *_glances(loaded),
    ]


def _lists(collector: CollectorProcess, loaded: Loaded) -> list[Asked]:
    month = {"start": to_rfc3339(loaded.end_ns - _MONTH_NS)}
    one_in_1000 = 'tags["client"] == "client-0" and outcome == "error" and latency_ms > {}'
    judged = f'{one_in_1000} and scores["{JUDGE}"] < 0.5'

    def runs(title: str, floor_ms: float, where: str, fits: Callable[[bytes], bool]) -> Asked:
        def path(place: int) -> str:
            asked = {"where": where.format(place)} if where else {}
            return _runs({**month, **asked, "limit": _PAGE})

        return Asked(title, floor_ms, path, fits)

    def later(place: int) -> str:
        return _runs({"limit": _PAGE, "cursor": cursors[place % len(cursors)]})

    cursors = _seek(collector)
    far = to_rfc3339(loaded.end_ns)
    values = urlencode({"where": 'tags["client"] == "', "limit": 100})
    return [
        Asked(_LATEST, 50, lambda _: _runs({"limit": _PAGE}), _is_page),
        Asked("page 1,000 of the same", 50, later, _is_page),
        runs("tag, outcome, latency: 1 in 1,000", 60, one_in_1000.format("15{:02}"), _is_page),
        runs("tag, outcome, latency: none in 30 days", 60, one_in_1000.format("9{:05}"), _is_empty),
        runs("the same and a score", 100, judged.format("15{:02}"), _is_page),
        runs("the same and a score: none", 100, judged.format("9{:05}"), _is_empty),
        *(
            runs(f"word in input, in 1 of {every:,}", 80, f'"{word}" in input', _is_some)
            for word, every in WORDS.items()
        ),
        Asked(
            "word in input, in none",
            80,
            lambda place: _runs({**month, "end": far, "where": f'"nowhere{place}" in input'}),
            _is_empty,
        ),
        Asked(
            "values of a tag",
            60,
            lambda _: f"{_project(0)}/completion?{values}",
            lambda body: b"client-0" in body,
        ),
    ]


def _records(loaded: Loaded) -> list[Asked]:
    samples = loaded.samples

    def run(place: int) -> str:
        project, trace_id, span_id = samples[place % len(samples)]
        return f"/api/v1/projects/{quote(project)}/runs/{trace_id}-{span_id}"

    def trace(place: int) -> str:
        return f"/api/v1/traces/{samples[place % len(samples)][1]}"

    return [
        Asked("one run", 50, run, lambda body: b"question" in body),
        Asked("one trace", 80, trace, lambda body: b'"runs"' in body),
        Asked("one trace with payload", 80, lambda place: f"{trace(place)}?format=zip", bool),
        Asked(
            "trace of 50,000 runs, first page",
            200,
            lambda _: f"/api/v1/traces/{LONG_TRACE_ID.hex()}?limit={_FIRST_RUNS}",
            lambda body: b'"runs"' in body,
        ),
    ]


def _series(loaded: Loaded) -> list[Asked]:
    def stats(days: int, bucket: str, place: int, **asked: object) -> str:
        end_ns = loaded.end_ns - place * 60 * 10**9
        window = {"start": to_rfc3339(end_ns - days * DAY_NS), "end": to_rfc3339(end_ns)}
        told = {**window, "bucket": bucket, "group": "version", **asked}
        return f"{_project(0)}/stats?{urlencode(told)}"

    def is_stats(body: bytes) -> bool:
        return bool(orjson.loads(body)["groups"])

    training = {"run_id": "-".join(TRAINING), "points": 1_000}
    of_model = {"where": 'model == "answer"'}
    return [
        Asked(
            "by version, 24 h by hour",
            60,
            lambda place: stats(1, "1h", place, **of_model),
            is_stats,
        ),
        Asked(
            "by version, 30 days by day",
            60,
            lambda place: stats(30, "1d", place, **of_model),
            is_stats,
        ),
        Asked("all projects, 24 h by hour", 60, lambda _: "/api/v1/stats", is_stats),
        Asked(
            "series of 100,000 points to 1,000",
            60,
            lambda _: f"/api/v1/projects/{EXTRAS}/metrics?{urlencode(training)}",
            lambda body: len(orjson.loads(body)["series"][0]["points"]) > 900,
        ),
        Asked("projects", 60, lambda _: "/api/v1/projects", lambda body: b"project 0" in body),
        Asked(
            "models of a project", 60, lambda _: f"{_project(0)}/models", lambda b: b"answer" in b
        ),
        Asked(
            "versions of a model",
            60,
            lambda _: f"{_project(0)}/models/answer/versions",
            lambda body: b"versions" in body,
        ),
    ]


def _glances(loaded: Loaded) -> list[Asked]:
    """Make the queries of a project's pages that need only aggregates of its last day and week."""
    page = f"/projects/{quote(project_name(0))}"

    def ordered(order: str) -> Asked:
        def path(place: int) -> str:
            end_ns = loaded.end_ns - place * 60 * 10**9
            window = {"start": to_rfc3339(end_ns - DAY_NS), "end": to_rfc3339(end_ns)}
            return _runs({**window, "order": order, "limit": _PAGE})

        return Asked(f"{order.replace('_', ' ')} of 24 h", 500, path, _is_page)

    def check_short(title: str, path: str, word: bytes) -> Asked:
        return Asked(title, 300, lambda _: f"{page}{path}", lambda body: word in body)

    return [
        check_short("overview of 24 h, page", "", b"answer"),
        check_short("findings of 24 h, page", "/news", b"</"),
        check_short("overview of 7 days, page", "?last=7d", b"answer"),
        *map(ordered, ("slowest", "costliest", "most_tokens", f"lowest:{JUDGE}")),
        Asked(
            "cost by user of 24 h, page",
            500,
            lambda _: f"{page}/sums?last=24h&group=user",
            lambda body: b"user-" in body,
        ),
    ]


def _seek(collector: CollectorProcess) -> Sequence[str]:
    """Turn pages of 1,000 until 50,000 runs are behind, and a little further."""
    cursors: list[str] = []
    cursor: dict[str, str] = {}
    path = f"/projects/{quote(project_name(0))}/runs"
    for turned in range(_PAGE * _PAGES // 1_000 + 8):
        page = collector.get(path, **{"limit": 1_000, **cursor})
        if page["next_cursor"] is None:
            return cursors or [cursor.get("cursor", "")]
        cursor = {"cursor": page["next_cursor"]}
        if turned >= _PAGE * _PAGES // 1_000:
            cursors.append(page["next_cursor"])
    return cursors


def _project(number: int) -> str:
    return f"/api/v1/projects/{quote(project_name(number))}"


def _runs(parameters: Parameters) -> str:
    return f"{_project(0)}/runs?{urlencode(parameters)}"


def _page(body: bytes) -> Sequence[object]:
    runs: Sequence[object] = orjson.loads(body)["runs"]
    return runs


def _is_page(body: bytes) -> bool:
    return len(_page(body)) == _PAGE


def _is_some(body: bytes) -> bool:
    return bool(_page(body))


def _is_empty(body: bytes) -> bool:
    return not _page(body)
