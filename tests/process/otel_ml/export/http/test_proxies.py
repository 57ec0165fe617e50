"""Requests through real proxies: forwarded, tunnelled, refused."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from otel_ml.export.answer import Answer
from tests.support.otel_ml.export.http.certificates import server_tls
from tests.support.otel_ml.export.http.servers import (
    DELIVERED,
    LONG_S,
    Receiver,
    open_raw,
    open_receiver,
    open_sender,
    read_request,
    send_once,
)
from tests.support.otel_ml.otlp_sink import closed_address


@dataclass(slots=True)
class Proxy:
    """A proxy that connects every host to one server and records the requests."""

    address: str
    target: tuple[str, int]
    asked: list[bytes] = field(default_factory=list)
    refusal: bytes = b""


@contextmanager
def open_proxy(target: str, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    host, port = target.rpartition("/")[2].split(":")
    proxy = Proxy("", (host, int(port)))

    def forward(connection: socket.socket) -> None:
        if tls is not None:
            connection = tls.wrap_socket(connection, server_side=True)
        with connection, socket.create_connection(proxy.target) as onward:
            request = read_request(connection)
            proxy.asked.append(request)
            if proxy.refusal:
                connection.sendall(proxy.refusal)
                return
            if request.startswith(b"CONNECT"):
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                onward.sendall(request)
            back = threading.Thread(target=pump, args=(onward, connection))
            back.start()
            pump(connection, onward)
            back.join()

    with open_raw(forward) as address:
        proxy.address = address.replace("http:", "https:") if tls else address
        yield proxy


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy bytes until the source ends."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_proxy_forwards(monkeypatch: pytest.MonkeyPatch, receiver: Receiver, variable: str) -> None:
    """Plain requests are sent to the proxy with the full URL."""
    with open_proxy(receiver.address) as proxy:
        monkeypatch.setenv(variable, proxy.address)
        with open_sender("http://collector:4318") as sender:
            assert [sender.post(b"body", LONG_S) for _ in range(3)] == [DELIVERED] * 3
    assert proxy.asked[0].startswith(b"POST http://collector:4318/v1/traces HTTP/1.1\r\n")
    assert [request.headers["host"] for request in receiver.requests] == ["collector:4318"] * 3
    assert (len(proxy.asked), receiver.connections) == (1, 1)


def test_proxy_tunnels(
    monkeypatch: pytest.MonkeyPatch, certificates: Path, receiver: Receiver
) -> None:
    """TLS requests go through a tunnel, and the proxy only sees the host name."""
    with open_receiver(server_tls(certificates)) as secure, open_proxy(secure.address) as proxy:
        monkeypatch.setenv("https_proxy", proxy.address)
        headers = {"authorization": "Bearer sk-secret"}
        ca_file = str(certificates / "ca.pem")
        with open_sender("https://collector:4318", headers=headers, ca_file=ca_file) as sender:
            assert [sender.post(b"body", LONG_S) for _ in range(3)] == [DELIVERED] * 3
    [asked] = proxy.asked
    assert asked.startswith(b"CONNECT collector:4318 HTTP/1.")
    assert b"secret" not in asked
    assert (len(secure.requests), secure.connections) == (3, 1)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_with_tls(monkeypatch: pytest.MonkeyPatch, certificates: Path, scheme: str) -> None:
    """The connection to the proxy can use TLS with a system authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    tls = server_tls(certificates)
    with (
        open_receiver(tls if scheme == "https" else None) as receiver,
        open_proxy(receiver.address, tls) as proxy,
    ):
        monkeypatch.setenv(f"{scheme}_proxy", proxy.address)
        with open_sender(f"{scheme}://collector:4318") as sender:
            assert [sender.post(b"body", LONG_S) for _ in range(3)] == [DELIVERED] * 3
    assert len(receiver.requests) == 3


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_wants_a_password(
    monkeypatch: pytest.MonkeyPatch, certificates: Path, scheme: str
) -> None:
    """User and password from the proxy's address are sent to the proxy."""
    tls = server_tls(certificates) if scheme == "https" else None
    with open_receiver(tls) as receiver, open_proxy(receiver.address) as proxy:
        login = proxy.address.replace("//", "//me:p%40ss@")
        monkeypatch.setenv(f"{scheme}_proxy", login.removeprefix("http://"))
        ca_file = str(certificates / "ca.pem")
        assert send_once(f"{scheme}://collector:4318", ca_file=ca_file) == DELIVERED
    # printf 'me:p@ss' | base64
    assert b"proxy-authorization: basic bwu6cebzcw==" in proxy.asked[0].lower()


@pytest.mark.parametrize("excepted", ["collector", "other, .collector:4318", "127.0.0.1", "*"])
def test_proxy_is_gone_round(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, excepted: str
) -> None:
    """Hosts in `no_proxy` are reached without the proxy."""
    monkeypatch.setenv("http_proxy", closed_address())
    assert send_once(receiver.address).message == "connection refused"
    host = receiver.address.removeprefix("http://")
    monkeypatch.setenv(
        "no_proxy", excepted.replace("collector:4318", host).replace("collector", host)
    )
    assert send_once(receiver.address) == DELIVERED


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (b"HTTP/1.1 407 me:secret\r\ncontent-length: 0\r\n\r\n", "proxy answered 407"),
        (b"secret\r\n", "no HTTP answer"),
        (b"", "connection closed by the receiver"),
    ],
)
def test_proxy_refuses(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, refusal: bytes, message: str
) -> None:
    """A proxy that refuses a tunnel is reported as the reason."""
    with open_proxy(receiver.address) as proxy:
        proxy.refusal = refusal or b"\r"
        monkeypatch.setenv("https_proxy", proxy.address)
        answer = send_once("https://collector:4318")
    assert (answer.delivered, answer.retry) == (False, True)
    assert answer.message in {message, "no HTTP answer"}


@pytest.mark.parametrize(
    "address",
    ["socks5://me:secret@127.0.0.1:1", "http://me:secret@127.0.0.1:secret", "http://[secret"],
)
def test_unsupported_proxy(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """An unsupported proxy is reported and not bypassed."""
    monkeypatch.setenv("http_proxy", address)
    assert send_once("http://collector:4318") == Answer(
        delivered=False,
        message="Unsupported proxy: expected an address such as http://proxy:3128",
    )
