"""Tests that long JSON, parsed while other threads run, gives the same values as short JSON."""

import threading
from typing import Final

import pytest

from otel_ml_collector.json_text import read_json, read_json_body

LONG: Final = 2 * 2**20

ODD = (
    b'{"name":"\\ud83d\\ude00 \\ud83d \\\\ud83d","doubleValue":NaN}',
    b"[1e400,-1e400,Infinity,18446744073709551616,-9223372036854775809,18446744073709551615,-0,1.5]",
    b'\xef\xbb\xbf{"a":{"b":[true,false,null]},"a":{"c":1}}',
    b'{"a":"caf\xc3"}',
    b'{"a":1}}',
    b'{"a":tru}',
    b"",
    b"[" * 100_000,
)


@pytest.mark.parametrize("body", ODD, ids=lambda body: repr(body[:20]))
def test_long_body(body: bytes) -> None:
    """A long body is parsed to the same values as a short one, or rejected like it."""
    long = body + b" " * LONG
    try:
        expected = read_json_body(body)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - the texts of the two parsers differ
            read_json_body(long)
    else:
        assert repr(read_json_body(long)) == repr(expected)


@pytest.mark.parametrize("body", ODD, ids=lambda body: repr(body[:20]))
def test_long_payload(body: bytes) -> None:
    """A long JSON text in an attribute is parsed like a short one, or rejected like it."""
    text = body.decode("utf-8", "replace")
    try:
        expected = read_json(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - the texts of the two parsers differ
            read_json(text + " " * LONG)
    else:
        assert repr(read_json(text + " " * LONG)) == repr(expected)


def test_others_run_while_a_long_body_is_parsed() -> None:
    """Other threads run while a long body is parsed."""
    body = b"[" + b",".join([b'{"key":"a","value":{"stringValue":"b"}}'] * 200_000) + b"]"
    turns, is_over = [0], threading.Event()

    def count_turns() -> None:
        while not is_over.is_set():
            turns[0] += 1
            is_over.wait(0.0001)

    counting = threading.Thread(target=count_turns)
    counting.start()
    before = turns[0]
    read_json_body(body)
    passed = turns[0] - before
    is_over.set()
    counting.join()
    assert passed >= 3
