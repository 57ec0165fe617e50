"""Slow cases of tests/process/otel_ml_collector/api/test_live.py."""

import http.client
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.process.otel_ml_collector.api.test_live import (
    listening,
    numbers_of,
    record,
)
from tests.support.collector import CollectorProcess
from tests.support.waiting import wait_until


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return a separate project for the test."""
    name: str = request.node.name
    return name


def test_resumed(own_collector: CollectorProcess, name: str) -> None:
    """A client that reconnects with the last id gets all missed runs once, even after a restart."""
    with listening(own_collector, name) as heard:
        record(own_collector, name, 1, 2, 3)
        heard.event()
        last, run = heard.event()
        assert run["tags"]["number"] == 2
    record(own_collector, name, *range(4, 1_200))
    own_collector.restart()
    with listening(own_collector, name, last=last) as heard:
        record(own_collector, name, 2_000)
        assert numbers_of(heard, 1_198) == [*range(3, 1_200), 2_000]


def test_bounded(own_collector: CollectorProcess, name: str) -> None:
    """At most 64 clients can listen; when one disconnects, another can connect."""
    path = f"/api/v1/projects/{name}/live"
    with ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(listening(own_collector, name))
        assert own_collector.status(path) == 503

    def is_free() -> bool:
        connection = http.client.HTTPConnection(urlsplit(own_collector.endpoint).netloc, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        status = response.status
        response.close()
        connection.close()
        return status == 200

    wait_until(is_free)
