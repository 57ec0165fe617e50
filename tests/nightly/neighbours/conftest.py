"""Fixtures: Jaeger and otel-ml's collector with the same spans."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.request import Request, urlopen

import pytest

from otel_ml_collector.span import Span
from tests.nightly.neighbours.programs import Jaeger, fetch, running
from tests.nightly.neighbours.questions import found
from tests.support.collector import CollectorProcess
from tests.support.collector import running as collecting
from tests.support.load import PROTOBUF
from tests.support.neighbours.story import PROJECT, make_story
from tests.support.otel_ml_collector.wire import encode
from tests.support.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Both:
    """Two programs with the same spans, and the addresses of their query APIs."""

    story: list[Span]
    theirs: str
    ours: str


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Start Jaeger and a collector that both received the same bytes."""
    folder = tmp_path_factory.mktemp("both")
    jaeger = Jaeger(folder / "jaeger")
    with running(jaeger), collecting(folder / "data") as collector:
        story = make_story(time.time_ns())
        send(jaeger, collector, encode(story))
        traces = {span.trace_id.hex()[-3:] for span in story}
        asked = {
            "query.start_time_min": "2026-01-01T00:00:00Z",
            "query.start_time_max": "2100-01-01T00:00:00Z",
            "query.num_traces": 100,
        }
        for api in (jaeger.api, collector.endpoint):
            wait_until(
                lambda api=api: found(fetch(f"{api}/api/v3/traces", **asked)) == sorted(traces)  # type: ignore[misc]  # mypy takes no default
            )
        yield Both(story, jaeger.api, f"{collector.endpoint}/jaeger")


def send(jaeger: Jaeger, collector: CollectorProcess, body: bytes) -> None:
    """Send one request to both programs."""
    headers = {**PROTOBUF, "x-otel-ml-project": PROJECT}
    collector.deliver(body, headers)
    with urlopen(Request(f"{jaeger.endpoint}/v1/traces", body, headers), timeout=30) as answer:
        assert answer.status == 200
