"""Slow, silent, broken or hostile clients do not disturb the other clients."""

import random
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from tests.support.collector import CollectorProcess, running
from tests.support.load import PROTOBUF, make_request
from tests.support.sampling import at_night
from tests.support.senders import EXPORT
from tests.support.waiting import elapsed, wait_until

TIMEOUT_S = 3
IDLE = 1_000
SPARE = 2
PAUSE_S = 0.1
USUAL_S = 1.0
SLOWER = 4
SLOWEST_S = 4.0
HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Yield a collector that waits for requests for only three seconds."""
    data_dir = tmp_path_factory.mktemp("data")
    with running(data_dir, "--request-timeout-s", str(TIMEOUT_S)) as process:
        with neighbour(process) as client:  # loads the modules that later requests use
            wait_until(lambda: len(client.waits_s) >= 10)
        yield process


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Raise this process's limit of open files for a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * IDLE)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Neighbour(threading.Thread):
    """A well-behaved client that keeps sending over HTTP and gRPC and records its waits."""

    def __init__(self, collector: CollectorProcess) -> None:
        super().__init__()
        self._collector = collector
        self._stopped = threading.Event()
        self.waits_s: list[float] = []
        self.answers: set[object] = set()

    def run(self) -> None:
        with grpc.insecure_channel(self._collector.grpc) as channel:
            export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
            while not self._stopped.wait(PAUSE_S):
                self._send(self._send_http)
                self._send(lambda body: export(body, timeout=SLOWEST_S))

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _send_http(self, body: bytes) -> bytes:
        status, _, answer = self._collector.post("/v1/traces", body, PROTOBUF)
        return answer if status == 200 else str(status).encode()

    def _send(self, send: Callable[[bytes], bytes]) -> None:
        body = make_request("neighbour", 1).SerializeToString()
        started = time.monotonic()
        try:
            self.answers.add(send(body))
        except (OSError, grpc.RpcError) as error:
            self.answers.add(repr(error))
        self.waits_s.append(time.monotonic() - started)


def usual_s(client: Neighbour) -> float:
    """Return a wait that nine in ten do not exceed."""
    return sorted(client.waits_s)[int(len(client.waits_s) * 0.9) - 1]


@contextmanager
def neighbour(collector: CollectorProcess) -> Iterator[Neighbour]:
    client = Neighbour(collector)
    client.start()
    try:
        yield client
    finally:
        client.stop()


def sockets_of(pid: int) -> int:
    """Count the sockets of a process, because the store's threads open other files."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(descriptor.readlink()).startswith("socket:")
    return found


def place(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("http://").rpartition(":")
    return host, int(port)


def connect(address: str) -> socket.socket:
    return socket.create_connection(place(address), timeout=10)


def answer_of(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    received = b""
    try:
        while part := connection.recv(65_536):
            received += part
    except ConnectionResetError:  # it closed with unread data
        pass
    return received


def status_of(answer: bytes) -> int | None:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


def whole_request() -> bytes:
    body = make_request("hostile", 1).SerializeToString()
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def one_byte_a_second(collector: CollectorProcess) -> None:
    """Requests whose bodies arrive a byte per second time out with 408."""
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(collector.endpoint)) for _ in range(50)]
        for connection in slow:
            connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
        for _ in range(TIMEOUT_S + 1):
            wait_until(elapsed(1))  # makes the client slow
            for connection in slow:
                try:
                    connection.send(b"x")
                except OSError:
                    continue
        assert {status_of(answer_of(connection)) for connection in slow} == {408}


def slow_heads(collector: CollectorProcess) -> None:
    """Requests whose headers never end time out with 408."""
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(collector.endpoint)) for _ in range(50)]
        for connection in slow:
            connection.sendall(HEAD + b"X-Slow: ")
        assert {status_of(answer_of(connection)) for connection in slow} == {408}


def idle(collector: CollectorProcess) -> None:
    """A thousand silent connections are accepted, and closed after the timeout."""
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(collector.endpoint)) for _ in range(IDLE)]
        silent += [stack.enter_context(connect(collector.grpc)) for _ in range(IDLE // 10)]
        assert [answer_of(connection) for connection in silent[:IDLE]] == [b""] * IDLE


def half_closed(collector: CollectorProcess) -> None:
    """A client that half-closes gets a response only if its request is complete."""
    for _ in range(20):
        with connect(collector.endpoint) as connection:
            connection.sendall(whole_request())
            connection.shutdown(socket.SHUT_WR)
            assert status_of(answer_of(connection)) == 200
        with connect(collector.endpoint) as connection:
            connection.sendall(whole_request()[:-10])
            connection.shutdown(socket.SHUT_WR)
            assert status_of(answer_of(connection)) in {None, 400}


def vanishing(collector: CollectorProcess) -> None:
    """Connections are reset while sending headers or bodies, or awaiting a response."""
    request = whole_request()
    for number in range(300):
        with connect(collector.grpc if number % 10 == 0 else collector.endpoint) as connection:
            connection.sendall(request[: len(request) * (number % 7) // 6])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def header_floods(collector: CollectorProcess) -> None:
    """Too many headers, a header that is too long, and an endless one are refused."""
    many = b"".join(b"X-%d: y\r\n" % number for number in range(10_000))
    for flood in (many, b"X-Long: " + b"y" * 1_000_000 + b"\r\n", b"X-Endless: " + b"y" * 200_000):
        for _ in range(10):
            with connect(collector.endpoint) as connection:
                try:
                    connection.sendall(HEAD + flood)
                except OSError:
                    continue  # it was closed before everything was sent
                assert status_of(answer_of(connection)) in {431, 400, None}


def garbage_behind(collector: CollectorProcess) -> None:
    """Garbage after a request ends the connection; pipelined requests are answered."""
    for _ in range(20):
        with connect(collector.endpoint) as connection:
            connection.sendall(whole_request() + b"\x00\xff garbage \r\n\r\n")
            assert status_of(answer_of(connection)) in {200, 400, None}
    with connect(collector.endpoint) as connection:
        connection.sendall(whole_request() * 20 + HEAD + b"Connection: close\r\n\r\n")
        assert answer_of(connection).count(b"HTTP/1.1 200 OK\r\n") >= 20


def wrong_protocol(collector: CollectorProcess) -> None:
    """Other protocols and random bytes on either port are refused, or the connection closed."""
    bytes_ = random.Random(7)  # noqa: S311 - guards nothing
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    told = [whole_request(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00" * 20]
    for _ in range(20):
        for said in (*told, bytes_.randbytes(2_000)):
            with connect(collector.grpc) as connection:
                connection.sendall(said)
                assert not answer_of(connection).startswith(b"HTTP/1.1 200")
        for said in (preface, told[-1], bytes_.randbytes(2_000) + b"\r\n\r\n"):
            with connect(collector.endpoint) as connection:
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
                assert status_of(answer_of(connection)) in {None, 400, 431}


def broken_frames(collector: CollectorProcess) -> None:
    """Random HTTP/2 frames only end their own connection, and nothing is printed."""
    printed = collector.output
    frames = random.Random(8)  # noqa: S311 - guards nothing
    for _ in range(100):
        with connect(collector.grpc) as connection:
            connection.sendall(
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
            )
            for _ in range(5):
                payload = frames.randbytes(frames.randrange(100))
                head = len(payload).to_bytes(3) + frames.randbytes(2) + bytes(3) + b"\x01"
                try:
                    connection.sendall(head + payload)
                except OSError:
                    break
    assert collector.output == printed


def unread_answers(collector: CollectorProcess) -> None:
    """Clients that request much and never read delay nobody."""
    ask = b"GET /static/vendor/htmx.min.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(place(collector.endpoint))
            connection.sendall(ask * 100)
        wait_until(elapsed(2))  # meanwhile, others are answered


@at_night
@pytest.mark.parametrize(
    "behave",
    [
        one_byte_a_second,
        slow_heads,
        idle,
        half_closed,
        vanishing,
        header_floods,
        garbage_behind,
        wrong_protocol,
        broken_frames,
        unread_answers,
    ],
    ids=lambda behave: behave.__name__,
)
def test_service_goes_on(
    collector: CollectorProcess, behave: Callable[[CollectorProcess], None]
) -> None:
    """Other clients are still answered at once, and all sockets are closed afterwards."""
    with neighbour(collector) as alone:
        wait_until(lambda: len(alone.waits_s) >= 10)
    before = sockets_of(collector.pid)
    with neighbour(collector) as client:
        behave(collector)
        wait_until(lambda: len(client.waits_s) >= 10)
    assert client.answers == {b""}
    # Without these clients, a wait is as long as the machine is busy.
    assert usual_s(client) < max(USUAL_S, SLOWER * usual_s(alone))
    assert max(client.waits_s) < SLOWEST_S
    wait_until(lambda: sockets_of(collector.pid) <= before + SPARE)


def test_memory(collector: CollectorProcess) -> None:
    """After all these clients, the collector's peak memory is within its limit."""
    assert collector.peak_mb < 1_200
