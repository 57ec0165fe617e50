"""Connections: kept open, shared by threads, replaced when stale, refused."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otel_ml.export.answer import Answer
from otel_ml.export.http import HttpSender
from otel_ml.export.settings import ExportSettings
from tests.support.otel_ml.export.http.certificates import server_tls
from tests.support.otel_ml.export.http.servers import (
    DELIVERED,
    HUNG_UP,
    LONG_S,
    OK,
    Receiver,
    open_raw,
    open_sender,
    read_request,
    send_once,
)
from tests.support.otel_ml.otlp_sink import closed_address


def test_connection_is_kept(receiver: Receiver) -> None:
    """Many requests use one connection, also after failures and responses without a body."""
    with open_sender(receiver.address) as sender:
        for status, body in (
            (200, b""),
            (503, b"x" * 99_999),
            (204, b""),
            (400, b"no"),
            (307, b""),
        ):
            receiver.answer(status, body)
            for _ in range(4):
                sender.post(b"body", LONG_S)
    assert (len(receiver.requests), receiver.connections) == (20, 1)


def test_connections_are_shared_by_threads(receiver: Receiver) -> None:
    """Threads send at the same time over at most two connections."""
    with open_sender(receiver.address) as sender, ThreadPoolExecutor(2) as pool:
        answers = set(pool.map(lambda _: sender.post(b"body", LONG_S), range(100)))
    assert (answers, len(receiver.requests)) == ({DELIVERED}, 100)
    assert receiver.connections <= 2


def test_more_threads_than_kept_connections(receiver: Receiver) -> None:
    """Threads beyond the kept connections open more, which are closed after use."""
    with open_sender(receiver.address) as sender, ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(lambda _: sender.post(b"body", LONG_S), range(100)))
    assert (answers, len(receiver.requests)) == ({DELIVERED}, 100)


def test_closed_sender_opens_again(receiver: Receiver) -> None:
    """Closing a sender twice is harmless, and a later send opens a new connection."""
    with open_sender(receiver.address) as sender:
        assert sender.post(b"body", LONG_S) == DELIVERED
        sender.close()
        sender.close()
        assert sender.post(b"body", LONG_S) == DELIVERED
    assert receiver.connections == 2


def test_opening_connects_nowhere(receiver: Receiver) -> None:
    """Opening a sender loads modules but does not connect."""
    with open_sender(receiver.address) as sender:
        sender.open()
        assert receiver.connections == 0
        assert sender.post(b"body", LONG_S) == DELIVERED


def test_opening_bears_settings_that_cannot_work() -> None:
    """Opening a sender with invalid settings does not raise; each send reports the error."""
    with open_sender("ftp://host") as sender:
        sender.open()
        assert sender.post(b"body", LONG_S).message.startswith("Invalid endpoint")


def test_receiver_that_closes_after_each_answer() -> None:
    """A connection closed by the receiver between two requests is not a failure."""

    def answer_once(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)

    with open_raw(answer_once) as address, open_sender(address) as sender:
        assert {sender.post(b"body" * 1000, LONG_S) for _ in range(200)} == {DELIVERED}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_receiver_that_closes_during_a_request(certificates: Path, tls: bool) -> None:
    """A kept connection that is closed during a request is replaced at once."""
    connections: list[int] = []
    secured = server_tls(certificates)

    def hang_up_second(connection: socket.socket) -> None:
        if tls:
            connection = secured.wrap_socket(connection, server_side=True)
        with connection:
            connections.append(1)
            read_request(connection)
            connection.sendall(OK)
            read_request(connection)

    with open_raw(hang_up_second) as plain:
        address = plain.replace("http:", "https:") if tls else plain
        with open_sender(address, ca_file=str(certificates / "ca.pem")) as sender:
            assert [sender.post(b"body", LONG_S) for _ in range(3)] == [DELIVERED] * 3
    assert len(connections) == 3


def test_all_kept_connections_are_stale() -> None:
    """If all kept connections are stale, a new one is opened."""
    both = threading.Barrier(2)
    first = threading.Semaphore(2)

    def hang_up(connection: socket.socket) -> None:
        read_request(connection)
        if first.acquire(blocking=False):
            both.wait(LONG_S)  # two requests at a time need two connections
        connection.sendall(OK)
        read_request(connection)

    with open_raw(hang_up) as address, open_sender(address) as sender:
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: sender.post(b"body", LONG_S), range(2)))
        assert [*answers, sender.post(b"body", LONG_S)] == [DELIVERED] * 3


def test_new_connection_that_is_closed_is_a_failure() -> None:
    """A new connection closed without a response is not retried at once."""
    connections: list[bytes] = []
    with open_raw(lambda connection: connections.append(read_request(connection))) as address:
        assert send_once(address) == HUNG_UP
    assert len(connections) == 1


def test_next_address_of_a_host_is_tried(receiver: Receiver) -> None:
    """If a host has several addresses, all are tried."""
    assert send_once(receiver.address.replace("127.0.0.1", "localhost")) == DELIVERED


def test_nobody_listens() -> None:
    """A refused connection asks for a retry."""
    assert send_once(closed_address()) == Answer(
        delivered=False, retry=True, message="connection refused"
    )


@pytest.mark.parametrize("host", ["a" * 64, "a..b"])
def test_host_name_that_cannot_be(host: str) -> None:
    """An invalid host name is reported as not found."""
    assert send_once(f"http://{host}:4318") == Answer(
        delivered=False, retry=True, message="host name not found"
    )


@pytest.mark.parametrize("url", ["", "ftp://host/", "http://host:99999/"])
def test_address_that_cannot_be(url: str) -> None:
    """An invalid address is refused without a request or a retry."""
    sender = HttpSender(ExportSettings(url=url, page=""))
    assert sender.post(b"body", LONG_S) == Answer(
        delivered=False,
        message="Invalid endpoint: expected an address such as http://localhost:4318",
    )
