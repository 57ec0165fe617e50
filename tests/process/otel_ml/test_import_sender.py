"""Imports are sent to receivers that are busy, refuse requests or cannot read records."""

import json
from typing import Any, Final

import pytest

from otel_ml.imports.lines import SourcePlace
from otel_ml.imports.otlp_records import JsonDestination, RecordMaker, SourceRecord
from otel_ml.imports.sender import HistorySender, ImportBatch, ImportStopped
from otel_ml.outlet import Route
from tests.support.otel_ml.export.http.servers import Receiver, open_receiver

STORED: Final = b'{"partialSuccess":{}}'
MAKER: Final = RecordMaker("test", "sent")


def make_records(count: int) -> list[SourceRecord]:
    """Return records of spans whose names are their numbers."""
    place = SourcePlace("spans.jsonl", 1)
    return [MAKER.span({"name": str(number)}, place) for number in range(count)]


def send(receiver: Receiver, count: int, **options: Any) -> ImportBatch:
    """Send a batch and return it."""
    route = Route("sent", endpoint=receiver.address)
    sender = HistorySender(route, connect=JsonDestination, **options)
    with sender.open() as send_all:
        [sent] = send_all([ImportBatch(make_records(count), list(range(count)), count)])
    return sent


def sent_names(receiver: Receiver) -> list[list[str]]:
    """Return the names of the spans in each request."""
    requests = [json.loads(request.body) for request in receiver.requests]
    return [
        [span["name"] for span in request["resourceSpans"][0]["scopeSpans"][0]["spans"]]
        for request in requests
    ]


def test_a_busy_receiver() -> None:
    """A request that a busy receiver does not accept is sent again after the requested delay."""
    waited: list[float] = []
    with open_receiver() as receiver:
        receiver.answer(503, retry_after="7")

        def pause(seconds: float) -> None:
            waited.append(seconds)
            receiver.answer(200, STORED, content_type="application/json")

        assert send(receiver, 2, pause=pause).rejected == {}
    assert sent_names(receiver) == [["0", "1"], ["0", "1"]]
    assert waited == [7.0]


def test_a_receiver_that_stays_busy() -> None:
    """An import to a receiver that stays busy stops with the reason."""
    with open_receiver() as receiver:
        receiver.answer(503)
        with pytest.raises(ImportStopped, match=f"{receiver.address} does not store the records"):
            send(receiver, 1, patience_s=0.0)
    assert len(receiver.requests) == 1


def test_a_wrong_key() -> None:
    """A permanently refused request is not repeated."""
    with open_receiver() as receiver:
        receiver.answer(401)
        with pytest.raises(ImportStopped, match="401"):
            send(receiver, 1)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("status", "reply", "reason"),
    [
        (413, {}, "413"),
        (400, {"code": 3, "message": "Invalid traceId"}, "Invalid traceId"),
        (200, {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "bad"}}, "bad"),
    ],
)
def test_halves(status: int, reply: dict[str, Any], reason: str) -> None:
    """A batch that is not accepted is split in halves until each bad span is found."""
    with open_receiver() as receiver:
        receiver.answer(status, json.dumps(reply).encode(), content_type="application/json")
        sent = send(receiver, 3)
    assert sent.rejected.keys() == {0, 1, 2}
    assert all(reason in text for text in sent.rejected.values())
    assert sent_names(receiver) == [["0", "1", "2"], ["0"], ["1", "2"], ["1"], ["2"]]
