"""Tests that attribute values of unexpected types never fail a whole request."""

from itertools import product
from typing import Final

import pytest

from otel_ml import attributes as names
from otel_ml_collector.span import Event, Span, Value
from tests.support.otel_ml_collector.spans import NOW_NS, make_call, make_record, make_span, map_all

NAMES: Final = sorted(
    value
    for name, value in vars(names).items()
    if name.isupper() and isinstance(value, str) and value.startswith("otel_ml.")
)
ODD: Final[tuple[Value, ...]] = ({"a": [1]}, [{"a": 1}, [2]], b"\xff", 2.5, -1, True, None, "\x00")
TARGET: Final = make_call()
# One example of each record type, of a form in which most attributes are read.
RECORDS: Final[dict[str, dict[str, Value]]] = {
    "call": {},
    "update": {"otel_ml.target.model": "m", "otel_ml.target.version": "v"},
    "evaluation": {"otel_ml.judge.name": "j", "otel_ml.score.value": 0.5},
    "item": {"otel_ml.item.digest": "0" * 64},
    "start": {},
}
EVENTS: Final[dict[str, dict[str, Value]]] = {
    names.LINEAGE_EVENT: {
        names.LINEAGE_ROLE: "used",
        names.LINEAGE_KIND: "model",
        names.LINEAGE_NAME: "m",
    },
    "otel_ml.log": {},
    "otel_ml.artifact": {"otel_ml.artifact.ref": "a"},
    "gen_ai.evaluation.result": {"gen_ai.evaluation.name": "j"},
}


def make(record: str, attributes: dict[str, Value]) -> Span:
    own = {**RECORDS[record], **attributes}
    if record == "call":
        return make_call(attributes=own)
    return make_record(record, TARGET, own)


@pytest.mark.parametrize("record", RECORDS)
def test_attribute(record: str) -> None:
    """A span with an odd value in any `otel_ml` attribute is stored, or rejected with a reason."""
    for name, value in product(NAMES, ODD):
        assert map_all(make(record, {name: value})).rejected.total() <= 1, (name, value)


@pytest.mark.parametrize("event", EVENTS)
def test_event(event: str) -> None:
    """A run or record whose event has an odd value is stored, or rejected with a reason."""
    for name, value in product(NAMES, ODD):
        made = Event(event, NOW_NS, {**EVENTS[event], name: value})
        spans = [make_span("run", {}, events=[made]), make_record("update", TARGET, events=[made])]
        assert map_all(*spans).rejected.total() <= len(spans), (name, value)
