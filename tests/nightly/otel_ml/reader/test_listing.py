"""Slow cases of tests/process/otel_ml/reader/test_listing.py."""

import socket
import threading

import pytest

from otel_ml.reader import Reader
from tests.process.otel_ml.reader.test_listing import html_of


def test_name_that_is_looked_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook does not wait for a name lookup that hangs."""
    is_shown = threading.Event()

    def look_up(*_: object, **__: object) -> None:
        is_shown.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    before = {*threading.enumerate()}
    html = html_of(Reader("shop", endpoint="http://collector.example").runs())
    is_shown.set()
    assert "Not shown: no answer from http://collector.example in time" in html
    for thread in {*threading.enumerate()} - before:
        thread.join(60)
