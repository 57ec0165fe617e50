"""Tests of the home page with very many projects, and of the same list as JSON."""

import html
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from otel_ml_collector.span import Span
from tests.support.collector import running
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import SECOND_NS, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.otel_ml_collector.wire import encode
from tests.support.sampling import at_night, sampled

NAMES: Final = [f"Project {number:04}" for number in range(1_120)]
ROW: Final = re.compile(r'<td class="l1"[^>]*><a href="/projects/[^"/]+">([^<]+)</a></td>')


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with many projects, in the order of their last run, newest first."""
    now_ns = time.time_ns()
    calls = [
        make_call("m", {"otel_ml.project": name}, start_ns=now_ns - number * SECOND_NS)
        for number, name in enumerate(NAMES)
    ]
    folder: Path = tmp_path_factory.mktemp("home")
    with open_service(folder) as opened:
        send(opened, calls)
        yield opened


def send(service: Service, calls: list[Span]) -> None:
    headers = {"content-type": "application/x-protobuf"}
    sent = ask(service.app, "/v1/traces", method="POST", headers=headers, body=[encode(calls)])
    assert (sent.status, sent.body) == (200, b"")


def names_on(service: Service, address: str) -> list[str]:
    return ROW.findall(ask(service.app, address).text)


@at_night
def test_size(service: Service) -> None:
    """The page for a thousand projects is no larger than for a few hundred."""
    page = ask(service.app, "/")
    assert len(page.body) < 150_000
    assert ROW.findall(page.text) == NAMES[:50]
    assert "1 to 50 of 1,120 projects" in page.text
    assert "1,120 runs" in page.text


def test_empty(tmp_path: Path) -> None:
    """Before the first run the page shows the next step."""
    with running(tmp_path / "data") as collector:
        page = collector.get_text("/")
        assert (collector.status("/"), "No runs yet" in page) == (200, True)


@at_night
def test_walk(service: Service) -> None:
    """Following "Next" visits all projects in order, each once."""
    address, found = "/", list[str]()
    while True:
        text = ask(service.app, address).text
        found += ROW.findall(text)
        link = re.search(r'<a class="btn" href="([^"]+)"[^>]*>Next</a>', text)
        if link is None:
            break
        address = "/" + link[1].replace("&amp;", "&")
    assert found == NAMES


@sampled(1)
@pytest.mark.parametrize("find", ["project 01", "PROJECT 01", " ject 01"])
def test_find(service: Service, find: str) -> None:
    """Projects are found by a part of their name, on the page and in JSON."""
    wanted = [name for name in NAMES if "ject 01" in name]
    assert names_on(service, f"/?find={quote(find)}") == wanted[:50]
    assert names_on(service, f"/?find={quote(find)}&projects_from=50") == wanted[50:]
    answer = ask(service.app, f"/api/v1/projects?find={quote(find)}").json
    assert [one["project"] for one in answer["projects"]] == wanted


def test_nothing_found(service: Service) -> None:
    """If no name matches, the page repeats the escaped search text."""
    text = ask(service.app, "/?find=%3Cb%3Enothing").text
    assert "No project has “&lt;b&gt;nothing” in its name" in text
    assert ROW.findall(text) == []


def test_cursor(service: Service) -> None:
    """Following the JSON cursor returns all projects, each once."""
    found, pages, address = list[str](), 0, "/api/v1/projects?limit=500"
    while address:
        answer = ask(service.app, address).json
        found += [one["project"] for one in answer["projects"]]
        cursor, pages = answer["next_cursor"], pages + 1
        address = f"/api/v1/projects?limit=500&cursor={cursor}" if cursor else ""
    assert (found, pages) == (NAMES, 3)


@sampled(1)
@pytest.mark.parametrize("cursor", ["x", "WzEsMl0", "WyIyMDI2IiwgMV0", "WyJub3doZW4iLCJhIl0"])
def test_wrong_cursor(service: Service, cursor: str) -> None:
    """An invalid cursor is refused, and the error names the field."""
    answer = ask(service.app, f"/api/v1/projects?cursor={cursor}")
    assert (answer.status, answer.json["error"]["field"]) == (400, "cursor")


def test_switcher(service: Service) -> None:
    """The list in the top bar has the projects that ran last, and a link to all."""
    text = ask(service.app, "/switcher").text
    assert text.count("<a ") == 51
    assert "All projects <small>1,120</small>" in text


@at_night
def test_status(service: Service) -> None:
    """Home checks a few projects at a time and then shows how many problems there are."""
    failed = {"otel_ml.outcome": "error", "error.type": "Lost", "otel_ml.project": "Broken"}
    send(service, [make_call("m", failed, start_ns=time.time_ns())])
    page = ask(service.app, "/").text
    assert "Checking 50 projects …" in page
    assert page.count("<td") > page.count(' id="status-') == 50
    steps = [page]
    while following := re.search(r'<p [^>]*hx-get="(/status[^"]+)"', steps[-1]):
        steps.append(ask(service.app, html.unescape(following[1])).text)
    parts = "".join(steps[1:])
    places = re.findall(r'<hx-partial hx-target="#status-(\d+)"', parts)
    assert places == [str(place) for place in range(50)]
    assert (parts.count(">OK</td>"), parts.count(">1 problem</td>")) == (49, 1)
    assert "New error Lost (in m)</a>" in steps[1]
    assert "Checking projects: 4 of 50 are done …" in steps[1]
    last = re.sub(r"<[^>]+>", "", steps[-1])
    assert "Broken has 1 problem." in last
    assert "50 projects that have runs in the last 24 hours were checked." in last


def test_status_of_quiet_projects(service: Service) -> None:
    """Home shows that there are no problems, and how many projects it could not check."""
    quiet = ask(service.app, "/status?project=Project%200007&of=1").text
    assert "<b>No problems found.</b>" in quiet
    assert "1 project that has runs in the last 24 hours was checked." in quiet
    unchecked = ask(service.app, "/status?project=Project%200007&of=2&unchecked=1").text
    assert "<b>No problems found.</b>" in unchecked
    assert "1 could not be checked" in unchecked


@sampled(1)
@pytest.mark.parametrize("query", ["", "project=a", "project=a&of=51", "project=a&of=x"])
def test_wrong_status(service: Service, query: str) -> None:
    """A status request without projects, or with too many, is refused."""
    assert ask(service.app, f"/status?{query}").status == 400


def test_metrics_that_went_nowhere(service: Service) -> None:
    """Home shows how many data points of OTLP metrics were dropped, once there are any."""
    point = {"asInt": "1", "timeUnixNano": "1"}
    told = {"name": "turns", "gauge": {"dataPoints": [point, point]}}
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [told]}]}]}).encode()
    assert "left-points" not in ask(service.app, "/").text
    headers = {"content-type": "application/json"}
    sent = ask(service.app, "/v1/metrics", method="POST", headers=headers, body=[body])
    assert sent.status == 200
    home = ask(service.app, "/").text
    assert "2 data points of OTLP metrics were dropped" in home
