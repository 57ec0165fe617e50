"""Tests of the collector as a whole, without a network."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from otel_ml_collector.app import make_app, open_collector
from otel_ml_collector.config import load
from tests.otel_ml_collector.asgi import Answered, ask
from tests.otel_ml_collector.spans import make_call
from tests.otel_ml_collector.stores import Service, open_service
from tests.otel_ml_collector.wire import encode

PROTOBUF = "application/x-protobuf"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A collector for one test, so that the next one may open another."""
    with open_service(tmp_path) as opened:
        yield opened


def send(service: Service, project: str, **headers: str) -> Answered:
    body = encode([make_call(start_ns=time.time_ns())])
    sent = {"content-type": PROTOBUF, "x-otel-ml-project": project, **headers}
    return ask(service.app, "/v1/traces", method="POST", headers=sent, body=[body])


def test_sent_and_found(service: Service, project: str) -> None:
    """A span that was taken is a run that can be asked for at once."""
    assert send(service, project).status == 200
    runs = ask(service.app, f"/api/v1/projects/{project}/runs").json["runs"]
    assert [run["model"] for run in runs] == ["answer"]


def test_foreign_page(service: Service, project: str) -> None:
    """A page of another site cannot send spans."""
    assert send(service, project, origin="http://evil.example").status == 403
    assert ask(service.app, f"/api/v1/projects/{project}/runs").json["runs"] == []


def test_health(service: Service) -> None:
    """A collector that lives and can answer says so."""
    assert ask(service.app, "/healthz").json == {"status": "alive"}
    assert ask(service.app, "/readyz").json == {"status": "ready"}


def test_metrics(service: Service, project: str) -> None:
    """The collector's numbers are read by Prometheus' own parser."""
    send(service, project)
    answered = ask(service.app, "/metrics")
    families = list(text_string_to_metric_families(answered.text))
    assert answered.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "otel_ml_spans_accepted" in {family.name for family in families}


def test_unknown_path(service: Service) -> None:
    """A path that is not served is answered 404 with the strict headers."""
    answered = ask(service.app, "/unknown")
    assert (answered.status, answered.headers["x-content-type-options"]) == (404, "nosniff")


def test_other_name(service: Service) -> None:
    """A service on loopback answers to no other name."""
    assert ask(service.app, "/healthz", headers={"host": "evil.example"}).status == 403


def test_ended_store(service: Service) -> None:
    """A collector whose store does not answer lives and is not ready."""
    service.store.connections.close()
    assert ask(service.app, "/healthz").status == 200
    answered = ask(service.app, "/readyz")
    assert (answered.status, answered.json["error"]["code"]) == (503, "unavailable")
    assert answered.headers["retry-after"] == "2"


def test_open_service(tmp_path: Path) -> None:
    """A service beyond loopback without a name answers to any, and with one to that."""
    collector = open_collector(f"chdb://{tmp_path}")
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
