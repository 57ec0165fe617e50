"""Receivers with TLS: trusted, not trusted, and those that require a client certificate."""

import os
import pty
import select
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest

from otel_ml.export.answer import Answer
from tests.support.otel_ml.export.http.certificates import server_tls
from tests.support.otel_ml.export.http.servers import (
    DELIVERED,
    HUNG_UP,
    LONG_S,
    Receiver,
    open_receiver,
    open_sender,
    send_once,
    takes,
)


def test_tls_with_a_given_authority(certificates: Path) -> None:
    """A server certified by the given authority is trusted, and its connection is kept."""
    with (
        open_receiver(server_tls(certificates)) as receiver,
        open_sender(receiver.address, ca_file=str(certificates / "ca.pem")) as sender,
    ):
        assert [sender.post(b"body", LONG_S) for _ in range(5)] == [DELIVERED] * 5
    assert receiver.connections == 1


def test_tls_with_the_system_s_authorities(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a file, the system's authorities are used."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    with open_receiver(server_tls(certificates)) as receiver:
        assert send_once(receiver.address) == DELIVERED


@pytest.mark.parametrize(
    ("name", "authority", "message"),
    [
        ("server", "stranger", "unable to get local issuer certificate"),
        ("elsewhere", "ca", "IP address mismatch, certificate is not valid for '127.0.0.1'."),
    ],
)
def test_tls_with_a_wrong_certificate(
    certificates: Path, name: str, authority: str, message: str
) -> None:
    """An untrusted server gets nothing, and spans are kept because an operator may fix it."""
    with open_receiver(server_tls(certificates, name)) as receiver:
        answer = send_once(receiver.address, ca_file=str(certificates / f"{authority}.pem"))
    assert answer == Answer(
        delivered=False, retry=True, message=f"certificate not accepted: {message}"
    )
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("cert", "key"), [("client.pem", "client.key"), ("both.pem", None)], ids=["two files", "one"]
)
def test_client_certificate(certificates: Path, cert: str, key: str | None) -> None:
    """A server that requires a client certificate gets it."""
    with open_receiver(server_tls(certificates, client=True)) as receiver:
        answer = send_once(
            receiver.address,
            ca_file=str(certificates / "ca.pem"),
            client_cert_file=str(certificates / cert),
            client_key_file=key and str(certificates / key),
        )
    assert answer == DELIVERED


def test_missing_client_certificate(certificates: Path) -> None:
    """Without a client certificate, nothing is delivered to a server that requires one."""
    with open_receiver(server_tls(certificates, client=True)) as receiver:
        answer = send_once(receiver.address, ca_file=str(certificates / "ca.pem"))
    assert (answer.delivered, answer.retry, receiver.requests) == (False, True, [])
    assert answer.message in {"TLS failed: tlsv13 alert certificate required", HUNG_UP.message}


@pytest.mark.parametrize(
    ("ca", "cert", "key", "reason"),
    [
        ("absent.pem", "client.pem", "client.key", "no such file or directory"),
        ("garbage.pem", "client.pem", "client.key", "TLS failed: no certificate or crl found"),
        ("ca.pem", "absent.pem", "client.key", "no such file or directory"),
        ("ca.pem", "client.pem", "server.key", "TLS failed: key values mismatch"),
        ("ca.pem", "client.pem", "locked.key", None),
    ],
)
def test_files_that_cannot_be_used(
    certificates: Path, ca: str, cert: str, key: str, reason: str | None
) -> None:
    """Unusable certificate files are named in the error, and no password is requested."""
    ca, cert, key = (str(certificates / name) for name in (ca, cert, key))
    with takes(0, LONG_S):
        answer = send_once(
            "https://127.0.0.1:1", ca_file=ca, client_cert_file=cert, client_key_file=key
        )
    assert (answer.delivered, answer.retry) == (False, False)
    expected = f"Unusable certificate files ({ca}, {cert}, {key}): "
    assert answer.message.startswith(expected)
    assert reason in {None, answer.message.removeprefix(expected)}


def test_no_password_is_asked_for(certificates: Path, tmp_path: Path) -> None:
    """An encrypted key does not cause a password prompt on the terminal."""
    script = tmp_path / "script.py"
    script.write_text(
        dedent(f"""
        from otel_ml.export.http import HttpSender
        from otel_ml.export.settings import ExportSettings

        print(HttpSender(ExportSettings(
            url="https://127.0.0.1:1",
            page="",
            client_cert_file="{certificates}/client.pem",
            client_key_file="{certificates}/locked.key",
        )).post(b"body", 20.0).message)
        """)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # since 3.12: there may be threads
        child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, str(script)])  # noqa: S606 - our own script
    printed = b""
    with suppress(OSError):  # at the end of a terminal, on Linux
        ready = select.poll()  # select() refuses the descriptors that a long test run has reached
        ready.register(terminal, select.POLLIN)
        while b"\n" not in printed and ready.poll(LONG_S * 1000):
            printed += os.read(terminal, 65536)
    os.close(terminal)
    os.waitpid(child, 0)
    assert printed.startswith(b"Unusable certificate files (")


def test_plain_receiver_is_no_tls(receiver: Receiver) -> None:
    """A receiver without TLS is reported as a TLS failure, not as a refused connection."""
    answer = send_once(receiver.address.replace("http:", "https:"))
    assert (answer.delivered, answer.retry) == (False, True)
    assert answer.message.startswith("TLS failed: ")
