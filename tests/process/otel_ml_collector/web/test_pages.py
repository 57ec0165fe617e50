"""Tests of the pages: each one loads, whatever the records contain."""

import html
import json
import math
import re
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Event, Span, Value
from otel_ml_collector.times import from_rfc3339
from otel_ml_collector.web.render import PARTS
from tests.support.examples import examples
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_sign,
    make_span,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, harder, sampled

OPEN_ID = span_id(4)
HOSTILE = '<script>alert("1")</script>\' & {{ 7*7 }} 日本'


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """A service with its own store, because the home page shows all projects of a store."""
    return own_service


class Links(HTMLParser):
    """Collects the links of a page, and its inline scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script"
        for name, value in attrs:
            if name in {"href", "hx-get", "src"} and value:
                self.addresses.append(value)
            if name.startswith("on") or name == "style":
                self.inline.append(f"{name}={value}")

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)


def get(service: Service, address: str) -> Answered:
    answered = ask(service.app, address)
    assert answered.headers["content-type"] == "text/html; charset=utf-8"
    return answered


def links_of(page: str) -> Links:
    links = Links()
    links.feed(page)
    return links


def make_story(name: str) -> list[Span]:
    """Make a trace in which every text is `name`, of a model with two versions."""
    attributes: dict[str, Value] = {
        "otel_ml.model.version": "aa",
        "otel_ml.model.definition": f'{{"source": "def f(): ...\\n{name[:3]}", "signature": "()"}}',
        "otel_ml.inputs": name,
        "otel_ml.outputs": {name: [name, None, 1.5]},
        "otel_ml.params": {name: name},
        f"otel_ml.tag.{name}": name,
        f"otel_ml.score.{name}": 0.5,
        "session.id": name,
        name: name,
    }
    call = make_call(
        name,
        attributes,
        status_code=2,
        status_message=name,
        events=[
            Event("otel_ml.log", NOW_NS, {"otel_ml.log.message": name}),
            Event("exception", NOW_NS, {"exception.type": name, "exception.stacktrace": name}),
        ],
    )
    newer = make_call(
        name,
        {
            **attributes,
            "otel_ml.model.version": "bb",
            "otel_ml.model.definition": '{"source": "x"}',
        },
        trace_id=call.trace_id,
        parent_span_id=call.span_id,
        start_ns=NOW_NS + 1,
    )
    update = make_record(
        "update",
        call,
        {
            "otel_ml.target.start_ns": NOW_NS,
            "otel_ml.metric.names": [name] * 3,
            "otel_ml.metric.values": [0.5, math.nan, 0.25],
        },
    )
    open_run = make_call(
        name, trace_id=call.trace_id, parent_span_id=call.span_id, start_ns=NOW_NS + 2
    )
    told: dict[str, Value] = {
        "otel_ml.inputs.preview": name,
        "otel_ml.params": {name: name},
        f"otel_ml.tag.{name}": name,
        name: name,
    }
    starts = [
        make_start(replace(open_run, span_id=span_id(1)), told, span_id=span_id(2)),
        make_start(
            replace(open_run, span_id=OPEN_ID),
            {**told, "otel_ml.process": "00000002"},
            span_id=span_id(3),
        ),
        make_sign("goodbye", NOW_NS + 3, "00000002"),
    ]
    return [call, newer, update, make_span(name, trace_id=call.trace_id), *starts]


def addresses_of(service: Service, project: str, name: str) -> list[str]:
    """Store a story; return the addresses of all its pages."""
    story = make_story(name)
    service.store.take(project, *story)
    base = f"/projects/{quote(project, safe='')}"
    run_id = id_of(story[0])
    return [
        "/",
        f"{base}/runs",
        f"{base}/runs?where={quote('latency_ms >= 0')}&last=30d&order=oldest",
        f"{base}/more-runs",
        f"{base}/runs/{run_id}",
        f"{base}/runs/{run_id[:32]}-{span_id(1).hex()}",
        f"{base}/runs/{run_id[:32]}-{OPEN_ID.hex()}",
        f"{base}/models",
        f"{base}/models/{quote(name, safe='')}",
        f"{base}/models/{quote(name, safe='')}?from=1&to=2",
        f"{base}/metrics",
        f"{base}/metrics?run_id={run_id}",
    ]


@at_night
@pytest.mark.parametrize("name", ["a/b", "50%?#", " "], ids=ascii)
def test_all_pages(service: Service, name: str) -> None:
    """Every page of a project loads, whatever its names and texts are."""
    for address in addresses_of(service, f"pages of {name}", name):
        assert get(service, address).status == 200, address


def test_escaped(service: Service) -> None:
    """No text of a record becomes markup or script on any page, and every page loads."""
    for address in addresses_of(service, HOSTILE, HOSTILE):
        answered = get(service, address)
        assert answered.status == 200, address
        page = answered.text
        assert "<script>alert" not in page
        assert links_of(page).inline == []


def choose_links(links: Iterable[str], each: int) -> list[str]:
    """Choose some links from each group with the same path and the same parameter names.

    Args:
        links: All links.
        each: The number of links from each group.
    """
    kinds: dict[tuple[str, frozenset[str]], list[str]] = defaultdict(list)
    for link in sorted(links):
        parts = urlsplit(link)
        kinds[parts.path, frozenset(parse_qs(parts.query, keep_blank_values=True))].append(link)
    return [link for same in kinds.values() for link in same[:each]]


@at_night
@harder
def test_links(service: Service) -> None:
    """Every link on every page works, even with unusual names."""
    project = "a/b? 50% #1"
    pages = addresses_of(service, project, "m/n? 50% #1")
    found = {link for page in pages for link in links_of(get(service, page).text).addresses}
    ours = {link for link in found if link.startswith("/projects") and project in unquote(link)}
    assert len(ours) > 10
    for link in choose_links(ours, examples(1_000, on_commit=1)):
        assert ask(service.app, link.partition("#")[0]).status in {200, 307}, link


def test_assets(service: Service) -> None:
    """All assets of a page are served by the collector."""
    links = links_of(get(service, "/").text)
    assets = [link for link in links.addresses if link.startswith("/static")]
    assert len(assets) >= 3
    assert {ask(service.app, asset).status for asset in assets} == {200}
    assert [link for link in links.addresses if urlsplit(link).netloc] == []


def test_narrowed(service: Service, project: str) -> None:
    """A link that narrows a list applies to all alternatives of an `or` filter."""
    calls = [
        make_call(model, start_ns=NOW_NS - place) for place, model in enumerate(["a", "b", "c"])
    ]
    service.store.take(project, *calls)
    where = quote("latency_ms >= 0 or version == 9")
    page = get(service, f"/projects/{project}/runs?where={where}").text
    (link,) = re.findall(r'href="([^"]*)" aria-label="Only function a"', page)
    narrowed = get(service, html.unescape(link)).text
    assert re.findall(r'aria-label="Only function (\w)"', narrowed) == ["a"]


def test_more_rows(service: Service, project: str) -> None:
    """The last row of a list loads the rows after it."""
    calls = [make_call(f"m{age}", start_ns=NOW_NS - age * SECOND_NS) for age in range(5)]
    service.store.take(project, *calls)
    rows = get(service, f"/projects/{project}/runs?limit=2").text
    names = re.findall(r'aria-label="Only function (\w+)"', rows)
    (more,) = re.findall(r'class="more" hx-get="([^"]*)"', rows)
    rows = get(service, html.unescape(more)).text
    assert names + re.findall(r'aria-label="Only function (\w+)"', rows) == [
        "m0",
        "m1",
        "m2",
        "m3",
        "m4",
    ]


def test_bad_filter(service: Service, project: str) -> None:
    """A list with a wrong filter returns 400 and shows the error."""
    service.store.take(project, make_call())
    answered = get(service, f"/projects/{project}/runs?where={quote('colour == 1')}")
    assert answered.status == 400
    assert "Unknown field &#39;colour&#39;" in answered.text


@sampled(1)
@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        (f"/projects/p/runs/{'a' * 32}-{'b' * 16}", 404, "There is no run"),
        ("/projects/p/runs/nonsense", 400, "Invalid run ID"),
        ("/projects/p/models/unknown", 404, "has no model"),
        ("/projects/p/runs?limit=0", 400, "Input should be greater than or equal to 1"),
        ("/projects/p/runs?cursor=nonsense", 400, "Invalid cursor"),
        ("/projects/p/runs?start=yesterday", 400, "Invalid time"),
        ("/projects/p/runs?last=century", 400, "Invalid last"),
    ],
)
def test_error_page(service: Service, path: str, status: int, text: str) -> None:
    """An error page shows the error."""
    answered = get(service, path)
    assert answered.status == status
    assert text in answered.text


def test_project_without_runs(service: Service) -> None:
    """The pages of a project without runs load."""
    for page in ("runs", "models", "metrics"):
        assert get(service, f"/projects/nobody/{page}").status == 200


def take_now(service: Service, project: str, *spans: Span) -> None:
    """Store spans with the current time, because pages distinguish running from crashed by it."""
    records = map_spans(spans, Filing(project, time.time_ns()))
    assert not records.rejected
    service.store.writer.write(records)


def begin(service: Service, project: str, *, goodbye: bool, age_s: int = 90) -> Span:
    """Store the start of a run, and optionally the end of its process; return the run."""
    now_ns = time.time_ns()
    run = make_call("train", start_ns=now_ns - age_s * SECOND_NS)
    child = make_call(
        "step",
        trace_id=run.trace_id,
        parent_span_id=run.span_id,
        start_ns=run.start_ns + SECOND_NS,
    )
    start = make_start(run, {"otel_ml.inputs.preview": '{"data": "digits"}'})
    signs = [make_sign("goodbye", now_ns)] if goodbye else []
    take_now(service, project, start, child, *signs)
    return run


@at_night
def test_running(service: Service, project: str) -> None:
    """An unfinished run is listed with its state, its inputs and its time so far."""
    run = begin(service, project, goodbye=False)
    page = get(service, f"/projects/{project}/runs").text
    assert '<span class="run">running</span>' in page
    assert f'href="/projects/{project}/runs/{id_of(run)}">digits</a>' in page
    (elapsed,) = re.findall(r'<span class="mute">([\d,]+)</span>', page)
    assert 90_000 <= int(elapsed.replace(",", "")) < 150_000


@at_night
def test_page_of_a_running_run(service: Service, project: str) -> None:
    """The page of a running run shows its time so far, and that there is no output yet."""
    run = begin(service, project, goodbye=False)
    page = get(service, f"/projects/{project}/runs/{id_of(run)}").text
    assert re.search(r"<dt>Running for</dt> <dd>[12] min</dd>", page)
    assert "<dt>Latency</dt>" not in page
    assert "not yet" in page
    assert "2 spans, no errors. 1 span is unfinished." in page
    assert "has not arrived" not in page
    assert page.count('class="open"') == 1


@at_night
def test_page_of_a_crashed_run(service: Service, project: str) -> None:
    """The page of a crashed run shows since when its process has been silent."""
    before = time.time_ns()
    run = begin(service, project, goodbye=True)
    page = get(service, f"/projects/{project}/runs/{id_of(run)}").text
    assert '<span class="crash">crashed</span>' in page
    (since,) = re.findall(
        r'<dt>Crashed:</dt> <dd>its process has been silent since <time datetime="([^"]*)">', page
    )
    assert before <= from_rfc3339(since, "since") <= time.time_ns()
    assert "not yet" not in page
    assert "no output, because the run did not finish" in page
    assert '<span class="crash">crashed</span>' in get(service, f"/projects/{project}/runs").text


def test_no_such_address(service: Service) -> None:
    """For an unknown address a browser gets a page, and a program the API's error."""
    accept = {"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
    page = ask(service.app, "/nothing", headers=accept)
    assert (page.status, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "Unknown address" in page.text
    for target, headers in (("/nothing", {}), ("/api/v1/nothing", accept)):
        answered = ask(service.app, target, headers=headers)
        assert (answered.status, answered.json["error"]["code"]) == (404, "not_found")


def test_only_open_runs(service: Service, project: str) -> None:
    """A project with only an unfinished run is not empty, even if a filter excludes the run."""
    take_now(service, project, make_start(make_call("train", start_ns=time.time_ns())))
    where = quote('model == "other"')
    page = get(service, f"/projects/{project}/runs?where={where}").text
    assert "No run matches" in page
    assert f">{project}</a>" in get(service, "/").text


@at_night
def test_metrics_page_of_an_open_run(service: Service, project: str) -> None:
    """The metrics page of an unfinished run shows its model and its state."""
    run = begin(service, project, goodbye=False)
    update = make_record(
        "update",
        run,
        {"otel_ml.metric.names": ["loss"], "otel_ml.metric.values": [0.5]},
        start_ns=time.time_ns(),
    )
    take_now(service, project, update)
    page = get(service, f"/projects/{project}/metrics").text
    assert f'href="/projects/{project}/runs/{id_of(run)}">train</a>' in page
    assert '<span class="run">running</span>' in page


@at_night
def test_metrics_alone(service: Service, project: str) -> None:
    """Metrics are shown even if nothing else of their run has arrived."""
    update = make_record(
        "update",
        make_call(),
        {"otel_ml.metric.names": ["loss"], "otel_ml.metric.values": [0.5]},
    )
    service.store.take(project, update)
    answered = get(service, f"/projects/{project}/metrics")
    assert answered.status == 200
    assert "loss" in answered.text


@at_night
def test_metrics_without_numbers(service: Service, project: str) -> None:
    """Points that are not numbers are left out of a curve."""
    call = make_call()
    update = make_record(
        "update",
        call,
        {"otel_ml.metric.names": ["loss"] * 2, "otel_ml.metric.values": [math.nan, math.inf]},
    )
    service.store.take(project, call, update)
    page = get(service, f"/projects/{project}/runs/{id_of(call)}").text
    assert [points for points in re.findall(r'points="([^"]*)"', page) if "nan" in points] == []


@at_night
def test_huge_trace(service: Service, project: str) -> None:
    """The page of a trace with 601 spans shows 100 of them and loads the others in place."""
    root = make_call("root", trace_id=trace_id(77), span_id=span_id(1))
    spans = [
        make_span(f"s{n}", trace_id=trace_id(77), parent_span_id=root.span_id) for n in range(600)
    ]
    service.store.take(project, root, *spans)
    page = get(service, f"/projects/{project}/runs/{id_of(root)}").text
    assert "601 spans, no errors." in page
    seen = page.count('class="l2 host"')
    while more := re.findall('<button[^>]* data-load="([^"]*/rows[^"]*)"', page):
        page = get(service, unescape(more[0])).text
        seen += page.count('class="l2 host"')
    assert seen == 600


@at_night
def test_deep_payload(service: Service, project: str) -> None:
    """The page of a deeply nested payload loads."""
    deep = "[" * 200 + "]" * 200
    call = make_call(
        attributes={"otel_ml.inputs": deep, "otel_ml.outputs": '{"a":' * 99 + "1" + "}" * 99}
    )
    service.store.take(project, call)
    assert get(service, f"/projects/{project}/runs/{id_of(call)}").status == 200


def test_project_opens_on_its_overview(service: Service) -> None:
    """The address of a project is its overview; the project's name and Home link to it."""
    service.store.take("a/b", make_call())
    answered = get(service, "/projects/a%2Fb")
    assert answered.status == 200
    assert '<a href="/projects/a%2Fb" data-go="home" aria-current="page">Home</a>' in answered.text
    assert '<a href="/projects/a%2Fb">a/b</a>' in answered.text
    below = get(service, "/projects/a%2Fb/runs").text
    assert '<a href="/projects/a%2Fb" data-go="home">Home</a>' in below


def test_what_a_version_does_not_see_is_said(service: Service) -> None:
    """The page of a model lists the untracked objects of its version, if there are any."""
    told = {"source": "def f(): ...", "unseen": ["attributes of `client`", "`<b>`, too"]}
    for name, definition in (("partly", json.dumps(told)), ("wholly", '{"source": "x"}')):
        attributes: dict[str, Value] = {
            "otel_ml.model.version": "aa",
            "otel_ml.model.definition": definition,
        }
        service.store.take("unseen", make_call(name, attributes))
    page = ask(service.app, "/projects/unseen/models/partly").text
    assert "creates no new version: attributes of `client`; `&lt;b&gt;`, too." in page
    assert "creates no new version" not in ask(service.app, "/projects/unseen/models/wholly").text


@sampled(1)
@pytest.mark.parametrize("part", PARTS)
def test_switch_of_projects(service: Service, part: str) -> None:
    """On each page of a project, the project list links to the same page of other projects."""
    for name in ("switched from", "switched to"):
        service.store.take(name, make_call())
    page = get(service, f"/projects/{quote('switched from')}/{part}").text
    (address,) = re.findall(r'hx-get="(/switcher[^"]*)"', page)
    answered = get(service, address)
    assert answered.status == 200
    assert f'href="/projects/{quote("switched to")}/{part}"' in answered.text


@at_night
def test_no_switch_to_an_unknown_part(service: Service) -> None:
    """An unknown part of a project is refused."""
    assert get(service, "/switcher?part=keys").status == 400


def test_sign_in_without_keys(service: Service) -> None:
    """A collector without keys shows that it has none, and has no sign-in form."""
    answered = get(service, "/sign-in?next=/projects/ours/runs")
    assert answered.status == 200
    assert "This collector has no keys" in answered.text
    assert "Sign in with your key" not in answered.text
    assert '<a href="/projects/ours/runs">' in answered.text
    assert 'id="key"' not in answered.text
