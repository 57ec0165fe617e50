"""No message contains a key or a password, whatever a receiver does."""

import logging
import socket
from collections.abc import Callable

import pytest

from otel_ml.export.http import HttpSender
from otel_ml.export.settings import ExportSettings
from tests.support.otel_ml.export.http.servers import (
    SHORT_S,
    Receiver,
    answer_all,
    open_raw,
    partial,
    send_once,
    silent,
)


def test_receiver_that_repeats_our_key(receiver: Receiver) -> None:
    """Header values repeated by a receiver are masked in its text, except the project."""
    receiver.answer(200, partial(1, "key sk-secret-1 may not write to shop-frontend"))
    headers = {"authorization": "Bearer sk-secret-1", "x-otel-ml-project": "shop-frontend"}
    answer = send_once(receiver.address, headers=headers)
    assert answer.message == "key *** may not write to shop-frontend"


@pytest.mark.parametrize(
    "handle",
    [
        lambda connection: None,
        lambda connection: answer_all(connection, b"HTTP/1.1 401 No\r\n\r\n"),
        lambda connection: answer_all(connection, b"secret"),
        silent,
    ],
    ids=["hang up", "refuse", "garbage", "silent"],
)
def test_no_secret_is_told(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    handle: Callable[[socket.socket], None],
) -> None:
    """No failure reveals a key from headers or address, or a proxy's password."""
    caplog.set_level(logging.INFO)
    with open_raw(handle) as address:
        monkeypatch.setenv("http_proxy", address.replace("//", "//me:secret@"))
        chosen = ExportSettings(
            url="http://collector/v1/traces?key=secret",
            page="http://collector",
            headers={"authorization": "Bearer secret", "x-bad": "secret"},
        )
        sender = HttpSender(chosen)
        answer = sender.post(b"secret", SHORT_S)
        sender.close()
    assert not answer.delivered
    assert "secret" not in f"{answer} {sender!r} {chosen} {caplog.text}"
