"""Under overload, accepted requests are stored in time, and others are asked to retry later.

The store is limited by the speed of its disk, so that results are the same on any machine.
"""

import json
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_ml import attributes as names
from tests.bench.load import Load, Sent, send_load
from tests.support.clickhouse import clickhouse
from tests.support.collector import CollectorProcess, running
from tests.support.hostile.crowd import busy_loops
from tests.support.load import PROTOBUF, make_request
from tests.support.waiting import elapsed, wait_until

pytestmark = pytest.mark.measures

SPANS: Final = 128
SECONDS: Final = 6
# Insert speed in bytes per second: about a thousand spans a second.
SLOW: Final = 3_000_000
ANSWER_S: Final = 5.0
JSON: Final = {"content-type": "application/json"}
LARGE: Final = 3_000
DEADLINE_S: Final = 300
# Next to twelve busy loops, the client waits for the machine too.
BUSY_ANSWER_S: Final = 10.0
BUSY_SENDING_S: Final = 120


@contextmanager
def serving(folder: Path, bytes_per_s: int) -> Iterator[CollectorProcess]:
    """Run a collector on a store with the given disk speed."""
    with clickhouse(folder / "store", bytes_per_s=bytes_per_s) as store:
        collector = CollectorProcess(folder / "data", "--store", store.url())
        try:
            collector.wait_ready()
            yield collector
        finally:
            collector.kill()


def rate(sent: Sent) -> float:
    return sent.accepted / sent.took_s


@pytest.mark.parametrize("transport", ["gRPC", "HTTP"])
def test_goodput(tmp_path: Path, transport: str) -> None:
    """With 32, 64 and 128 requests in flight, goodput is at least 90 % of that with 4."""
    with serving(tmp_path, SLOW) as collector:
        address = collector.grpc if transport == "gRPC" else collector.endpoint
        send_load(Load(address, "before", 64, SPANS, SECONDS))  # learns the speed
        few = send_load(Load(address, "few", 4, SPANS, SECONDS))
        many = [send_load(Load(address, "many", n, SPANS, SECONDS)) for n in (32, 64, 128)]
    assert min(map(rate, many)) >= 0.9 * rate(few), [rate(one) for one in (few, *many)]
    assert max(one.longest_s for one in many) <= ANSWER_S
    assert all(one.refused for one in many)


def test_small_sender(tmp_path: Path) -> None:
    """Requests of a small sender succeed during a flood from another sender."""
    with serving(tmp_path, SLOW) as collector, ThreadPoolExecutor(1) as pool:
        flood = pool.submit(send_load, Load(collector.grpc, "flood", 64, SPANS, 4 * SECONDS))
        answers = []
        connection = HTTPConnection(urlsplit(collector.endpoint).netloc, timeout=30)
        while not flood.done():
            body = make_request("small", 4).SerializeToString()
            connection.request("POST", "/v1/traces", body, PROTOBUF)
            response = connection.getresponse()
            response.read()
            answers.append(response.status)
        connection.close()
        assert flood.result().refused
    assert answers.count(200) >= 0.9 * len(answers), answers
    assert len(answers) >= 5


def test_refusals_are_quick(tmp_path: Path) -> None:
    """Refusals arrive much faster than acknowledgements."""
    with serving(tmp_path, SLOW) as collector:
        sent = send_load(Load(collector.endpoint, "flood", 64, SPANS, 2 * SECONDS))
    assert statistics.median(sent.refusals_s) < 0.25 * statistics.median(sent.waits_s)


@dataclass(frozen=True)
class Large:
    """A request body with many attributes.

    Attributes:
        project: The project of its spans.
        spans: How many spans; each has a hundred attributes.
        headers: The headers for its format.
        body: The encoded request.
    """

    project: str
    spans: int
    headers: dict[str, str]
    body: bytes


def write_json(project: str, spans: int = LARGE) -> Large:
    """Return a JSON request with 6 KiB a span: 18 MiB."""
    now_ns = time.time_ns()
    told = [{"key": key, "value": {"stringValue": text}} for key, text in about(project).items()]
    records = [
        {
            "traceId": secrets.token_hex(16),
            "spanId": secrets.token_hex(8),
            "name": "large",
            "startTimeUnixNano": str(now_ns + n),
            "endTimeUnixNano": str(now_ns + n + 1_000_000),
            "attributes": told,
        }
        for n in range(spans)
    ]
    request = {"resourceSpans": [{"scopeSpans": [{"spans": records}]}]}
    return Large(project, spans, JSON, json.dumps(request).encode())


def write_protobuf(project: str, spans: int = LARGE) -> Large:
    """Return a protobuf request with 7 KiB a span: 19 MiB."""
    request = make_request(project, spans)
    told = [
        KeyValue(key=key, value=AnyValue(string_value=text))
        for key, text in about(project, "longer " * 6).items()
    ]
    for span in request.resource_spans[0].scope_spans[0].spans:
        del span.attributes[:]
        span.attributes.extend(told)
    return Large(project, spans, PROTOBUF, request.SerializeToString())


def about(project: str, before: str = "") -> dict[str, str]:
    """Return a hundred attributes."""
    more = {f"attribute {n}": f"{before}value {n}" for n in range(97)}
    return {names.PROJECT: project, names.KIND: "model", names.MODEL_NAME: "large", **more}


@dataclass(frozen=True)
class Answer:
    """The response to a large request.

    Attributes:
        status: Its status.
        retry_after: Its Retry-After header; empty if missing.
        took_s: Time since the start of the request.
        after_sending_s: Time since the end of the request.
    """

    status: int
    retry_after: str
    took_s: float
    after_sending_s: float


def send(collector: CollectorProcess, large: Large, timeout_s: float = 30) -> Answer:
    """Send a large request once.

    Args:
        collector: The collector that receives the request.
        large: The request.
        timeout_s: Limit for sending the body, and then for receiving the response.
    """
    connection = HTTPConnection(urlsplit(collector.endpoint).netloc, timeout=timeout_s)
    with closing(connection):
        started_s = time.monotonic()
        connection.request("POST", "/v1/traces", large.body, large.headers)
        sent_s = time.monotonic()
        response = connection.getresponse()
        response.read()
        now_s = time.monotonic()
    retry_after = response.headers.get("retry-after", "")
    return Answer(response.status, retry_after, now_s - started_s, now_s - sent_s)


def send_until_stored(collector: CollectorProcess, large: Large) -> list[tuple[int, float]]:
    """Send like an exporter, with retries after Retry-After, and return every response."""
    answers: list[tuple[int, float]] = []
    ends_s = time.monotonic() + DEADLINE_S
    while not answers or (answers[-1][0] == 503 and time.monotonic() < ends_s):
        answer = send(collector, large)
        answers.append((answer.status, answer.took_s))
        if answer.status == 503:
            again_s = float(answer.retry_after)
            wait_until(elapsed(again_s), again_s + 20)
    return answers


def runs_of(collector: CollectorProcess) -> dict[str, int]:
    return {one["project"]: one["runs"] for one in collector.get("/projects")["projects"]}


@pytest.mark.parametrize(("write", "spans"), [(write_json, 2_000), (write_protobuf, LARGE)])
def test_longer_than_an_answer(
    tmp_path: Path, write: Callable[[str, int], Large], spans: int
) -> None:
    """A request too long for one response is stored over several retries, each span once."""
    large = write("large", spans)
    with serving(tmp_path, len(large.body) // 100) as collector:
        answers = send_until_stored(collector, large)
        assert runs_of(collector) == {"large": spans}
    statuses = [status for status, _ in answers]
    assert statuses[-1] == 200
    assert statuses.count(503) in range(1, 20)
    assert max(took_s for _, took_s in answers) <= ANSWER_S


@pytest.mark.parametrize(("write", "mib"), [(write_json, 18), (write_protobuf, 19)])
def test_eight_large(tmp_path: Path, write: Callable[[str], Large], mib: int) -> None:
    """Eight concurrent large requests are stored, with fast health checks and bounded memory."""
    large = [write(f"large {n}") for n in range(8)]
    assert {len(one.body) >> 20 for one in large} == {mib}
    healths_s: list[float] = []
    with running(tmp_path / "data") as collector:
        with ThreadPoolExecutor(8) as pool:
            sent = [pool.submit(send_until_stored, collector, one) for one in large]

            def is_sent() -> bool:
                started_s = time.monotonic()
                assert collector.status("/healthz") == 200
                healths_s.append(time.monotonic() - started_s)
                return all(one.done() for one in sent)

            wait_until(is_sent, 2 * DEADLINE_S, about="an answer to each of the eight")
        assert [one.result()[-1][0] for one in sent] == [200] * 8
        assert runs_of(collector) == {one.project: one.spans for one in large}
        peak_mb = collector.peak_mb
    p99_s = statistics.quantiles(healths_s, n=100)[98]
    sys.stdout.write(f"{mib} MiB: health {p99_s:.3f} s (p99), {peak_mb:.0f} MiB of memory\n")
    assert p99_s <= 0.5
    assert peak_mb < 1_000


def test_eight_large_on_a_busy_machine(tmp_path: Path) -> None:
    """On a busy machine, eight concurrent requests of 18 MiB are answered and finally stored."""
    large = [write_protobuf(f"large {n}", 2_850) for n in range(8)]
    assert {len(one.body) >> 20 for one in large} == {18}
    with running(tmp_path / "data") as collector:
        with busy_loops(), ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda one: send(collector, one, BUSY_SENDING_S), large))
        stored = {
            one.project: one.spans
            for one, answer in zip(large, answers, strict=True)
            if answer.status == 200
        }
        assert stored.items() <= runs_of(collector).items()
        with ThreadPoolExecutor(8) as pool:
            again = list(pool.map(lambda one: send_until_stored(collector, one), large))
        assert [one[-1][0] for one in again] == [200] * 8
        assert runs_of(collector) == {one.project: one.spans for one in large}
    longest_s = max(answer.after_sending_s for answer in answers)
    sys.stdout.write(f"busy: {longest_s:.1f} s from the request's end to its answer\n")
    refusals = [answer for answer in answers if answer.status != 200]
    assert {answer.status for answer in refusals} <= {503}
    assert all(1 <= int(answer.retry_after) <= 10 for answer in refusals)
    assert longest_s <= BUSY_ANSWER_S
