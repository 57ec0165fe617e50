"""A load that retries each request until it is acknowledged, like an exporter with a queue."""

import random
import secrets
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_ml import attributes as names
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.waiting import elapsed, wait_until

EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
OK: Final = frozenset({"http 200", "grpc OK"})
# Responses that ask for a retry after a delay.
LATER: Final = frozenset({"http 503 after 2 s", "grpc UNAVAILABLE after 2 s"})
UNREACHED: Final = "unreached"
SPANS: Final = 64
_ANSWER_S: Final = 30.0
_PAUSE_S: Final = 0.1
# Every how many acknowledged requests one is sent again, as if its response had been lost.
_AGAIN: Final = 4


class Senders:
    """Threads that send requests, half of them over gRPC, and retry the unacknowledged ones.

    Args:
        collector: The collector; it may be killed and restart on other ports.
        project: The project of the runs.
        threads: How many requests are in flight.
        spans: Runs per request; records about some of them are added.

    Attributes:
        acknowledged: The requests with a success response.
        answers: Number of responses of each kind.
        slowest_s: The longest wait for a response.
    """

    def __init__(
        self, collector: CollectorProcess, project: str, threads: int = 4, spans: int = SPANS
    ) -> None:
        self._collector = collector
        self._project = project
        self._spans = spans
        self._draining = threading.Event()
        self._lock = threading.Lock()
        self._pending: deque[bytes] = deque()
        self.acknowledged: list[bytes] = []
        self.answers: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._threads = [
            threading.Thread(target=self._work, args=(number % 2 == 0,))
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def runs(self) -> int:
        """How many runs have been acknowledged so far."""
        return len(self.acknowledged) * self._spans

    def wait_for(self, runs: int) -> None:
        """Wait until this many more runs are acknowledged."""
        wanted = self.runs + runs
        wait_until(lambda: self.runs >= wanted, 60)

    def begin_counting(self) -> "Counter[str]":
        """Reset the counts of responses; return the previous ones by kind."""
        with self._lock:
            answers, self.answers = self.answers, Counter()
        return answers

    def drain(self, timeout_s: float = 60.0) -> None:
        """Start no new requests; return when all pending ones are acknowledged."""
        self._draining.set()
        for thread in self._threads:
            thread.join(timeout_s)
        assert not any(thread.is_alive() for thread in self._threads), self.answers

    def _work(self, over_grpc: bool) -> None:
        connection = _Grpc(self._collector) if over_grpc else _Http(self._collector)
        with connection:
            while (body := self._next()) is not None:
                started = time.monotonic()
                answer = connection.send(body)
                self._note(body, answer, time.monotonic() - started)
                if answer not in OK:
                    wait_until(elapsed(_PAUSE_S))

    def _next(self) -> bytes | None:
        with self._lock, suppress(IndexError):
            return self._pending.popleft()
        if self._draining.is_set():
            return None
        return make_story(self._project, self._spans).SerializeToString()

    def _note(self, body: bytes, answer: str, took_s: float) -> None:
        with self._lock:
            self.answers[answer] += 1
            self.slowest_s = max(self.slowest_s, took_s)
            if answer not in OK:
                self._pending.append(body)
                return
            self.acknowledged.append(body)
            is_again = len(self.acknowledged) % _AGAIN == 0
        if is_again:
            threading.Thread(target=self._send_again, args=(body,)).start()

    def _send_again(self, body: bytes) -> None:
        with _Http(self._collector) as connection:
            connection.send(body)


class _Http:
    """One keep-alive connection, reopened at the collector's current address."""

    def __init__(self, collector: CollectorProcess) -> None:
        self._collector = collector
        self._connection: HTTPConnection | None = None

    def __enter__(self) -> "_Http":
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(self, body: bytes) -> str:
        try:
            if self._connection is None:
                place = urlsplit(self._collector.endpoint).netloc
                self._connection = HTTPConnection(place, timeout=_ANSWER_S)
            self._connection.request("POST", "/v1/traces", body, PROTOBUF)
            response = self._connection.getresponse()
            response.read()
        except (OSError, HTTPException):
            self.__exit__()
            return UNREACHED
        delay = response.headers.get("retry-after")
        return f"http {response.status}" + (f" after {delay} s" if delay else "")


class _Grpc:
    """One channel, replaced when the collector has moved."""

    def __init__(self, collector: CollectorProcess) -> None:
        self._collector = collector
        self._address = ""
        self._channel: grpc.Channel | None = None

    def __enter__(self) -> "_Grpc":
        return self

    def __exit__(self, *_: object) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def send(self, body: bytes) -> str:
        if self._channel is None or self._address != self._collector.grpc:
            self.__exit__()
            self._address = self._collector.grpc
            self._channel = grpc.insecure_channel(self._address)
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(EXPORT)
        try:
            export(body, timeout=_ANSWER_S)
        except grpc.RpcError as error:
            return _said(error)
        return "grpc OK"


def _said(error: Any) -> str:
    """Return an error as text; without the collector's details it is a connection error."""
    trailers = dict(error.trailing_metadata() or ())
    if "grpc-status-details-bin" not in trailers:
        return UNREACHED
    has_delay = "google.rpc.retryinfo-bin" in trailers
    return f"grpc {error.code().name}" + (" after 2 s" if has_delay else "")


def make_story(project: str, spans: int = SPANS) -> ExportTraceServiceRequest:
    """Make runs of various latencies, with metrics, tags and a reviewer's score for some."""
    request = make_request(project, spans)
    batch = request.resource_spans[0].scope_spans[0].spans
    for number, run in enumerate(list(batch)):
        run.end_time_unix_nano += random.randrange(10**9)  # noqa: S311 - guards nothing
        run.attributes.append(_pair(f"{names.TAG_PREFIX}client", f"client {number % 3}"))
        if number % 8 == 0:
            batch.extend([_update(project, run), _feedback(project, run, number)])
    return request


def all_run_ids(requests: list[bytes]) -> list[str]:
    """Return the ids of the runs in requests of `make_story`."""
    found: list[str] = []
    for body in requests:
        request = ExportTraceServiceRequest.FromString(body)
        for resource_spans in request.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                kept = [span for span in scope_spans.spans if not _is_about(span)]
                del scope_spans.spans[:]
                scope_spans.spans.extend(kept)
        found += run_ids(request)
    return found


def _is_about(span: Span) -> bool:
    return any(pair.key == names.RECORD for pair in span.attributes)


def _record(project: str, run: Span, record: str) -> Span:
    at_ns = run.end_time_unix_nano + 1
    return Span(
        trace_id=run.trace_id,
        span_id=secrets.token_bytes(8),
        parent_span_id=run.span_id,
        name=record,
        start_time_unix_nano=at_ns,
        end_time_unix_nano=at_ns,
        attributes=[_pair(names.PROJECT, project), _pair(names.RECORD, record)],
    )


def _update(project: str, run: Span) -> Span:
    record = _record(project, run, "update")
    record.attributes.extend(
        [
            _pair(names.METRIC_NAMES, ["loss", "loss"]),
            _pair(names.METRIC_VALUES, [0.5, 0.25]),
            _pair(names.METRIC_MODES, ["append", "append"]),
            _pair(f"{names.TAG_PREFIX}late", "yes"),
        ]
    )
    return record


def _feedback(project: str, run: Span, number: int) -> Span:
    record = _record(project, run, "evaluation")
    record.attributes.extend(
        [
            _pair(names.JUDGE_NAME, "liked"),
            _pair(names.SOURCE, "human"),
            _pair(names.SCORE_VALUE, number / 8),
            _pair(names.TARGET_START_NS, run.start_time_unix_nano),
        ]
    )
    return record


def _pair(key: str, value: str | float | list[str] | list[float]) -> KeyValue:
    return KeyValue(key=key, value=_any(value))


def _any(value: str | float | list[str] | list[float]) -> AnyValue:
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_any(item) for item in value]))
    if isinstance(value, str):
        return AnyValue(string_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(double_value=value)
