"""Keys as used by exporters, the SDK, the command line and browsers."""

import html
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_ml import Client
from tests.support.collector import CollectorProcess
from tests.support.keys import (
    PROTOBUF,
    UNAUTHENTICATED,
    WRONG,
    ask,
    call_now,
    make_key,
    names_of,
    run_keys,
    send_http,
)
from tests.support.otel_ml_collector.wire import encode
from tests.support.program import otel_ml
from tests.support.sampling import at_night


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Return a project name unique to the test."""
    name: str = request.node.name
    return name


def exporters(collector: CollectorProcess, key: str) -> Sequence[SpanExporter]:
    headers = {"authorization": f"Bearer {key}"}
    return (
        GrpcExporter(collector.grpc, insecure=True, headers=headers),
        HttpExporter(f"{collector.endpoint}/v1/traces", headers=headers),
        HttpExporter(f"{collector.endpoint}/v1/traces", headers={"x-api-key": key}),
    )


def export(exporter: SpanExporter, number: int) -> SpanExportResult:
    """Send model calls in one request."""
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    tracer = provider.get_tracer("tests")
    spans = []
    for place in range(number):
        span: Any = tracer.start_span("call", attributes={"otel_ml.model.name": f"call {place}"})
        span.end()
        spans.append(span)
    provider.shutdown()
    return exporter.export(spans)


@at_night
@pytest.mark.parametrize("number", [0, 1], ids=["grpc", "http"])
def test_quota_of_spans(admin: str, closed: CollectorProcess, project: str, number: int) -> None:
    """An exporter over its key's quota retries after the delay and loses nothing."""
    key = make_key(closed, admin, project, spans_per_second=50)
    exporter = exporters(closed, key)[number]
    began_s = time.monotonic()
    results = [export(exporter, 60) for _ in range(3)]  # two seconds' worth, then over quota
    took_s = time.monotonic() - began_s
    exporter.shutdown()
    assert results == [SpanExportResult.SUCCESS] * 3
    assert took_s >= 0.4, "the third request was not held up"
    assert len(names_of(closed, admin, project)) == 180


def test_client(admin: str, closed: CollectorProcess, project: str) -> None:
    """The SDK sends runs and large values with its key, and the key can read them."""
    key = make_key(closed, admin, project)
    client = Client(project, endpoint=closed.endpoint, api_key=key)
    with client.run("training") as run:
        run.log("weights", np.arange(300_000, dtype=np.float64))
    assert client.trace(abs)(-3) == 3
    delivery = client.flush()
    client.close()
    assert (delivery.pending, delivery.lost) == (0, {})
    assert names_of(closed, key, project) == ["abs", "training"]
    found = ask(closed, f"/api/v1/projects/{project}/objects?ref=weights", key).json["objects"]
    assert [one["trace_id"] for one in found] == [run.trace_id]
    assert ask(closed, found[0]["url"], key).headers["content-length"] == str(found[0]["bytes"])


@at_night
def test_client_with_a_wrong_key(admin: str, closed: CollectorProcess, project: str) -> None:
    """A client with an invalid key still runs the calls, and counts the lost spans."""
    client = Client(project, endpoint=closed.endpoint, api_key=WRONG)
    assert client.trace(abs)(-3) == 3
    delivery = client.flush()
    client.close()
    assert (delivery.pending, sum(delivery.lost.values())) == (0, 1)
    assert names_of(closed, admin, project) == []


@at_night
def test_code_of_a_page(admin: str, closed: CollectorProcess, project: str) -> None:
    """The code that a page shows for an artifact reads it with the reader's key."""
    key = make_key(closed, admin, project)
    client = Client(project, endpoint=closed.endpoint, api_key=key)
    with client.run("training") as run:
        run.log("weights", np.arange(4))
    assert client.flush()
    client.close()
    form = urlencode({"key": key}).encode()
    kind = "application/x-www-form-urlencoded"
    answered = ask(closed, "/sign-in", method="POST", body=form, content_type=kind)
    cookie = answered.headers["set-cookie"].partition(";")[0]
    listed = ask(closed, f"/api/v1/projects/{project}/runs", key).json["runs"]
    path = f"/projects/{project}/runs/{listed[0]['run_id']}"
    page = html.unescape(ask(closed, path, cookie=cookie).body.decode())
    [code] = re.findall(r"import os\n.*?\.data\n", page, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(value.tolist())"],
        env={**os.environ, "OTEL_ML_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    assert done.stdout == "[0, 1, 2, 3]\n"


def test_browser(admin: str, closed: CollectorProcess, project: str) -> None:
    """A browser is redirected to sign in with a key, returns, and sees only the key's project."""
    key = make_key(closed, admin, project)
    send_http(closed, key, encode([call_now("mine")]))
    send_http(closed, admin, encode([call_now("secret-model")]), f"{project} theirs")
    page = f"/projects/{project}/runs"
    sent_away = ask(closed, page)
    assert (sent_away.status, sent_away.headers["location"]) == (
        303,
        f"/sign-in?next={quote(page, safe='')}",
    )
    signed_in = ask(
        closed,
        "/sign-in",
        method="POST",
        body=urlencode({"key": key, "next": page}).encode(),
        content_type="application/x-www-form-urlencoded",
        origin=closed.endpoint,
    )
    assert (signed_in.status, signed_in.headers["location"]) == (303, page)
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    shown = ask(closed, page, cookie=cookie)
    assert (shown.status, b"mine" in shown.body) == (200, True)
    home = ask(closed, "/", cookie=cookie).body.decode()
    assert (project in home, f"{project} theirs" in home) == (True, False)
    theirs = ask(closed, f"/projects/{quote(project + ' theirs')}/runs", cookie=cookie)
    assert (theirs.status, b"secret-model" in theirs.body) == (404, False)
    assert ask(closed, "/api/v1/keys", cookie=cookie).status == 403
    assert send_http(closed, "", encode([call_now("by cookie")]))[0] == UNAUTHENTICATED
    with_cookie = ask(
        closed, "/v1/traces", method="POST", body=b"", content_type=PROTOBUF, cookie=cookie
    )
    assert with_cookie.status == 403


@at_night
def test_restart(admin: str, closed: CollectorProcess, data_dir: Path, project: str) -> None:
    """Keys and sessions survive a restart; no file of the data directory contains a key."""
    key = make_key(closed, admin, project)
    form = urlencode({"key": key}).encode()
    kind = "application/x-www-form-urlencoded"
    answered = ask(closed, "/sign-in", method="POST", body=form, content_type=kind)
    cookie = answered.headers["set-cookie"].partition(";")[0]
    closed.restart()
    assert send_http(closed, key, encode([call_now("again")]))[0] == 0
    assert ask(closed, f"/projects/{project}/runs", cookie=cookie).status == 200
    assert ask(closed, f"/projects/{project}/runs").status == 303
    texts = [key, admin, key.rpartition("_")[2], admin.rpartition("_")[2]]
    files = [path.read_bytes() for path in data_dir.rglob("*") if path.is_file()]
    assert any(key.split("_")[1].encode() in content for content in files)
    assert not [text for text in texts for content in files if text.encode() in content]
    assert not [text for text in texts if text in closed.output]


@at_night
def test_program(admin: str, closed: CollectorProcess, data_dir: Path, project: str) -> None:
    """The command manages keys of a running collector with an admin key; a key is shown once."""
    where = ("--data-dir", str(data_dir), "--http", urlsplit(closed.endpoint).netloc)
    asked = ("add", *where, "--project", f"{project},b", "--scope", "ingest", "--name", "nightly")
    refused = run_keys(*asked)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "a key is needed, or this one is not valid: set OTEL_ML_API_KEY" in refused.stderr
    made = run_keys(*asked, "--spans-per-second", "7", key=admin)
    [text] = made.stdout.splitlines()
    assert (made.returncode, send_http(closed, text, encode([call_now("mine")]))[0]) == (0, 0)
    assert names_of(closed, admin, project) == ["mine"]
    listed = run_keys("list", *where, key=admin)
    key_id = text.split("_")[1]
    [line] = [line for line in listed.stdout.splitlines() if line.startswith(key_id)]
    assert line.split()[1:6] == ["nightly", "ingest", f"{project},b", "7", "0"]
    assert text.rpartition("_")[2] not in listed.stdout
    assert "hash" not in listed.stdout
    own = otel_ml("projects", *where[2:], OTEL_ML_API_KEY=make_key(closed, admin, project))
    assert [line.split()[:2] for line in own.stdout.splitlines()] == [
        ["project", "runs"],
        [project, "1"],
    ]
    revoked = run_keys("revoke", key_id, *where, key=admin)
    said = f"{key_id} is revoked in the collector at {closed.endpoint}\n"
    assert (revoked.returncode, revoked.stdout) == (0, said)
    assert send_http(closed, text, encode([call_now("mine")]))[0] == UNAUTHENTICATED


@at_night
def test_first_key(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """Creating the first key on loopback needs no key; afterwards the collector requires keys."""
    where = (
        "--data-dir",
        str(tmp_path / "data"),
        "--http",
        urlsplit(own_collector.endpoint).netloc,
    )
    assert send_http(own_collector, "", encode([call_now("open")]))[0] == 0
    made = run_keys("add", *where, "--project", "p", "--scope", "ingest")
    [text] = made.stdout.splitlines()
    assert "from now on, the collector requires a key for every request" in made.stderr
    assert "no key has the scope admin" in made.stderr
    assert send_http(own_collector, "", encode([call_now("closed")]))[0] == UNAUTHENTICATED
    assert send_http(own_collector, text, encode([call_now("mine")]))[0] == 0
    own_collector.stop()
    listed = run_keys("list", *where)
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == [text.split("_")[1]]


@at_night
def test_beyond_loopback(tmp_path: Path) -> None:
    """A collector listens on other addresses than loopback only if it has keys."""
    places = ("--http", "0.0.0.0:0", "--grpc", "127.0.0.1:0")
    done = otel_ml("serve", "--data-dir", str(tmp_path), *places, "--log-level", "error")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "otel-ml: Listening at 0.0.0.0:0 without keys would let anyone who can connect read and "
        "write: create a key with 'otel-ml keys add', listen on 127.0.0.1, or use --insecure"
    ]
    run_keys("add", "--data-dir", str(tmp_path), "--project", "p")
    process = CollectorProcess(tmp_path, "--http", "0.0.0.0:0")
    try:
        process.wait_ready()
        assert "There are no keys" not in process.output
    finally:
        process.kill()
