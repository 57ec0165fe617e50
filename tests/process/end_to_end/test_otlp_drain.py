"""A collector that stops refuses new requests and answers those in progress."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

import grpc

from tests.process.end_to_end.test_otlp_contract import (
    EXPORT,
    PROTOBUF,
    make_request,
    make_span,
    refused_by_grpc,
)
from tests.support.collector import CollectorProcess
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

END_S = 10
IN_TIME_S = 8  # waiting for a client would take more than 9 s


@contextmanager
def half_sent(collector: CollectorProcess, body: bytes) -> Iterator[socket.socket]:
    """Send the first half of a request once the collector is reading it."""
    place = urlsplit(collector.endpoint)
    assert place.hostname is not None
    with socket.create_connection((place.hostname, place.port or 0), timeout=120) as connection:
        head = f"POST /v1/traces HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: {PROTOBUF}\r\n"
        length = f"content-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
        connection.sendall((head + length).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")  # it reads the body
        connection.sendall(body[: len(body) // 2])
        yield connection


def is_sent_away(collector: CollectorProcess) -> bool:
    status, headers, _ = collector.post("/v1/traces", b"", {"Content-Type": PROTOBUF})
    return (status, headers.get("retry-after")) == (503, "2")


def test_under_way(started_collector: CollectorProcess) -> None:
    """A request in progress is answered, while new ones are refused with a retry delay."""
    body = make_request(make_span("half"))
    with half_sent(started_collector, body) as connection:
        started_collector.ask_to_end()
        wait_until(lambda: is_sent_away(started_collector))
        error = refused_by_grpc(started_collector, b"")
        trailers = [key for key, _ in error.trailing_metadata()]
        assert (error.code(), error.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            "The collector is shutting down",
        )
        assert trailers == ["grpc-status-details-bin", "google.rpc.retryinfo-bin"]
        connection.sendall(body[len(body) // 2 :])
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert started_collector.wait_end() == 0


@at_night
def test_idle_connections(started_collector: CollectorProcess) -> None:
    """Idle connections do not delay a stop."""
    connection = HTTPConnection(urlsplit(started_collector.endpoint).netloc, timeout=120)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    with grpc.insecure_channel(started_collector.grpc) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        assert export(b"", timeout=120) == b""
        started = time.monotonic()
        status = started_collector.stop()
        took_s = time.monotonic() - started
    connection.close()
    assert (status, took_s < IN_TIME_S) == (0, True), took_s


@at_night
def test_asked_twice(started_collector: CollectorProcess) -> None:
    """A second stop signal ends the collector without waiting for requests in progress."""
    with half_sent(started_collector, make_request(make_span("half"))):
        started_collector.ask_to_end()
        wait_until(lambda: is_sent_away(started_collector))
        started = time.monotonic()
        status = started_collector.stop()
    took_s = time.monotonic() - started
    assert (status, took_s < IN_TIME_S) == (0, True), took_s
