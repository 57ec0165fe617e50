"""Tests of the destinations of alert messages: which ones are allowed, and which are never used."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any, Final

import pytest

from otel_ml_collector.alerts.messages import AlertRequest
from otel_ml_collector.alerts.sender import Undelivered, post
from otel_ml_collector.outgoing import is_allowed
from otel_ml_collector.settings.alert_targets import AlertTarget
from tests.support.certificates import make_certificate
from tests.support.otel_ml_collector.alerts.world import make_target
from tests.support.otlp_sink import Reply, http_sink
from tests.support.sampling import sampled

REQUEST: Final = AlertRequest(b'{"a":1}', {"webhook-id": "7"})
PRIVATE: Final = (
    "127.0.0.1",
    "127.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "198.18.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00::1",
    "fec0::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:db8::1",
)
NEVER: Final = ("0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:0.0.0.0", "", "localhost", "1")  # noqa: S104
# Names and spellings of this machine that attackers use.
DISGUISED: Final = (
    "localhost",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "127.0.0.1",
)


@sampled(8)
@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    """A private, loopback or link-local address is refused unless the settings allow it."""
    assert not is_allowed(address, allow_private=False)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    """A public address is allowed."""
    assert is_allowed(address, allow_private=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.1.1", "fd00::1", "::1"])
def test_allowed_private_addresses(address: str) -> None:
    """A private address is allowed if the settings allow private addresses."""
    assert is_allowed(address, allow_private=True)


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"],
)
def test_link_local_addresses(address: str) -> None:
    """A link-local address in any spelling is refused if link-local addresses are excluded."""
    assert is_allowed(address, allow_private=True)
    assert not is_allowed(address, allow_private=True, allow_link_local=False)


@sampled(2)
@pytest.mark.parametrize("address", NEVER)
def test_no_machine(address: str) -> None:
    """An address that does not belong to one machine is never allowed."""
    assert not is_allowed(address, allow_private=True)


@sampled(3)
@pytest.mark.parametrize("host", DISGUISED)
def test_disguised_addresses(host: str) -> None:
    """No spelling of this machine's address is connected to, unless the settings allow it."""
    with http_sink() as sink:
        port = sink.address.rpartition(":")[2]
        target = AlertTarget("oncall", "webhook", f"http://{host}:{port}/")
        with pytest.raises(Undelivered):
            post(target, REQUEST)
        assert sink.requests == []


def test_name_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is resolved once, so the address that was checked is the one connected to."""
    asked: list[object] = []
    answers = ["127.0.0.1", "93.184.216.34", "127.0.0.1"]

    def answer(host: str, port: int, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        place = (answers[(len(asked) - 1) % 3], port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with http_sink() as sink:
        port = sink.address.rpartition(":")[2]
        with pytest.raises(Undelivered, match="has no public address"):
            post(AlertTarget("oncall", "webhook", f"http://rebind.example:{port}/"), REQUEST)
    assert asked == ["rebind.example"]


def test_post() -> None:
    """A message arrives with its own headers and the headers of its receiver."""
    with http_sink() as sink:
        target = make_target("webhook", sink.address, "/a?b=c", headers=(("x-team", "ml"),))
        post(target, REQUEST)
        [sent] = sink.requests
    assert (sent.path, sent.body) == ("/a?b=c", REQUEST.body)
    headers = {name.lower(): value for name, value in sent.headers.items()}
    assert headers.pop("user-agent").startswith("otel-ml/")
    assert headers == {
        "accept-encoding": "identity",
        "connection": "close",
        "content-length": "7",
        "content-type": "application/json",
        "host": sink.address,
        "webhook-id": "7",
        "x-team": "ml",
    }


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(status: int) -> None:
    """A redirect is not followed, and the error does not contain its address."""
    with http_sink() as sink, http_sink() as other:
        headers = [("Location", f"http://{other.address}/secret")]
        sink.replies.append(Reply(status, headers))
        with pytest.raises(Undelivered, match=f"^{status}: a redirect, which is not followed$"):
            post(make_target("webhook", sink.address), REQUEST)
        assert (len(sink.requests), other.requests) == (1, [])


@sampled(2)
@pytest.mark.parametrize(
    ("status", "is_final"),
    [(400, True), (413, True), (422, True), (401, False), (404, False), (429, False), (500, False)],
)
def test_refusals(status: int, is_final: bool) -> None:
    """An error tells whether the receiver refuses the message for good or may accept it later."""
    with http_sink() as sink:
        sink.replies.append(Reply(status, body=b"invalid_blocks\r\n\x1b[31m" + b"x" * 10_000))
        with pytest.raises(Undelivered) as refused:
            post(make_target("slack", sink.address), REQUEST)
    assert refused.value.is_final is is_final
    assert "invalid_blocks" in str(refused.value)
    assert len(str(refused.value)) <= 200
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("text", "rest_s"), [("7", 7.0), ("99999", 600.0), ("-1", None), ("soon", None), ("²", None)]
)
def test_retry_after(text: str, rest_s: float | None) -> None:
    """The Retry-After header of a receiver is obeyed, up to ten minutes."""
    with http_sink() as sink:
        sink.replies.append(Reply(429, [("Retry-After", text)]))
        with pytest.raises(Undelivered) as refused:
            post(make_target("slack", sink.address), REQUEST)
    assert refused.value.retry_after_s == rest_s


def test_secrets_are_not_told() -> None:
    """If a receiver's response repeats its secrets, the error does not contain them."""
    with http_sink() as sink:
        sink.replies.append(Reply(500, body=b"/services/T0/B0/s3cret Bearer t0ken hunter2hunter2"))
        target = make_target(
            "slack",
            sink.address,
            "/services/T0/B0/s3cret",
            headers=(("authorization", "Bearer t0ken"), ("x-key", "hunter2hunter2")),
        )
        with pytest.raises(Undelivered) as refused:
            post(target, REQUEST)
    assert "s3cret" not in str(refused.value)
    assert "t0ken" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


@contextmanager
def dripping(line: bytes) -> Iterator[str]:
    """Serve a response that never ends, one piece every tenth of a second."""
    ends = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            try:
                while not ends.wait(0.1):
                    connection.sendall(line)
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        ends.set()
        thread.join(5)
        server.close()


@sampled(1)
@pytest.mark.parametrize("line", [b"", b"HTTP/1.1 200 OK\r\n", b"x"])
def test_slow_target(line: bytes) -> None:
    """A request to a receiver that responds piece by piece ends at its timeout."""
    with dripping(line) as address:
        began_s = time.monotonic()
        with suppress(Undelivered):  # a complete status line of 200 counts as delivered
            post(make_target("webhook", address, timeout_s=1), REQUEST)
        assert time.monotonic() - began_s < 5


def test_long_answer() -> None:
    """Only the beginning of a long response is read."""
    with http_sink() as sink:
        sink.replies.append(Reply(200, body=b"x" * 50_000_000))
        post(make_target("webhook", sink.address), REQUEST)


def test_nobody_there() -> None:
    """The error for a receiver that does not listen names the refused connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Undelivered, match="ConnectionRefusedError"):
        post(make_target("webhook", f"127.0.0.1:{port}"), REQUEST)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[SSLContext, Path]:
    """A TLS context for a server, and the certificate to trust."""
    made = make_certificate(tmp_path_factory.mktemp("tls"))
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    return context, made.cert


def test_tls(tls: tuple[SSLContext, Path]) -> None:
    """A message is sent over TLS to a receiver whose certificate is trusted by the settings."""
    with http_sink(tls=tls[0]) as sink:
        port = sink.address.rpartition(":")[2]
        url = f"https://localhost:{port}/"
        post(AlertTarget("oncall", "webhook", url, allow_private=True, tls_ca=tls[1]), REQUEST)
        assert len(sink.requests) == 1


def test_unknown_certificate(tls: tuple[SSLContext, Path]) -> None:
    """A receiver whose certificate is not trusted gets nothing."""
    with http_sink(tls=tls[0]) as sink:
        port = sink.address.rpartition(":")[2]
        target = AlertTarget("oncall", "webhook", f"https://localhost:{port}/", allow_private=True)
        with pytest.raises(Undelivered, match="CERTIFICATE_VERIFY_FAILED"):
            post(target, REQUEST)
        assert sink.requests == []
