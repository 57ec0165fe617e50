"""How the sender handles responses: status, retry delay, invalid and truncated responses."""

import email.utils
import gc
import socket
import threading
import time
from http import HTTPStatus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_ml.export.answer import Answer
from tests.support.examples import examples
from tests.support.otel_ml.export.http.servers import (
    DELIVERED,
    LONG_S,
    SHORT_S,
    Receiver,
    drip,
    open_raw,
    open_sender,
    partial,
    read_request,
    send_once,
    takes,
)
from tests.support.sampling import sampled


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_success(receiver: Receiver, status: int) -> None:
    """Any status of success is a delivery."""
    receiver.answer(status)
    assert send_once(receiver.address) == DELIVERED


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "429 Too Many Requests"),
        (502, "502 Bad Gateway"),
        (503, "503 Service Unavailable"),
        (504, "504 Gateway Timeout"),
    ],
)
def test_retryable_status(receiver: Receiver, status: int, message: str) -> None:
    """Four statuses ask for a retry."""
    receiver.answer(status)
    assert send_once(receiver.address) == Answer(delivered=False, retry=True, message=message)


@sampled(4)
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (304, "304 Not Modified: redirects are not followed"),
        (400, "400 Bad Request"),
        (401, "401 Unauthorized"),
        (403, "403 Forbidden"),
        (404, "404 Not Found"),
        (407, "407 Proxy Authentication Required"),
        (408, "408 Request Timeout"),
        (415, "415 Unsupported Media Type"),
        (499, "499"),
        (500, "500 Internal Server Error"),
        (501, "501 Not Implemented"),
        (599, "599"),
        (999, "999"),
    ],
)
def test_final_status(receiver: Receiver, status: int, message: str) -> None:
    """Other statuses are final even with a retry delay, and 400 means invalid content."""
    receiver.answer(status, retry_after="1")
    answer = Answer(delivered=False, message=message, invalid=status == HTTPStatus.BAD_REQUEST)
    assert send_once(receiver.address) == answer


def test_too_large(receiver: Receiver) -> None:
    """Status 413 is reported as too large."""
    receiver.answer(413)
    answer = send_once(receiver.address)
    assert (answer.delivered, answer.retry, answer.too_large) == (False, False, True)


def test_early_refusal_of_a_long_body_is_read() -> None:
    """A response sent before the whole body was read is understood."""

    def refuse(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 413 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    with open_raw(refuse) as address, open_sender(address) as sender:
        assert sender.post(b"x" * 32 * 1024 * 1024, LONG_S).too_large


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://other.example:4318/v1/traces?key=secret", " (to https://other.example:4318)"),
        ("https://me:secret@other/v1/traces", ""),
        ("/secret", ""),
    ],
)
def test_redirect_is_not_followed(receiver: Receiver, location: str, shown: str) -> None:
    """A redirect is not followed, and the message has its destination without secrets."""
    receiver.answer(307, location=location)
    assert send_once(receiver.address) == Answer(
        delivered=False, message=f"307 Temporary Redirect: redirects are not followed{shown}"
    )


@sampled(4)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("0.5", 0.5),
        ("301", 300.0),
        ("9" * 5000, 300.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 300.0),
        ("-1", None),
        ("soon", None),
        ("\xb2", None),
        ("", None),
        ("nan", None),
    ],
)
def test_time_of_the_next_try(receiver: Receiver, text: str, expected: float | None) -> None:
    """A retry delay in seconds or as a date is limited to between 0 and 5 minutes."""
    receiver.answer(503, retry_after=text)
    assert send_once(receiver.address).retry_after_s == expected


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_date_of_the_next_try(receiver: Receiver, zone: str) -> None:
    """A date is a delay from now, whatever the local time zone."""
    text = email.utils.formatdate(time.time() + 100, usegmt=True).replace("GMT", zone)
    receiver.answer(429, retry_after=text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        answer = send_once(receiver.address)
    time.tzset()
    assert 80 < (answer.retry_after_s or 0) <= 100


def test_long_answer_is_not_read() -> None:
    """A response of more than 4 MiB is judged by its status and not read further."""

    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(partial(1, "x" * 65536))

    with open_raw(talk) as address:
        assert send_once(address) == DELIVERED


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"200 OK\r\ncontent-length: 9\r\n\r\nab", DELIVERED),
        (b"200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nab", DELIVERED),
        (
            b"503 No\r\ncontent-length: 9\r\n\r\nab",
            Answer(delivered=False, retry=True, message="503 Service Unavailable"),
        ),
    ],
)
def test_answer_that_breaks_off_counts_by_its_status(head: bytes, expected: Answer) -> None:
    """A response with a truncated or invalid body is judged by its status."""

    def break_off(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 " + head)

    with open_raw(break_off) as address:
        assert send_once(address) == expected


def test_answer_that_drips_counts_by_its_status() -> None:
    """A response whose body does not end is abandoned at the timeout, and judged by its status."""

    def drip_body(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        drip(connection, b"x" * 100_000)

    with open_raw(drip_body) as address, takes(SHORT_S, LONG_S):
        assert send_once(address, SHORT_S) == DELIVERED


def test_receiver_that_speaks_something_else() -> None:
    """A response that is not HTTP is reported as such."""
    with open_raw(lambda connection: connection.sendall(b"SSH-2.0-x\r\n")) as address:
        assert send_once(address) == Answer(delivered=False, retry=True, message="no HTTP answer")


def test_odd_lengths_leave_no_socket_open() -> None:
    """An unparsable response closes the connection at once."""
    ended = threading.Event()

    def answer_oddly(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.0 200 OK\r\ncontent-length: 5, 6\r\n\r\n")
        assert connection.recv(1) == b""
        ended.set()

    gc.disable()
    try:
        with open_raw(answer_oddly) as address, open_sender(address) as sender:
            assert sender.post(b"body", LONG_S) == Answer(
                delivered=False, retry=True, message="no HTTP answer"
            )
            assert ended.wait(LONG_S)
    finally:
        gc.enable()


HEAD = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 503\r\n", b"HTTP/1.0 204 x\r\n", b"HTTP/9", b""]
)
LINE = st.sampled_from(
    [
        b"content-length: 5\r\n",
        b"content-length: -5\r\n",
        b"content-length: 5, 6\r\n",
        b"content-length: x\r\n",
        b"transfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip\r\n",
        b"content-encoding: gzip\r\n",
        b"content-type: application/x-protobuf\r\n",
        b"retry-after: x\r\n",
        b"connection: keep-alive\r\n",
        b"location: \xff\r\n",
        b"\r\n",
        b":\r\n",
    ]
)


@given(
    answer=st.builds(lambda *parts: b"".join(parts), HEAD, LINE, LINE, LINE, st.binary(max_size=20))
    | st.binary(max_size=50)
)
@settings(max_examples=examples(200), suppress_health_check=list(HealthCheck))
def test_no_answer_makes_it_raise(answer: bytes) -> None:
    """Whatever bytes arrive, the sender returns an answer: delivered, or not with a reason."""

    def say(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer)

    with open_raw(say) as address:
        found = send_once(address)
    assert found.delivered or found.message
