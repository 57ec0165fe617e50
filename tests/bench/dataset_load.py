"""Load the synthetic month through a real collector and keep the facts needed to query it."""

import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_ml_collector.times import HOUR_NS
from tests.bench.dataset import SPANS, Dataset, Plan, field, make_request
from tests.bench.pace import pace
from tests.support.collector import CollectorProcess

IN_FLIGHT: Final = 6
# A separate project for everything that is not part of the month.
EXTRAS: Final = "extras"
POINTS: Final = 100_000
POINTS_AT_ONCE: Final = 2_000
LONG_TRACE: Final = 50_000
LONG_TRACE_ID: Final = bytes.fromhex("10" * 16)
TRAINING: Final = ("20" * 16, "20" * 8)

_NOTE: Final = "bench.json"
_AGAIN_S: Final = 0.2
_OK: Final = 200
_BUSY: Final = frozenset({429, 503})
_MS: Final = 10**6
_WIDTH: Final = 200


@dataclass(frozen=True, slots=True)
class Loaded:
    """The contents of a data directory.

    Attributes:
        runs: How many runs the month has.
        end_ns: When the month ends.
        raw_bytes: Size of the runs on the wire.
        took_s: How long loading took.
        samples: Project, trace id and span id of some runs.
    """

    runs: int
    end_ns: int
    raw_bytes: int
    took_s: float
    samples: list[tuple[str, str, str]]


def load(data_dir: Path, runs: int, month: type[Dataset] = Dataset) -> Loaded:
    """Load a month into a new data directory, or return the result of an earlier load."""
    note = data_dir / _NOTE
    if note.exists():
        return Loaded(**orjson.loads(note.read_bytes()))
    collector = CollectorProcess(data_dir)
    try:
        collector.wait_ready()
        end_ns = time.time_ns()
        dataset = month(Plan(runs, end_ns))
        started = time.perf_counter()
        send_all(collector.endpoint, dataset.requests())
        took_s = time.perf_counter() - started
        send_all(collector.endpoint, _training(end_ns))
        send_all(collector.endpoint, _long_trace(end_ns))
        loaded = Loaded(dataset.made, end_ns, dataset.raw_bytes, took_s, dataset.samples)
        note.write_bytes(orjson.dumps(asdict(loaded)))
    finally:
        collector.stop()
    return loaded


def send_all(
    endpoint: str, requests: Iterator[tuple[bytes, int]], in_flight: int = IN_FLIGHT
) -> None:
    """Send requests, several at a time, and retry each until it is stored."""
    guard, errors = threading.Lock(), list[BaseException]()

    def take() -> tuple[bytes, int] | None:
        with guard:
            return next(requests, None)

    def work() -> None:
        try:
            connection = HTTPConnection(urlsplit(endpoint).netloc)
            while (request := take()) is not None:
                send(connection, request[0])
            connection.close()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


def send(connection: HTTPConnection, body: bytes) -> None:
    """Send one request and retry until it is stored."""
    headers = {"Content-Type": "application/x-protobuf"}
    while True:
        connection.request("POST", "/v1/traces", body, headers)
        answer = connection.getresponse()
        told = answer.read()
        if answer.status == _OK:
            assert not told, told  # a non-empty body means that spans were rejected
            return
        assert answer.status in _BUSY, told
        pace(_AGAIN_S)


def _training(end_ns: int) -> Iterator[tuple[bytes, int]]:
    """Make a run that logged 100,000 points of one metric."""
    trace_id, run = (bytes.fromhex(part) for part in TRAINING)
    began_ns = end_ns - HOUR_NS
    yield _request(_span(trace_id, run, "training", began_ns, HOUR_NS, kind="training"))
    for first in range(0, POINTS, POINTS_AT_ONCE):
        steps = range(first, first + POINTS_AT_ONCE)
        at_ns = [began_ns + step * 30 * _MS for step in steps]
        span_id = struct.pack(">Q", 2**60 + first)
        span = _span(trace_id, span_id, "update", at_ns[-1], 0, parent=run, record="update")
        for key, values in {
            "names": [AnyValue(string_value="loss") for _ in steps],
            "values": [AnyValue(double_value=1 / (1 + step) + step * 7919 % 1e3) for step in steps],
            "steps": [AnyValue(int_value=step) for step in steps],
            "times": [AnyValue(int_value=ns) for ns in at_ns],
            "modes": [AnyValue(string_value="append") for _ in steps],
        }.items():
            array = AnyValue(array_value=ArrayValue(values=values))
            span.attributes.append(KeyValue(key=f"otel_ml.metric.{key}", value=array))
        yield _request(span)


def _long_trace(end_ns: int) -> Iterator[tuple[bytes, int]]:
    """Make one trace of 50,000 runs: 200 below the root, all others below these."""
    began_ns = end_ns - HOUR_NS
    ids = [struct.pack(">Q", 2**61 + place) for place in range(LONG_TRACE)]
    for first in range(0, LONG_TRACE, SPANS):
        spans = []
        for place in range(first, min(first + SPANS, LONG_TRACE)):
            parent = b"" if place == 0 else ids[0 if place <= _WIDTH else place % _WIDTH + 1]
            own_ns = began_ns + place * 60_000
            span = _span(LONG_TRACE_ID, ids[place], "step", own_ns, 20 * _MS, parent=parent)
            spans.append(span)
        yield _request(*spans)


def _span(
    trace_id: bytes,
    span_id: bytes,
    name: str,
    start_ns: int,
    latency_ns: int,
    *,
    parent: bytes = b"",
    **told: str,
) -> Span:
    span = Span(trace_id=trace_id, span_id=span_id, parent_span_id=parent, name=name)
    span.start_time_unix_nano, span.end_time_unix_nano = start_ns, start_ns + latency_ns
    texts = {"project": EXTRAS, "model.name": name, "inputs": f'"{name}"', **told}
    for key, value in texts.items():
        told_value = AnyValue(string_value=value)
        span.attributes.append(KeyValue(key=f"otel_ml.{key}", value=told_value))
    return span


def _request(*spans: Span) -> tuple[bytes, int]:
    return make_request([field(2, span.SerializeToString()) for span in spans]), len(spans)
