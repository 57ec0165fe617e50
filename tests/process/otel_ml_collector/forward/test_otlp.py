"""Tests of forwarding OTLP: what happens to a request for each response of a destination."""

import asyncio
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.errors import BadSetting, Rejected, Unavailable
from otel_ml_collector.forward.otlp import OtlpForward
from otel_ml_collector.forward.otlp_request import OtlpRequest
from otel_ml_collector.settings.targets import OtlpTarget
from otel_ml_collector.telemetry.service import OtlpForwardNumbers, Telemetry
from tests.support.certificates import make_certificate
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.otlp_sink import Reply, Sink, grpc_sink, http_sink
from tests.support.prometheus import numbers_in
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Way:
    """A forward to some destinations, with its metrics."""

    forward: OtlpForward
    telemetry: Telemetry

    def send(self, request: OtlpRequest, wait_s: float = WAIT_S) -> None:
        """Forward a request; its sender waits at most `wait_s`."""
        asyncio.run(self.forward.pass_on(request, time.monotonic() + wait_s))

    def numbers(self, name: str) -> dict[str, float]:
        """Return the values of a metric that are not 0, by their labels."""
        return numbers_in(self.telemetry.render().decode(), f"otel_ml_otlp_{name}")


@contextmanager
def forwarding(*targets: OtlpTarget) -> Iterator[Way]:
    """Forward to destinations until the block ends."""
    numbers, telemetry = OtlpForwardNumbers(), Telemetry()
    telemetry.register(numbers)
    forward = OtlpForward(targets, numbers)
    try:
        yield Way(forward, telemetry)
    finally:
        forward.close(0)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with http_sink() as opened:
        yield opened


def at(sink: Sink, **options: Any) -> OtlpTarget:
    return OtlpTarget("there", f"http://{sink.address}", **options)


def away(name: str = "away", scheme: str = "http", **options: Any) -> OtlpTarget:
    """Return a destination where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return OtlpTarget(name, f"{scheme}://127.0.0.1:{port}", **options)


def make(body: bytes | None = None) -> OtlpRequest:
    """Make a request that has passed through one collector; each has different ids."""
    told = encode([make_call()]) if body is None else body
    return OtlpRequest(told, "identity", Signal.TRACES, Form.PROTOBUF, None, "here")


def bodies(sink: Sink) -> list[bytes]:
    return [one.body for one in sink.requests]


def test_again_after_a_while(sink: Sink) -> None:
    """A request is sent again after the destination's Retry-After delay, and not before."""
    sink.replies.append(Reply(503, [("retry-after", "1")]))
    request = make()
    with forwarding(at(sink)) as way:
        way.send(request)
        wait_until(lambda: bool(way.numbers("forwarded_total")))
        assert bodies(sink) == [request.body, request.body]
        assert 1.0 <= sink.requests[1].at_s - sink.requests[0].at_s < 3.0
        assert way.numbers("forwarded_total") == {'signal="traces",target="there"': 1}
        assert way.numbers("forwarded_bytes_total") == {'target="there"': len(request.body)}
        assert way.numbers("forward_retries_total") == {'target="there"': 1}


def asking_for(seconds: int) -> bytes:
    """Return the error details that carry a retry delay."""
    status = Status(code=14)
    status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=seconds)))
    written: bytes = status.SerializeToString()
    return written


@sampled(1)
@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED])
def test_again_over_grpc(code: StatusCode) -> None:
    """Over gRPC the retry delay in the destination's error details is obeyed."""
    with grpc_sink() as sink:
        sink.replies.append(Reply(code=code, body=asking_for(1)))
        request = make()
        with forwarding(OtlpTarget("there", f"grpc://{sink.address}")) as way:
            way.send(request)
            wait_until(lambda: bool(way.numbers("forwarded_total")))
            assert bodies(sink) == [request.body, request.body]
            assert 1.0 <= sink.requests[1].at_s - sink.requests[0].at_s < 3.0


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (StatusCode.INVALID_ARGUMENT, Rejected),
        (StatusCode.RESOURCE_EXHAUSTED, Rejected),
        (StatusCode.UNAUTHENTICATED, Unavailable),
        (StatusCode.UNIMPLEMENTED, Unavailable),
    ],
    ids=str,
)
def test_refused_over_grpc(code: StatusCode, error: type[Exception]) -> None:
    """A request refused over gRPC is not sent again; the sender's error depends on the code."""
    with grpc_sink() as sink:
        sink.replies.append(Reply(code=code))
        target = OtlpTarget("there", f"grpc://{sink.address}", required=True)
        with forwarding(target) as way:
            with pytest.raises(error) as caught:
                way.send(make())
            assert str(caught.value) == f"Rejected by the destination there: {code.name} no"
            assert type(caught.value) is error
            assert len(sink.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 500, 308])
def test_refused(sink: Sink, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """A request refused by an optional destination is dropped and counted; the sender succeeds."""
    sink.replies.append(Reply(status))
    requests = [make(), make()]
    with forwarding(at(sink)) as way:
        for request in requests:
            way.send(request)
        # The two may be answered in any order.
        wait_until(lambda: bool(way.numbers("forwarded_total")) and bool(caplog.messages))
        assert sorted(bodies(sink)) == sorted(request.body for request in requests)
        assert way.numbers("forward_dropped_total") == {
            'reason="refused",signal="traces",target="there"': 1
        }
    assert caplog.messages[0].startswith("Dropped 1 request for the destination there: ")


def test_web_page(sink: Sink) -> None:
    """An HTML page with status 200, such as a login page, does not count as stored."""
    sink.replies.append(Reply(200, [("content-type", "text/html; charset=utf-8")], b"<html>Log in"))
    with forwarding(at(sink, required=True)) as way:
        with pytest.raises(Unavailable) as caught:
            way.send(make())
        assert way.numbers("forwarded_total") == {}
    assert str(caught.value) == (
        "Rejected by the destination there: 200 OK with an HTML page, so this is not an OTLP "
        "endpoint: check the address"
    )


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(400, body=b"bad \x1b[31m\nred"), "400 bad \N{REPLACEMENT CHARACTER}[31m red"),
        (Reply(302), "302 Found"),
    ],
)
def test_reason_in_log(
    sink: Sink, reply: Reply, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the reason on one line, without control characters of the destination."""
    sink.replies.append(reply)
    with forwarding(at(sink)) as way:
        way.send(make())
        wait_until(lambda: bool(way.numbers("forward_dropped_total")))
        wait_until(lambda: bool(caplog.messages))  # logged after it was counted
    assert caplog.messages == [f"Dropped 1 request for the destination there: {reason}"]


def test_no_answer(sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    """The log reports that a destination does not answer, and when a request is dropped."""
    sink.may_answer.clear()
    with forwarding(at(sink, timeout_s=0.1, retry_s=3), away(retry_s=3)) as way:
        way.send(make())
        wait_until(lambda: len(way.numbers("forward_dropped_total")) == 2)
        sink.may_answer.set()
    assert sorted(caplog.messages) == [
        "Dropped 1 request for the destination away: not acknowledged within 3 s: it cannot be "
        "reached (Connection refused)",
        "Dropped 1 request for the destination there: not acknowledged within 3 s: it did not "
        "answer within 0.1 s",
        "Requests wait for the destination away: it cannot be reached (Connection refused)",
        "Requests wait for the destination there: it did not answer within 0.1 s",
    ]


def test_partial(sink: Sink) -> None:
    """A request with a partial success counts as forwarded and as partial."""
    partial = ExportTracePartialSuccess(rejected_spans=1, error_message="no")
    answer = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    sink.replies.append(Reply(200, body=answer))
    with forwarding(at(sink)) as way:
        way.send(make())
        wait_until(lambda: bool(way.numbers("forwarded_total")))
        assert way.numbers("forward_partial_total") == {'signal="traces",target="there"': 1}
        assert len(sink.requests) == 1


def test_bounded() -> None:
    """The queue of a destination that is down is bounded; more requests are dropped and counted."""
    targets = (away(queue_requests=3), away("narrow", "grpc", queue_bytes=1))
    with forwarding(*targets) as way:
        for _ in range(5):
            way.send(make())
        assert way.numbers("forward_dropped_total") == {
            'reason="queue_full",signal="traces",target="away"': 2,
            'reason="queue_full",signal="traces",target="narrow"': 4,
        }
        assert way.numbers("forward_queue_requests") == {
            'target="away"': 3,
            'target="narrow"': 1,
        }
        wait_until(lambda: len(way.numbers("forward_retries_total")) == 2)
        way.forward.close(2)
        assert way.numbers("forward_queue_requests") == {}
        dropped = way.numbers("forward_dropped_total")
        assert dropped['reason="shutdown",signal="traces",target="away"'] == 3
        assert dropped['reason="shutdown",signal="traces",target="narrow"'] == 1


def test_log_of_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """The first dropped request is logged at once, and the number of others at the end."""
    with forwarding(away(queue_requests=1)) as way:
        for _ in range(4):
            way.send(make())
    assert [line for line in caplog.messages if line.startswith("Dropped")] == [
        "Dropped 1 request for the destination away: its queue is full",
        "Dropped 2 requests for the destination away: queue_full",
    ]


@at_night
def test_given_up() -> None:
    """A request that is not accepted within the retry time is dropped and counted."""
    with forwarding(away(retry_s=1)) as way:
        way.send(make())
        wait_until(lambda: bool(way.numbers("forward_dropped_total")))
        assert way.numbers("forward_dropped_total") == {
            'reason="given_up",signal="traces",target="away"': 1
        }
        assert way.numbers("forward_queue_bytes") == {}


def test_one_bad_request(sink: Sink) -> None:
    """A request that a destination fails on does not block others."""
    sink.replies += [Reply(503), Reply(503)]
    requests = [make() for _ in range(5)]
    with forwarding(at(sink)) as way:
        for request in requests:
            way.send(request)
        wait_until(lambda: way.numbers("forwarded_total") == {'signal="traces",target="there"': 5})
        assert {*bodies(sink)} == {request.body for request in requests}


def test_required_late(sink: Sink) -> None:
    """After a late acknowledgement a sender's repeated request succeeds, and is forwarded once."""
    sink.may_answer.clear()
    request = make()
    with forwarding(at(sink, required=True)) as way:
        for _ in range(2):
            with pytest.raises(Unavailable, match="Not acknowledged yet by the destination"):
                way.send(request, 0.5)
        sink.may_answer.set()
        wait_until(lambda: bool(way.numbers("forwarded_total")))
        way.send(request)
        assert bodies(sink) == [request.body]


def test_required_before_others(sink: Sink) -> None:
    """While a required destination is down, the others do not get each repetition of a sender."""
    with forwarding(away(required=True), at(sink)) as way:
        for _ in range(2):
            with pytest.raises(Unavailable, match="the destination away"):
                way.send(make(), 0.3)
        assert way.numbers("forward_queue_requests") == {'target="away"': 2}
    assert sink.requests == []


@pytest.mark.parametrize(
    ("status", "error"), [(400, Rejected), (413, Rejected), (401, Unavailable), (404, Unavailable)]
)
def test_required_refuses(sink: Sink, status: int, error: type[Exception]) -> None:
    """The sender gets a final error for bad data, a temporary one for a wrong key or address."""
    sink.replies.append(Reply(status, body=Status(message="no").SerializeToString()))
    with forwarding(at(sink, required=True)) as way:
        with pytest.raises(error) as caught:
            way.send(make())
        assert str(caught.value) == f"Rejected by the destination there: {status} no"
        assert type(caught.value) is error


def test_required_full() -> None:
    """If the queue of a required destination is full, the sender gets an error at once."""
    with forwarding(away(required=True, queue_requests=1)) as way:
        with pytest.raises(Unavailable):
            way.send(make(), 0.3)
        started = time.monotonic()
        with pytest.raises(Unavailable, match="Too many requests wait for the destination away"):
            way.send(make())
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        ("", None),
        ("a,b", None),
        (",".join("abcdefghijklmnop"), "through 16 collectors"),
        ("ä", "Invalid header x-otel-ml-passed"),
        ("a,,b", "Invalid header x-otel-ml-passed"),
        ("a" * 33, "Invalid header x-otel-ml-passed"),
    ],
)
def test_passed(sink: Sink, passed: str, expected: str | None) -> None:
    """A request carries the collectors it passed through, and is refused if it returns to one."""
    with forwarding(at(sink)) as way:
        if expected:
            with pytest.raises(Rejected, match=expected):
                way.forward.add_self(passed)
            return
        told = way.forward.add_self(passed)
        assert told.startswith(f"{passed},") or not passed
        with pytest.raises(Rejected, match="The destinations form a loop"):
            way.forward.add_self(f"{told},more")


def test_many_senders(sink: Sink) -> None:
    """Each of many concurrent requests arrives once."""
    requests = [make() for _ in range(100)]
    with forwarding(at(sink, required=True)) as way, ThreadPoolExecutor(8) as pool:
        list(pool.map(way.send, requests))
        assert sorted(bodies(sink)) == sorted(request.body for request in requests)


def test_tls(tmp_path: Path) -> None:
    """A destination whose certificate is not trusted gets nothing."""
    made = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.cert, made.key)
    with http_sink(tls=context) as sink:
        endpoint = f"https://{sink.address}"
        known = OtlpTarget("known", endpoint, tls_ca=made.cert)
        with forwarding(known, OtlpTarget("unknown", endpoint)) as way:
            way.send(make())
            wait_until(lambda: bool(way.numbers("forwarded_total")))
            wait_until(lambda: bool(way.numbers("forward_retries_total")))
            assert way.numbers("forwarded_total") == {'signal="traces",target="known"': 1}
            assert {*way.numbers("forward_retries_total")} == {'target="unknown"'}
        assert len(sink.requests) == 1


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_proxy(sink: Sink, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """A destination is reached through the proxy of the environment, with the proxy's login."""
    monkeypatch.setenv("http_proxy", f"{scheme}me:p%40ss@{sink.address}")
    monkeypatch.setenv("no_proxy", "")
    with forwarding(OtlpTarget("there", "http://tempo.test:4318")) as way:
        way.send(make())
        wait_until(lambda: bool(way.numbers("forwarded_total")))
    [request] = sink.requests
    assert request.path == "http://tempo.test:4318/v1/traces"
    assert request.headers["proxy-authorization"] == f"Basic {b64encode(b'me:p@ss').decode()}"


@pytest.mark.parametrize("proxy", ["socks5://me:secret@proxy:1080", "http://me:secret@proxy:x"])
def test_wrong_proxy(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """A proxy that cannot be used is refused at the start, and the error hides its password."""
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(BadSetting) as caught, forwarding(OtlpTarget("there", "http://a.test:1")):
        pass
    expected = "Invalid proxy for http://a.test:1: expected one such as http://proxy:3128"
    assert str(caught.value) == expected
