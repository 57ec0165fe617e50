"""The collector as a whole, without a network."""

import hashlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.serve.app import make_app, open_collector
from otel_ml_collector.settings.sources import load
from otel_ml_collector.span import Span
from otel_ml_collector.store.writer import Writer
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import SECOND_NS, id_of, make_call, make_sign, make_start
from tests.support.otel_ml_collector.stores import Service, Store, open_service
from tests.support.otel_ml_collector.wire import encode

PROTOBUF = "application/x-protobuf"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Open a collector for one test only, so that the next test can open another."""
    with open_service(tmp_path) as opened:
        yield opened


def send(service: Service, project: str, *spans: Span, **headers: str) -> Answered:
    body = encode(spans or [make_call(start_ns=time.time_ns())])
    sent = {"content-type": PROTOBUF, "x-otel-ml-project": project, **headers}
    return ask(service.app, "/v1/traces", method="POST", headers=sent, body=[body])


def listed(service: Service, project: str) -> list[tuple[str, str, float | None]]:
    runs = ask(service.app, f"/api/v1/projects/{project}/runs").json["runs"]
    return [(run["model"], run["outcome"], run["latency_ms"]) for run in runs]


def test_sent_and_found(service: Service, project: str) -> None:
    """A span that was accepted is available as a run at once."""
    assert send(service, project).status == 200
    runs = ask(service.app, f"/api/v1/projects/{project}/runs").json["runs"]
    assert [run["model"] for run in runs] == ["answer"]


def test_run_from_start_to_end(service: Service, project: str) -> None:
    """A run is running after its start record, crashed after a goodbye, and ended by its end."""
    now_ns = time.time_ns()
    run = make_call("train", start_ns=now_ns, end_ns=now_ns + 2_000_000)
    address = f"/api/v1/projects/{project}/runs/{id_of(run)}"
    assert send(service, project, make_start(run)).status == 200
    assert listed(service, project) == [("train", "running", None)]
    assert ask(service.app, address).json["outcome"] == "running"
    assert send(service, project, make_sign("goodbye", now_ns + 1)).status == 200
    assert listed(service, project) == [("train", "crashed", None)]
    assert ask(service.app, address).json["outcome"] == "crashed"
    assert send(service, project, run).status == 200
    assert listed(service, project) == [("train", "ok", 2.0)]
    assert ask(service.app, address).json["latency_ms"] == 2.0


def test_silent_process(service: Service, project: str) -> None:
    """A run crashes if its process is silent for 5 minutes, until a heartbeat arrives."""
    now_ns = time.time_ns()
    ago = itertools.count(now_ns - 301 * SECOND_NS)
    begun = map_spans([make_start(make_call("train", start_ns=now_ns))], Filing(project, now_ns))
    Writer(service.store.connections, ago.__next__).write(begun)
    assert listed(service, project) == [("train", "crashed", None)]
    assert send(service, project, make_sign("heartbeat", now_ns)).status == 200
    assert listed(service, project) == [("train", "running", None)]


def test_bad_start(service: Service, project: str) -> None:
    """A start record without a run is rejected in partial success; the others are stored."""
    run = make_call("train", start_ns=time.time_ns())
    bad = make_start(run, {"otel_ml.target.run": "nonsense"})
    answered = send(service, project, bad, make_start(run))
    assert answered.status == 200
    assert b"record_without_target 1" in answered.body
    assert listed(service, project) == [("train", "running", None)]


def test_foreign_page(service: Service, project: str) -> None:
    """A page of another site cannot send spans."""
    assert send(service, project, origin="http://evil.example").status == 403
    assert ask(service.app, f"/api/v1/projects/{project}/runs").json["runs"] == []


def test_health(service: Service) -> None:
    """A healthy collector reports that it is alive and ready."""
    assert ask(service.app, "/healthz").json == {"status": "alive", "program": "otel-ml"}
    assert ask(service.app, "/readyz").json == {"status": "ready"}


def test_metrics(service: Service, project: str) -> None:
    """Prometheus's own parser can read the collector's metrics."""
    send(service, project)
    answered = ask(service.app, "/metrics")
    families = list(text_string_to_metric_families(answered.text))
    assert answered.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "otel_ml_spans_accepted" in {family.name for family in families}


def test_unknown_path(service: Service) -> None:
    """An unknown path gets a 404 response with the strict headers."""
    answered = ask(service.app, "/unknown")
    assert (answered.status, answered.headers["x-content-type-options"]) == (404, "nosniff")


def test_other_name(service: Service) -> None:
    """A service on loopback refuses any other host name."""
    assert ask(service.app, "/healthz", headers={"host": "evil.example"}).status == 403


def test_ended_store(service: Service, project: str) -> None:
    """A collector that failed to write is alive but not ready."""
    service.store.connections.close()
    assert send(service, project).status == 503
    assert ask(service.app, "/healthz").status == 200
    answered = ask(service.app, "/readyz")
    assert (answered.status, answered.json["error"]["code"]) == (503, "unavailable")
    assert answered.headers["retry-after"] == "2"


def test_full_disk(tmp_path: Path, project: str) -> None:
    """While too little disk space is free, senders are asked to send everything again."""
    given = {"data_dir": str(tmp_path), "min_free_disk_bytes": str(2**62)}
    settings = load(given, {}, None)
    collector = open_collector(settings)
    try:
        app = make_app(collector, settings)
        writer = Writer(collector.connections)
        service = Service(app, Store(collector.connections, writer, collector.reader))
        document = b"{}"
        digest = hashlib.sha256(document).hexdigest()
        answers = [
            send(service, project),
            ask(
                app,
                f"/api/v1/projects/{project}/artifacts/{digest}",
                method="PUT",
                headers={"content-type": "application/json"},
                body=[document],
            ),
            ask(app, "/readyz"),
        ]
        assert [answer.status for answer in answers] == [503, 503, 503]
        assert [answer.headers["retry-after"] for answer in answers] == ["2", "2", "2"]
        reason = f" MB free: expected at least {2**62 / 1e6:,.1f} MB"
        assert all(reason in answer.body.decode("latin-1") for answer in answers)
        assert ask(app, "/healthz").status == 200
        assert listed(service, project) == []
    finally:
        collector.close()


def test_open_service(tmp_path: Path) -> None:
    """Beyond loopback, a service without a host name accepts any, and with one only that."""
    collector = open_collector(load({"data_dir": str(tmp_path)}, {}, None))
    try:
        flags = {"http": "0.0.0.0:0", "insecure": "true"}
        named = {**flags, "allowed_hosts": "otel.example"}
        for given, statuses in ((flags, [200, 200]), (named, [403, 200])):
            app = make_app(collector, load(given, {}, None))
            hosts = ["10.0.0.7:4318", "otel.example"]
            assert [
                ask(app, "/healthz", headers={"host": host}).status for host in hosts
            ] == statuses
    finally:
        collector.close()
