"""Tests of how many SQL statements a page or API call runs: they take most of its time.

A number that grows means that a page got slower. Each path is requested again after a first
request, and the engine itself counts the statements.
"""

import time
from collections.abc import Iterator, Mapping
from urllib.parse import quote

import pytest

from otel_ml_collector.span import Value
from otel_ml_collector.store.sql import Sql
from tests.support.otel_ml_collector.api.world import PROJECT as SHOP
from tests.support.otel_ml_collector.api.world import QA, TRIED, calls, fill
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import id_of, make_call, make_span, span_id, trace_id
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import sampled

COUNT = Sql("SELECT sum(value) AS queries FROM system.events WHERE event = 'Query'")
PLAIN = "plain"
RUN_ID = f"{trace_id(9).hex()}-{span_id(9).hex()}"
FIRST = id_of(calls()[0])
SCORED: Mapping[str, Value] = {"otel_ml.score.grounded": 0.5, "otel_ml.model.version": "aa"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A project with every kind of record, and a plain one: scored calls in two traces."""
    with open_service(tmp_path_factory.mktemp("data")) as service:
        fill(service)
        root = make_call("answer", SCORED, trace_id=trace_id(9), span_id=span_id(9))
        below = [
            make_call("answer", SCORED, trace_id=trace_id(9), span_id=span_id(number))
            for number in range(10, 50)
        ]
        service.store.take(PLAIN, root, *below, make_call("answer", SCORED))
        ask(service.app, f"/api/v1/projects/{PLAIN}/runs")  # finds out what the project lacks
        yield service


def count(service: Service, path: str) -> int:
    """Request a path three times; return the statements of the second or third request.

    The smaller number is returned, because background jobs may run statements at the same time.
    """
    assert ask(service.app, path).status == 200, path
    counts = []
    for _ in range(2):
        (before,) = service.store.reader.rows(COUNT, {})
        assert ask(service.app, path).status == 200, path
        (after,) = service.store.reader.rows(COUNT, {})
        counts.append(int(after["queries"] - before["queries"]) - 1)
    return min(counts)


@sampled(7)
@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/projects/{}/runs", 5),  # one for each window with too few runs, up to all time
        ("/projects/{}/runs?where=outcome+%3D%3D+%22ok%22", 3),
        ("/projects/{}/runs?where=scores%5B%22grounded%22%5D+%3C+1", 3),
        ("/projects/{}/runs/{run}", 4),
        ("/traces/{trace}", 4),
        ("/traces/{trace}?format=zip", 8),  # as many for 41 runs as for one
        ("/projects/{}/stats?group=version", 3),  # one for scores of requests
        ("/projects/{}/stats", 2),
        ("/stats", 1),
        ("/projects", 2),
        ("/projects/{}/models", 2),
        ("/projects/{}/models/answer/versions", 6),
        ("/projects/{}/judges", 3),
        ("/projects/{}/metrics", 1),
    ],
)
def test_api(shop: Service, path: str, most: int) -> None:
    """An API call about a plain project runs no more statements than this."""
    assert count(shop, "/api/v1" + of_plain(path)) <= most


@sampled(6)
@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/", 5),  # one for the clock of the last retention pass
        ("/projects/{}/runs", 7),
        ("/projects/{}/chart", 2),
        ("/projects/{}/chart?roots=1", 3),
        ("/projects/{}/runs/{run}", 13),  # one for the usual durations of the models of long spans
        ("/projects/{}/models", 6),
        ("/projects/{}/models/answer", 7),
        (
            "/projects/{}",
            11,
        ),  # its runs are old: six look for other records, one chooses the groups
        ("/projects/{}/news", 6),
        ("/projects/{}/judges", 6),  # one for judges without code, two for curves
        ("/projects/{}/judges/grounded", 6),
        ("/projects/{}/metrics", 2),
    ],
)
def test_pages(shop: Service, path: str, most: int) -> None:
    """A page of a plain project runs no more statements than this."""
    assert count(shop, of_plain(path)) <= most


@sampled(3)
@pytest.mark.parametrize(
    ("path", "most"),
    [
        (f"/projects/{SHOP}/findings", 19),
        (f"/projects/{SHOP}/runs", 5),
        (f"/projects/{SHOP}/runs/{FIRST}", 10),
        (f"/traces/{FIRST[:32]}", 4),
        (f"/projects/{SHOP}/models/answer/versions", 15),  # experiments, besides all else
    ],
)
def test_everything(shop: Service, path: str, most: int) -> None:
    """An API call about a project with every kind of record runs no more statements than this."""
    assert count(shop, "/api/v1" + path) <= most


@sampled(3)
@pytest.mark.parametrize(
    ("path", "most"),
    [
        (f"/projects/{SHOP}", 19),
        (f"/projects/{SHOP}/news", 40),
        (f"/projects/{SHOP}/runs/{FIRST}", 26),
        (f"/api/v1/projects/{SHOP}/experiments/{TRIED['run_id']}", 14),
        (f"/projects/{SHOP}/experiments/{TRIED['run_id']}", 36),
        (f"/projects/{SHOP}/datasets/{QA['name']}", 31),
        (f"/projects/{SHOP}/metrics?run_id={FIRST}", 21),
    ],
)
def test_pages_of_everything(shop: Service, path: str, most: int) -> None:
    """A page about a project with every kind of record runs no more statements than this."""
    assert count(shop, path) <= most


def test_page_of_a_slice(shop: Service) -> None:
    """The table and the chart of a slice use the same statistics."""
    condition = quote('tags["client"] == "bigshot"')
    page = f"/projects/{SHOP}/monitor/slice?model=answer&where={condition}"
    assert count(shop, page) <= 6


def test_jaeger(shop: Service) -> None:
    """A Jaeger search runs as many statements for all traces as for one."""
    search = "/jaeger/api/traces?service=unknown_service&start=0"
    found = [ask(shop.app, f"{search}&limit={limit}").json["data"] for limit in (1, 100)]
    assert len(found[0]) == 1 < len(found[1])
    assert count(shop, f"{search}&limit=100") <= 14  # for two projects


def of_plain(path: str) -> str:
    """Fill the plain project, and its run with many children, into a path."""
    return path.replace("{}", PLAIN).format(run=RUN_ID, trace=RUN_ID[:32])


def test_home_of_projects_without_runs(shop: Service) -> None:
    """Home runs one statement for all projects without runs, however many there are."""
    before = count(shop, "/")
    for number in range(4):
        shop.store.take(f"spans {number}", make_span("step", trace_id=trace_id(90 + number)))
    assert count(shop, "/") <= before + 1


@sampled(1)
@pytest.mark.parametrize("more", ["", "&pairs=true"])
def test_slices_of_many_tags(shop: Service, more: str) -> None:
    """Slices by thirty tags run as many statements as slices by two: not one per tag."""
    now_ns = time.time_ns()
    asked = {}
    for tags in (2, 30):
        project = f"tags {tags}{more}"
        calls = [
            make_call(
                "answer",
                {f"otel_ml.tag.t{tag}": str(place >> tag % 3 & 1) for tag in range(tags)},
                start_ns=now_ns - 3_600 * 10**9 + place,
                status_code=2 if place % 2 and place % 7 else 0,
            )
            for place in range(128)
        ]
        shop.store.take(project, *calls, now_ns=now_ns)
        path = f"/api/v1/projects/{quote(project)}/slices?figure=errors{more}"
        slices = ask(shop.app, path).json["slices"]
        if not more:
            assert len({item["dimension"] for item in slices} - {"outcome"}) == tags
        asked[tags] = count(shop, path)
    assert 0 < asked[30] == asked[2] <= 8
