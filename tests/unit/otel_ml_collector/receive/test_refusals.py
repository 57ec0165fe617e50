"""Tests of the log of rejected requests."""

import logging
from typing import Any

import pytest

from otel_ml_collector.log import JsonFormatter
from otel_ml_collector.receive.refusals import QUIET_S, SENDERS, Refusal, Refusals


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def refuse(peer: str = "10.0.0.7:1", **more: Any) -> Refusal:
    return Refusal(
        **{"transport": "http", "peer": peer, "reason": "No", "answer": "refused", **more}
    )


def test_line(caplog: pytest.LogCaptureFixture) -> None:
    """A log line names the sender, the reason and the number of rejected records."""
    Refusals().note(
        refuse(
            key_id="0f",
            project="fraud team",
            service="till",
            reason="No key\nGET",
            rejected=3,
            answer="partial",
        )
    )
    assert caplog.messages == [
        "Part of a request was rejected: transport=http peer=10.0.0.7:1 key_id=0f "
        "project='fraud team' service=till answer=partial reason='No key\\nGET' rejected=3"
    ]


@pytest.mark.parametrize(
    ("answer", "rejected", "begin"),
    [
        ("partial", 3, "Part of a request was rejected: "),
        ("partial", 0, "A request was stored with changes: "),
        ("over_quota", 0, "A request was refused: "),
        ("unauthenticated", 0, "A request was refused: "),
        ("refused", 0, "A request was refused: "),
        ("unavailable", 0, "A request was refused: "),
    ],
)
def test_extent(caplog: pytest.LogCaptureFixture, answer: str, rejected: int, begin: str) -> None:
    """A line starts with whether the whole request, a part of it or nothing was rejected."""
    Refusals().note(refuse(answer=answer, rejected=rejected))
    assert caplog.messages[0].startswith(begin)


def test_fields(caplog: pytest.LogCaptureFixture) -> None:
    """In JSON format, the line has the same facts in separate fields."""
    Refusals().note(refuse(key_id="0f", project="p"))
    [record] = caplog.records
    record.created = 0.5
    assert JsonFormatter().format(record) == (
        '{"time": "1970-01-01T00:00:00.500Z", "level": "warning", '
        '"logger": "otel_ml_collector.refusals", "message": "A request was refused: '
        'transport=http peer=10.0.0.7:1 key_id=0f project=p answer=refused reason=No", '
        '"transport": "http", "peer": "10.0.0.7:1", "key_id": "0f", "project": "p", '
        '"service": "", "answer": "refused", "reason": "No", "rejected": 0}'
    )


def test_long_text(caplog: pytest.LogCaptureFixture) -> None:
    """Long texts from a sender are cut, so that lines stay short."""
    Refusals().note(refuse(project="p" * 10_000, reason="r" * 10_000))
    assert len(caplog.messages[0]) < 800


def test_one_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A sender is logged once a minute, and the next line has the number of rejections since."""
    clock = Clock()
    refusals = Refusals(clock)
    for port in range(1_000):
        refusals.note(refuse(f"10.0.0.7:{port}"))
    assert len(caplog.messages) == 1
    clock.now_s = QUIET_S
    refusals.note(refuse("10.0.0.7:1"))
    assert caplog.messages[1] == (
        "999 more requests from 10.0.0.7 were refused or rejected in part within 60 s: 999 for No"
    )
    assert len(caplog.messages) == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (refuse("ipv4:10.0.0.7:1", transport="grpc"), refuse("10.0.0.7:2")),
        (refuse("ipv6:[::1]:1"), refuse("ipv6:%5B::1%5D:2")),
        (refuse("::1:5"), refuse("::1:5")),
        (refuse("unix:"), refuse("unix:")),
        (refuse(project="a"), refuse(project="b")),
    ],
)
def test_same_sender(caplog: pytest.LogCaptureFixture, first: Refusal, second: Refusal) -> None:
    """A sender is the same from another port, over another transport and for another project."""
    refusals = Refusals()
    refusals.note(first)
    refusals.note(second)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    "other", [refuse("10.0.0.8:1"), refuse(key_id="1"), refuse("ipv6:[::2]:1")], ids=str
)
def test_other_sender(caplog: pytest.LogCaptureFixture, other: Refusal) -> None:
    """A different address or key is a different sender."""
    refusals = Refusals()
    refusals.note(refuse())
    refusals.note(other)
    assert len(caplog.messages) == 2


def test_many_senders(caplog: pytest.LogCaptureFixture) -> None:
    """Senders beyond the limit share one line and one count."""
    clock = Clock()
    refusals = Refusals(clock)
    for number in range(10_000):
        refusals.note(refuse(f"10.0.{number // 256}.{number % 256}:1"))
    assert len(caplog.messages) == SENDERS + 1
    clock.now_s = QUIET_S
    refusals.note(refuse("10.9.9.9:1"))
    rest = 10_000 - SENDERS - 1
    assert caplog.messages[SENDERS + 1 :] == [
        f"{rest} more requests from (others) were refused or rejected in part within 60 s: "
        f"{rest} for No",
        caplog.messages[-1],
    ]


def test_end(caplog: pytest.LogCaptureFixture) -> None:
    """On closing, rejections that have not been logged yet are logged."""
    refusals = Refusals()
    for _ in range(3):
        refusals.note(refuse(key_id="0f"))
    refusals.close()
    refusals.close()
    assert caplog.messages[1:] == [
        "2 more requests from 10.0.0.7 with key 0f were refused or rejected in part within 60 s: "
        "2 for No"
    ]


def test_reasons(caplog: pytest.LogCaptureFixture) -> None:
    """The count comes with the most frequent reasons, and their number is limited."""
    refusals = Refusals()
    for reason in ("No key", *["The store is busy"] * 3, *["Too large"] * 2, *map(str, range(99))):
        refusals.note(refuse(reason=reason))
    refusals.close()
    assert caplog.messages[1] == (
        "104 more requests from 10.0.0.7 were refused or rejected in part within 60 s: "
        "3 for 'The store is busy', 2 for 'Too large', 1 for 0"
    )


def test_error_as_json() -> None:
    """An error is logged with its traceback on the same line, and other values as text."""
    error = ValueError("no\nway")
    record = logging.LogRecord(
        "a.b", logging.ERROR, __file__, 1, "It %s", ("broke",), (ValueError, error, None)
    )
    record.created = 0.0
    record.path = {1}
    assert JsonFormatter().format(record) == (
        '{"time": "1970-01-01T00:00:00.000Z", "level": "error", "logger": "a.b", '
        '"message": "It broke", "path": "{1}", "error": "ValueError: no\\nway"}'
    )
