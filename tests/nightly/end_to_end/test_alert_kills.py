"""Alerts reach a webhook at least once, under one id, even if the collector is killed."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.otlp_sink import Sent, Sink, http_sink
from tests.support.ports import free_port
from tests.support.waiting import wait_until

_PATIENCE_S: Final = 300.0
_SECRET: Final = b"0123456789abcdef"
_RULE: Final = {
    "when": "error_share > 0.5",
    "window": "1m",
    "hold": "1 of 1",
    "min_runs": 1,
    "delay": "0s",
    "notify": ["desk"],
    "annotations": {"summary": "{{ rule }}: {{ value }}"},
}
_SEND_EVERY_S: Final = 0.5


@contextmanager
def collecting(folder: Path, target: str) -> Iterator[CollectorProcess]:
    """Start a collector with fixed addresses that notifies a webhook."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    desk = {
        "kind": "webhook",
        "url": f"http://{target}/hook",
        "secret": _SECRET.decode(),
        "allow_private": True,
    }
    targets = json.dumps({"desk": desk})
    listen = ("--http", addresses[0], "--grpc", addresses[1])
    collector = CollectorProcess(folder, *listen, "--alert-targets", targets)
    try:
        collector.wait_ready()
        yield collector
    finally:
        collector.kill()


def save_rule(collector: CollectorProcess) -> None:
    """Save the rule, which is evaluated within one or two minutes."""
    request = Request(
        f"{collector.endpoint}/api/v1/projects/shop/alerts/fails",
        json.dumps(_RULE).encode(),
        {"content-type": "application/json"},
        method="PUT",
    )
    with urlopen(request, timeout=60) as answer:
        assert answer.status == HTTPStatus.OK


@contextmanager
def sending(collector: CollectorProcess, status_code: int) -> Iterator[None]:
    """Keep sending runs that end with a status, even while the collector is down."""
    ends = threading.Event()

    def send() -> None:
        while not ends.wait(_SEND_EVERY_S):
            run = make_call(
                "answer",
                {"otel_ml.project": "shop"},
                start_ns=time.time_ns(),
                status_code=status_code,
            )
            try:
                collector.post("/v1/traces", encode([run]), PROTOBUF)
            except (OSError, ValueError):  # the collector was killed, or has no address yet
                continue

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def check_signature(sent: Sent) -> dict[str, Any]:
    """Return a message, and check its signature."""
    signed = f"{sent.headers['webhook-id']}.{sent.headers['webhook-timestamp']}.".encode()
    digest = hmac.new(_SECRET, signed + sent.body, hashlib.sha256).digest()
    assert sent.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    document: dict[str, Any] = json.loads(sent.body)
    assert document["id"] == sent.headers["webhook-id"]
    return document


def ids_of(sink: Sink, status: str) -> set[str]:
    """Return the ids of the messages with a status."""
    messages = [check_signature(sent) for sent in sink.requests]
    return {document["id"] for document in messages if document["status"] == status}


def has_failed(collector: CollectorProcess) -> bool:
    """Return whether a notification was sent to an unreachable webhook."""
    page = collector.get_text("/metrics")
    lines = [line for line in page.splitlines() if "notification_failures_total{" in line]
    return any(float(line.rpartition(" ")[2]) > 0 for line in lines)


def test_killed_before_and_behind_delivery(tmp_path: Path) -> None:
    """After kills, a firing rule notifies its webhook under one id, and then resolves."""
    port = free_port()
    with collecting(tmp_path / "data", f"127.0.0.1:{port}") as collector:
        save_rule(collector)
        with sending(collector, status_code=2):
            wait_until(lambda: has_failed(collector), _PATIENCE_S)
            collector.kill()
            with http_sink(port) as sink:
                collector.restart()
                wait_until(lambda: bool(ids_of(sink, "firing")), _PATIENCE_S)
                collector.kill()
                collector.restart()
        with http_sink(port) as later:
            with sending(collector, status_code=0):
                wait_until(lambda: bool(ids_of(later, "resolved")), _PATIENCE_S)
            firing = ids_of(sink, "firing") | ids_of(later, "firing")
            assert len(firing) == 1
            assert len(ids_of(later, "resolved")) == 1
