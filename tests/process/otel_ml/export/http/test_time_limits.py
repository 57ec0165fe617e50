"""A request takes no longer than its timeout, whatever the receiver does."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.otel_ml.export.http.certificates import server_tls
from tests.support.otel_ml.export.http.servers import (
    DELIVERED,
    LONG_S,
    SHORT_S,
    TIMED_OUT,
    Receiver,
    drip,
    open_raw,
    open_sender,
    read_request,
    send_once,
    silent,
    takes,
)
from tests.support.sampling import sampled
from tests.support.waiting import elapsed, wait_until


def drip_head(connection: socket.socket) -> None:
    read_request(connection)
    drip(connection, b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 10_000)


def drip_lines(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    drip(connection, b"x: y\r\n" * 10_000)


def continue_for_ever(connection: socket.socket) -> None:
    read_request(connection)
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        wait_until(elapsed(0.02))


@sampled(3)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("handle", [silent, drip_head, drip_lines, continue_for_ever])
def test_slow_receiver_is_left(
    certificates: Path, handle: Callable[[socket.socket], None], tls: bool
) -> None:
    """A receiver that sends nothing, or bytes slowly, takes no longer than the timeout."""
    secured = server_tls(certificates)

    def handle_secured(connection: socket.socket) -> None:
        with secured.wrap_socket(connection, server_side=True) as wrapped:
            handle(wrapped)

    with open_raw(handle_secured if tls else handle) as plain, takes(SHORT_S, LONG_S):
        address = plain.replace("http:", "https:") if tls else plain
        assert send_once(address, SHORT_S, ca_file=str(certificates / "ca.pem")) == TIMED_OUT


def test_slow_handshake_is_left() -> None:
    """A receiver that does not answer the TLS handshake takes no longer than the timeout."""
    with open_raw(silent) as address, takes(SHORT_S, LONG_S):
        assert send_once(address.replace("http:", "https:"), SHORT_S) == TIMED_OUT


def test_slow_proxy_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that does not open the tunnel takes no longer than the timeout."""
    with open_raw(drip_head) as address, takes(SHORT_S, LONG_S):
        monkeypatch.setenv("https_proxy", address)
        assert send_once("https://collector:4318", SHORT_S) == TIMED_OUT


def test_receiver_that_reads_nothing_is_left() -> None:
    """A receiver that does not read a long body takes no longer than the timeout."""
    done = threading.Event()

    def wait(connection: socket.socket) -> None:
        done.wait()

    with open_raw(wait) as address, takes(SHORT_S, LONG_S):
        with open_sender(address) as sender:
            answer = sender.post(b"x" * 64 * 1024 * 1024, SHORT_S)
        done.set()
    assert answer == TIMED_OUT


def test_full_backlog_is_left() -> None:
    """A receiver that does not accept the connection takes no longer than the timeout."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        with takes(SHORT_S, LONG_S):
            assert send_once(f"http://127.0.0.1:{port}", SHORT_S) == TIMED_OUT
        for one in waiting:
            one.close()


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
def test_no_time_is_a_timeout(receiver: Receiver, timeout_s: float) -> None:
    """With a timeout of zero or less, nothing is sent."""
    assert (send_once(receiver.address, timeout_s), receiver.requests) == (TIMED_OUT, [])


def test_time_counts_anew_for_each_request(receiver: Receiver) -> None:
    """Each request has its own timeout, also on a kept connection."""
    with open_sender(receiver.address) as sender:
        assert sender.post(b"body", SHORT_S) == DELIVERED
        wait_until(elapsed(2 * SHORT_S))
        assert sender.post(b"body", SHORT_S) == DELIVERED
    assert receiver.connections == 1
