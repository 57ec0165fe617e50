"""Lists and sums work for every time range, over several days of data that is rolled up."""

import re
import time
from collections.abc import Sequence
from html import unescape
from itertools import cycle, product
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from otel_ml_collector.span import Span
from otel_ml_collector.times import DAY_NS, HOUR_NS, to_rfc3339
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    make_call,
    make_span,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

DAYS: Final = 4
A_DAY: Final = 3


def find_midnight_ns() -> int:
    """Return the time at which today began, in UTC."""
    return time.time_ns() // DAY_NS * DAY_NS


MIDNIGHT_NS: Final = find_midnight_ns()
YESTERDAY_NS: Final = MIDNIGHT_NS - DAY_NS
LASTS: Final = ("", "15m", "1h", "24h", "7d", "30d", "today", "yesterday")
RANGES: Final = (
    *({"last": last} for last in LASTS),
    {"start": to_rfc3339(MIDNIGHT_NS - 2 * DAY_NS), "end": to_rfc3339(MIDNIGHT_NS)},
    {"start": to_rfc3339(YESTERDAY_NS + HOUR_NS), "end": to_rfc3339(YESTERDAY_NS + 5 * HOUR_NS)},
    {"start": to_rfc3339(YESTERDAY_NS + 1), "end": to_rfc3339(YESTERDAY_NS + 2)},
    {"end": to_rfc3339(YESTERDAY_NS + 7 * HOUR_NS + 1)},
)
TOPS: Final[Sequence[dict[str, str]]] = (
    {},
    {"roots": "1"},
    {"traces": "1"},
    {"roots": "1", "traces": "1"},
)
WHERES: Final = (
    'kind == "agent"',
    'tags["client"] == "x"',
    'model == "turn" and outcome == "ok"',
)
# Filters that read tags, scores, payloads, ground truth, sessions and versions.
EVERY_FILTER: Final = (
    "",
    *WHERES,
    'scores["grounded"] > 0.5',
    '"a" in input or latency_ms >= 0',
    'truth["team"] == "billing" or cost >= 0',
    'session == "s1" and not tags["client"] == "y"',
    'version == 1 or finish_reason == "stop"',
)
GROUPS: Final = ("", "model", "provider_model", "user", "session", 'tags["client"]')


def make_inner(root: Span, number: int, place: int) -> Span:
    """Make a call inside an agent run."""
    return make_call(
        "ask",
        {
            "gen_ai.usage.cost": 0.25,
            "gen_ai.request.model": f"m{place}",
            "otel_ml.score.grounded": 1.0,
            "otel_ml.passed.grounded": True,
            "otel_ml.judges": '{"grounded": {"version": "00000000000000aa"}}',
        },
        trace_id=root.trace_id,
        span_id=span_id(number * 100 + place),
        parent_span_id=root.span_id,
        start_ns=root.start_ns + place * MS_NS,
    )


@pytest.fixture(scope="module")
def project(own_service: Service) -> str:
    """Return a project with three two-call agent runs per day, and rolled-up past days."""
    spans: list[Span] = []
    for day in range(DAYS + 1):
        for at in range(A_DAY):
            number = 1 + day * A_DAY + at
            start_ns = MIDNIGHT_NS - day * DAY_NS + at * 6 * HOUR_NS
            if start_ns > time.time_ns():
                continue
            ids: dict[str, Any] = {"trace_id": trace_id(number), "start_ns": start_ns}
            told = {"otel_ml.kind": "agent", "otel_ml.tag.client": "x", "session.id": f"s{day}"}
            root = make_span("turn", told, span_id=span_id(number), **ids)
            spans += [root, *(make_inner(root, number, place) for place in (1, 2))]
    own_service.store.take("ranges", *spans, now_ns=time.time_ns())
    own_service.store.compute("ranges", [MIDNIGHT_NS - day * DAY_NS for day in range(1, DAYS + 1)])
    return "ranges"


def read(service: Service, path: str, **asked: str) -> Any:
    address = f"{path}?{urlencode(asked)}" if asked else path
    answered = ask(service.app, address)
    assert answered.status == 200, (address, answered.text)
    return answered


def check_sums(service: Service, asked: dict[str, str], groups: Sequence[str]) -> None:
    """Assert that the sums of a list count exactly its runs, or the runs inside them."""
    listed = read(service, "/api/v1/projects/ranges/runs", **asked).json["runs"]
    inside = len(TOPS[1].keys() & asked) or len(TOPS[2].keys() & asked)
    for group in groups:
        sums = read(service, "/api/v1/projects/ranges/sums", **asked, group=group).json
        assert sums["total"]["runs"] == len(listed) * (3 if inside else 1), (asked, group)


@sampled(1)
@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("tops", TOPS, ids=lambda tops: "-".join(tops) or "calls")
def test_sums(own_service: Service, tops: dict[str, str]) -> None:
    """The sums of every time range match its list of runs."""
    for asked in RANGES:
        check_sums(own_service, {**asked, **tops}, ("", "model"))


@at_night
@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("where", WHERES)
def test_filtered_sums(own_service: Service, where: str) -> None:
    """The sums of a rolled-up day match its list of runs for any filter and group."""
    for tops in TOPS[:2]:
        asked = {"last": "yesterday", "where": where, **tops}
        check_sums(own_service, asked, ("", "user", 'tags["client"]'))


@at_night
@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("asked", RANGES, ids=lambda asked: quote(str(asked)))
def test_pages(own_service: Service, asked: dict[str, str]) -> None:
    """Every tab opens without an error for every time range, and shows sums if it has rows."""
    for tops in TOPS[:3]:
        rows = read(own_service, "/projects/ranges/runs", **asked, **tops).text.count("data-run=")
        for page in ("chart", "sums", "error-groups", "switch"):
            part = read(own_service, f"/projects/ranges/{page}", **asked, **tops).text
            assert "not available" not in part
            if rows and page == "sums":
                assert re.search(r"p95( per call)? [\d.]", part), (asked, tops, part)
            if rows and page == "chart":
                assert re.search(r"<b>\d+ (request|trace|call)s?</b>", part), (asked, tops, part)


@at_night
@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("where", EVERY_FILTER, ids=quote)
def test_sums_of_every_filter(own_service: Service, where: str) -> None:
    """Sums are available for every tab, filter, group and time range."""
    for (tops, asked), group in zip(product(TOPS[:3], RANGES), cycle(GROUPS), strict=False):
        given = {**asked, **tops, "where": where, "group": group}
        part = read(own_service, "/projects/ranges/sums", **given).text
        assert "not available" not in part


@pytest.mark.usefixtures("project")
def test_switch(own_service: Service) -> None:
    """The switch counts the rows of each tab, and hides traces if they equal the requests."""
    part = read(own_service, "/projects/ranges/switch", last="yesterday", roots="1").text
    assert re.findall(r">(\w[\w ]*?)(?: <small>([\d,]+)</small>)?</a>", part) == [
        ("Requests", "3"),
        ("All calls", "9"),
        ("Sessions", ""),
    ]


@at_night
def test_switch_with_traces(own_service: Service) -> None:
    """The switch shows the traces tab if a plain span is the root of a trace."""
    top = make_span("GET /", trace_id=trace_id(1), span_id=span_id(1), start_ns=YESTERDAY_NS)
    call = make_call(
        "ask",
        trace_id=top.trace_id,
        span_id=span_id(2),
        parent_span_id=top.span_id,
        start_ns=YESTERDAY_NS + 1,
    )
    own_service.store.take("tops", top, call, now_ns=time.time_ns())
    part = read(own_service, "/projects/tops/switch").text
    assert re.findall(r">(\w[\w ]*?) <small>(\d+)</small></a>", part) == [
        ("Requests", "1"),
        ("Traces", "1"),
        ("All calls", "1"),
    ]


@at_night
def test_switch_without_matching_traces(own_service: Service) -> None:
    """The switch hides the traces tab if the filter matches inner calls but no root span."""
    top = make_span("POST /ask", trace_id=trace_id(1), span_id=span_id(1), start_ns=YESTERDAY_NS)
    call = make_call(
        "ask",
        trace_id=top.trace_id,
        span_id=span_id(2),
        parent_span_id=top.span_id,
        start_ns=YESTERDAY_NS + 1,
    )
    own_service.store.take("below", top, call, now_ns=time.time_ns())
    where = 'model == "ask"'
    part = read(own_service, "/projects/below/switch", where=where, roots="1").text
    assert re.findall(r">(\w[\w ]*?) <small>(\d+)</small></a>", part) == [
        ("Requests", "1"),
        ("All calls", "1"),
    ]
    listed = read(own_service, "/projects/below/runs", where=where, traces="1").text
    assert "No top span of a trace matches" in listed
    assert ">Search all calls</a>" in listed


@pytest.mark.usefixtures("project")
def test_link_has_absolute_times(own_service: Service) -> None:
    """The link to copy still shows the same runs tomorrow: relative times become absolute."""
    midnight_ns = 0
    while midnight_ns != find_midnight_ns():  # again if midnight passes during the request
        midnight_ns = find_midnight_ns()
        page = read(own_service, "/projects/ranges/runs", last="yesterday", roots="1").text
    [link] = re.findall(r'data-link="([^"]*)"', page)
    given = parse_qs(urlsplit(unescape(link)).query)
    midnight, yesterday = to_rfc3339(midnight_ns), to_rfc3339(midnight_ns - DAY_NS)
    assert given == {"roots": ["1"], "start": [yesterday], "end": [midnight]}
    shared = read(own_service, unescape(link)).text
    assert re.findall(r'data-run="([^"]*)"', shared) == re.findall(r'data-run="([^"]*)"', page)
