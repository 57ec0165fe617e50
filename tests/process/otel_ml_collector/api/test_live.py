"""Tests of live streams: every listener receives each run once."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest

from tests.support.collector import CollectorProcess, running
from tests.support.keys import ask, make_key, opened, run_keys, sign_in

NOW_NS = 1_795_158_000 * 10**9


class Heard:
    """Reads the events of a stream."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def line(self) -> str:
        """Return the next line without its end; empty at the end of the stream too."""
        return self._response.readline().decode().rstrip("\n")

    def event(self) -> tuple[str, dict[str, Any]]:
        """Return the id and the run of the next event; other lines are skipped."""
        told: dict[str, str] = {}
        while "data" not in told:
            raw = self._response.readline()
            assert raw, "the stream ended"
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            told[name] = value
        assert told["event"] == "run"
        return told["id"], json.loads(told["data"])

    def rest(self) -> bytes:
        """Return everything up to the end; raise if the stream breaks off."""
        return self._response.read()


@contextmanager
def listening(
    collector: CollectorProcess, project: str, last: str = "", **asked: str
) -> Iterator[Heard]:
    """Listen to a project; events of runs recorded from now on arrive."""
    connection = http.client.HTTPConnection(urlsplit(collector.endpoint).netloc, timeout=120)
    headers = {"last-event-id": last} if last else {}
    path = f"/api/v1/projects/{quote(project)}/live?{urlencode(asked)}"
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    try:
        assert response.status == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        heard = Heard(response)
        assert heard.line() == "retry: 1000"
        yield heard
    finally:
        response.close()
        connection.close()


def record(collector: CollectorProcess, project: str, *numbers: int, model: str = "answer") -> None:
    """Record runs; the same number always makes the same run."""
    spans = [
        {
            "traceId": f"{number + 1:032x}",
            "spanId": f"{number + 1:016x}",
            "name": model,
            "startTimeUnixNano": str(NOW_NS + number),
            "endTimeUnixNano": str(NOW_NS + number + 10**6),
            "attributes": [
                {"key": "otel_ml.project", "value": {"stringValue": project}},
                {"key": "otel_ml.model.name", "value": {"stringValue": model}},
                {"key": "otel_ml.tag.number", "value": {"intValue": str(number)}},
            ],
        }
        for number in numbers
    ]
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"scope": {}, "spans": spans}]}]})
    headers = {"content-type": "application/json"}
    status, _, answer = collector.post("/v1/traces", body.encode(), headers)
    assert (status, json.loads(answer)) == (200, {})


def numbers_of(heard: Heard, count: int) -> list[int]:
    return [heard.event()[1]["tags"]["number"] for _ in range(count)]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A project name that only this test uses."""
    name: str = request.node.name
    return name


def test_filter(collector: CollectorProcess, name: str) -> None:
    """Matching runs arrive as the list shows them, in the order they were stored; others do not."""
    record(collector, name, 0)
    with listening(collector, name, where='tags["number"] >= 2') as heard:
        record(collector, name, 1, 2)
        record(collector, name, 4)
        record(collector, name, 3)
        told = [heard.event()[1] for _ in range(3)]
    assert [run["tags"]["number"] for run in told] == [2, 4, 3]
    shown = {run["run_id"]: run for run in collector.runs(name)}
    assert told == [shown[run["run_id"]] for run in told]


def test_everyone(collector: CollectorProcess, name: str) -> None:
    """All listeners receive the same events, no matter when they connected."""
    with listening(collector, name) as first:
        record(collector, name, 1)
        assert numbers_of(first, 1) == [1]
        with listening(collector, name) as second:
            record(collector, name, 2, 3)
            assert numbers_of(second, 2) == numbers_of(first, 2) == [2, 3]


def test_again(collector: CollectorProcess, name: str) -> None:
    """A run that is delivered again causes no second event."""
    with listening(collector, name) as heard:
        record(collector, name, 1)
        assert numbers_of(heard, 1) == [1]
        record(collector, name, 1, 2)
        record(collector, name, 2, 1, 3)
        assert numbers_of(heard, 2) == [2, 3]


def test_shutdown(own_collector: CollectorProcess, name: str) -> None:
    """A stream ends in an orderly way when the collector shuts down."""
    with listening(own_collector, name) as heard:
        own_collector.ask_to_end()
        assert heard.rest().strip() in {b"", b": listening"}
        assert own_collector.wait_end() == 0


def test_revoked(tmp_path: Path) -> None:
    """The streams of a revoked key and of its sessions end within 3 s."""
    data_dir = tmp_path / "data"
    admin = run_keys("add", "--data-dir", str(data_dir), "--project", "*", "--scope", "admin")
    with running(data_dir) as collector:
        key = make_key(collector, admin.stdout.strip(), scopes="read")
        live = "/api/v1/projects/p/live"
        with (
            opened(collector, live, cookie=sign_in(collector, key)) as session,
            opened(collector, live, authorization=f"Bearer {key}") as keyed,
        ):
            revoked_s = time.monotonic()
            path = f"/api/v1/keys/{key.split('_')[1]}"
            assert ask(collector, path, admin.stdout.strip(), method="DELETE").status == 200
            assert session.read().endswith(b": listening\n\n")
            assert keyed.read().endswith(b": listening\n\n")
            assert time.monotonic() - revoked_s < 10


def test_first_key(tmp_path: Path) -> None:
    """A stream that needed no key ends when the first key is made."""
    live = "/api/v1/projects/p/live"
    with running(tmp_path / "data") as collector, opened(collector, live) as anonymous:
        make_key(collector, "", scopes="admin,read")
        assert anonymous.read().endswith(b": listening\n\n")
