"""Tests of the limits for a client, with a real collector whose limits are small."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from otel_ml_collector.serve.http_server import BODY_BYTES_PER_S, HEAD_BYTES, HEADERS
from tests.support.collector import CollectorProcess, running
from tests.support.load import PROTOBUF, make_request
from tests.support.sampling import at_night, sampled
from tests.support.waiting import elapsed, wait_until

CONNECTIONS = 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
POST = (
    b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/x-protobuf\r\ncontent-length: %d\r\n\r\n"
)
GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n"
ALIVE = '{"status":"alive","program":"otel-ml"}'
LATE = "The request did not arrive within 1 s"
LARGE = f"The head is too large: expected at most {HEADERS} headers and {HEAD_BYTES} bytes"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector with a request timeout of one second and a low limit of connections."""
    with running(
        tmp_path_factory.mktemp("data"),
        *("--request-timeout-s", "1", "--max-connections", str(CONNECTIONS)),
        *("--log-format", "json"),
    ) as process:
        yield process


UNREAD: Final = "Invalid HTTP request received."
CODING: Final = "Invalid Transfer-Encoding: expected chunked"


@contextmanager
def connect(address: str) -> Iterator[socket.socket]:
    parts = urlsplit(address if "://" in address else f"//{address}")
    assert parts.hostname
    assert parts.port
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        yield connection


def read(connection: socket.socket) -> tuple[int, str]:
    """Read to the end of the connection; return status and body of the response, 0 for none."""
    answer = b""
    while part := connection.recv(65_536):
        answer += part
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def hold_all(collector: CollectorProcess, stack: ExitStack) -> list[socket.socket]:
    """Open as many served connections as allowed, after those of other tests are gone."""
    held: list[socket.socket] = []

    def hold_next() -> bool:
        connection = stack.enter_context(connect(collector.endpoint))
        connection.sendall(GET + b"\r\n")
        if connection.recv(12) == b"HTTP/1.1 200":
            held.append(connection)
        return len(held) == CONNECTIONS

    wait_until(hold_next)
    return held


@sampled(1)
@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", (0, "")),
        (b"\r\n\r\n", (0, "")),
        (b"GET /healthz HT", (408, LATE)),
        (GET, (408, LATE)),
        (POST % 100 + b"half", (408, LATE)),
        (GET + b"x: 1\r\n" * HEADERS + b"\r\n", (431, LARGE)),
        (GET + b"x: " + b"1" * HEAD_BYTES + b"\r\n\r\n", (431, LARGE)),
        (b"NONSENSE\r\n\r\n", (400, UNREAD)),
    ],
    ids=["silent", "blank", "line", "head", "body", "headers", "long", "nonsense"],
)
def test_refused(collector: CollectorProcess, sent: bytes, answer: tuple[int, str]) -> None:
    """If no valid request arrives, the connection is closed, with an error if one was begun."""
    with connect(collector.endpoint) as connection:
        connection.sendall(sent)
        assert read(connection) == answer


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"host: evil.example", "The request has 2 Host headers: expected one"),
        (b"Host: localhost", "The request has 2 Host headers: expected one"),
        (b"transfer-encoding: xchunked, chunked", CODING),
        (b"transfer-encoding: chunked, chunked", UNREAD),
        (b"transfer-encoding: gzip, chunked", CODING),
        (b"transfer-encoding: chunked\r\ntransfer-encoding: chunked", UNREAD),
    ],
)
def test_smuggled(collector: CollectorProcess, header: bytes, message: str) -> None:
    """A head that two servers may read differently is refused, and the connection is closed."""
    head = POST.replace(b"content-length: %d", header)
    with connect(collector.endpoint) as connection:
        connection.sendall(head + b"0\r\n\r\n" + GET + b"\r\n")
        assert read(connection) == (400, message)


def test_chunked(collector: CollectorProcess) -> None:
    """A chunked body is accepted in any spelling of the header."""
    head = POST.replace(b"content-length: %d", b"Transfer-Encoding:  Chunked ")
    with connect(collector.endpoint) as connection:
        connection.sendall(head + b"0\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_endless_header(collector: CollectorProcess) -> None:
    """A header without an end is cut off before it takes much memory."""
    with connect(collector.endpoint) as connection:
        connection.sendall(GET + b"x: ")
        with pytest.raises(ConnectionError):
            connection.sendall(b"1" * HEAD_BYTES * 1_000)


def test_endless_trailer(collector: CollectorProcess) -> None:
    """Headers after the last chunk have the same limit as those before the body."""
    head = POST.replace(b"content-length: %d", b"transfer-encoding: chunked")
    with connect(collector.endpoint) as connection:
        connection.sendall(head + b"1\r\n!\r\n0\r\n" + b"x: 1\r\n" * HEADERS)
        assert read(connection) == (431, LARGE)


def test_slow_body_of_answered_request(collector: CollectorProcess) -> None:
    """Once a request is answered, the rest of its body does not keep the connection open."""
    with connect(collector.endpoint) as connection:
        connection.sendall(POST.replace(b"/v1/traces", b"/nowhere") % 100 + b"half")
        assert read(connection)[0] == 404


def test_fast_body(collector: CollectorProcess) -> None:
    """A body that arrives fast enough may take longer than the request timeout."""
    parts = 8
    head = POST.replace(b"host:", b"connection: close\r\nhost:") % (parts * BODY_BYTES_PER_S)
    with connect(collector.endpoint) as connection:
        connection.sendall(head)
        for _ in range(parts):
            connection.sendall(b"\xff" * BODY_BYTES_PER_S)
            wait_until(elapsed(0.25))
        assert read(connection)[0] == 400  # it arrived complete, and is no protobuf


def test_half_closed(collector: CollectorProcess) -> None:
    """A client that has closed its sending side gets its response."""
    with connect(collector.endpoint) as connection:
        connection.sendall(GET + b"\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert read(connection) == (200, ALIVE)


def test_many_connections(collector: CollectorProcess) -> None:
    """A connection beyond the limit may only ask for health; the others are served."""
    with ExitStack() as stack:
        held = hold_all(collector, stack)
        refused = (503, f"All {CONNECTIONS} connections are in use: try again later")
        for request, answer in (
            (GET.replace(b"/healthz", b"/api/v1/projects"), refused),
            (b"", refused),  # a client that sends nothing
            (GET, (200, ALIVE)),
        ):
            with connect(collector.endpoint) as connection:
                connection.sendall(request + b"\r\n" if request else request)
                assert read(connection) == answer
        held[0].recv(65_536)
        held[0].sendall(GET + b"\r\n")
        assert held[0].recv(12) == b"HTTP/1.1 200"
    wait_until(lambda: collector.get_text("/healthz") == ALIVE)


def test_many_grpc_connections(collector: CollectorProcess) -> None:
    """Connections to gRPC beyond the limit are closed."""

    def answered() -> int:
        count = 0
        with ExitStack() as stack:
            for _ in range(CONNECTIONS + 5):
                connection = stack.enter_context(connect(collector.grpc))
                try:
                    connection.sendall(PREFACE)
                    count += bool(connection.recv(9))
                except ConnectionError:
                    continue
        assert count <= CONNECTIONS
        return count

    wait_until(lambda: answered() == CONNECTIONS)  # those of other tests are gone by then


def test_log_of_refusals(collector: CollectorProcess) -> None:
    """A sender of many invalid requests causes one log line."""
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": "p"}
    for _ in range(20):
        assert collector.post("/v1/traces", b"\xff", headers)[0] == 400

    def refusals() -> list[dict[str, object]]:
        lines = [json.loads(line) for line in collector.output.splitlines() if line[0] == "{"]
        return [line for line in lines if line["logger"] == "otel_ml_collector.refusals"]

    wait_until(lambda: bool(refusals()))
    [line] = refusals()
    assert (line["level"], line["transport"], line["answer"]) == ("warning", "http", "refused")


def limit_files(count: int) -> tuple[str, ...]:
    """Return the start of a command line with this limit of open files."""
    return ("sh", "-c", f'ulimit -n {count}; exec "$@"', "sh")


@at_night
def test_few_files(tmp_path: Path) -> None:
    """With a low file limit, half the files stay free for the store, so ingest survives a flood."""
    process = CollectorProcess(tmp_path, "--max-connections", "300", launcher=limit_files(600))
    try:
        process.wait_ready()
        assert (
            "The process may open 600 files, so --max-connections is lowered from 300 to 150: for "
            "more connections raise `ulimit -n` to 1200"
        ) in process.output
        with ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(connect(process.endpoint))
            kept = stack.enter_context(connect(process.grpc))
            kept.sendall(PREFACE)
            body = make_request("p", 3).SerializeToString()
            wait_until(lambda: process.status("/readyz") == 200)
        process.deliver(body, PROTOBUF)
        assert len(process.runs("p")) == 3
    finally:
        process.kill()


@at_night
def test_too_few_files(tmp_path: Path) -> None:
    """With a limit below 300 files, the collector refuses to start with one line."""
    command = [*limit_files(299), sys.executable, "-m", "otel_ml_collector", "serve"]
    done = subprocess.run(
        [*command, "--data-dir", tmp_path / "data"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "otel-ml: The process may open 299 files: expected at least 300; raise `ulimit -n`, or "
        "LimitNOFILE of the unit\n"
    )
