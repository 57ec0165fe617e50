"""The contents of a request, and the side effects of sending it."""

import gzip
import logging
import os
from pathlib import Path

import pytest
from opentelemetry import context

from tests.support.otel_ml.export.http.servers import (
    DELIVERED,
    LONG_S,
    Receiver,
    Request,
    open_sender,
    send_once,
)
from tests.support.otel_ml.scripts import ask_script


def test_request_is_that_of_the_standard(receiver: Receiver) -> None:
    """A request is a POST of a protobuf body with the headers of the settings."""
    headers = {"x-otel-ml-project": "shop", "authorization": "Bearer sk-1"}
    assert send_once(receiver.address, headers=headers) == DELIVERED
    [request] = receiver.requests
    assert request.headers.pop("user-agent").startswith("otel-ml/")
    assert request == Request(
        "POST",
        "/v1/traces",
        {
            "host": receiver.address.removeprefix("http://"),
            "accept-encoding": "identity",
            "content-length": "4",
            "content-type": "application/x-protobuf",
            "x-otel-ml-project": "shop",
            "authorization": "Bearer sk-1",
        },
        b"body",
    )


def test_headers_of_the_body_stay(receiver: Receiver) -> None:
    """Headers from the environment cannot override those that describe the body."""
    names = ("content-length", "content-type", "content-encoding", "transfer-encoding")
    assert send_once(receiver.address, headers=dict.fromkeys(names, "99")) == DELIVERED
    [request] = receiver.requests
    found = [request.headers.get(name) for name in names]
    assert (found, request.body) == (["4", "application/x-protobuf", None, None], b"body")


def test_user_agent_can_be_set(receiver: Receiver) -> None:
    """A user agent from the environment replaces the default one."""
    send_once(receiver.address, headers={"user-agent": "probe/1"})
    assert receiver.requests[0].headers["user-agent"] == "probe/1"


@pytest.mark.parametrize("body", [b"", b"body", os.urandom(3 * 1024 * 1024)])
def test_gzip_is_undone_at_the_receiver(receiver: Receiver, body: bytes) -> None:
    """A compressed body has the encoding header, and decompresses to the original."""
    with open_sender(receiver.address, compression="gzip") as sender:
        assert sender.post(body, LONG_S) == DELIVERED
    [request] = receiver.requests
    assert request.headers["content-encoding"] == "gzip"
    assert gzip.decompress(request.body) == body


def test_instrumentations_are_kept_off(receiver: Receiver) -> None:
    """During a request, its context suppresses instrumentations."""
    key = context._SUPPRESS_INSTRUMENTATION_KEY
    seen: list[object] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(context.get_value(key))

    log, watch = logging.getLogger("urllib3.connectionpool"), Watch()
    log.addHandler(watch)
    level = log.level
    log.setLevel(logging.DEBUG)
    try:
        send_once(receiver.address)
    finally:
        log.setLevel(level)
        log.removeHandler(watch)
    assert (set(seen), context.get_value(key)) == ({True}, None)


def test_nothing_heavy_is_imported_early(tmp_path: Path) -> None:
    """Creating a sender imports no HTTP library, which would take longer than all of otel-ml."""
    assert ask_script(
        tmp_path,
        """
        import sys
        from otel_ml.export.http import HttpSender
        from otel_ml.export.settings import resolve
        sender = HttpSender(resolve(None, "shop", None))
        sender.close()
        print([int(name in sys.modules) for name in ("urllib3", "http.client", "ssl")])
        """,
    ) == [0, 0, 0]
