"""Tests that mapping many spans at once, by columns, gives the same runs as one by one."""

import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.decode.json import decode_json_traces
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.price import Price
from otel_ml_collector.span import Event, Scope, Span, Value
from tests.support.examples import examples
from tests.support.otel_ml_collector.spans import NOW_NS, make_call, make_span, span_id, trace_id
from tests.unit.otel_ml_collector.mapping.test_dialects import NAMES, scopes, values
from tests.unit.recorded.test_recorded import RECORDED, filing_of, read

PRICES: Final = Prices([Price("openai", "m", 1.0, 2.0, 0.5)])
FILING: Final = Filing("p", NOW_NS, prices=PRICES)
# Attributes that turn a span into another record. Another test covers them.
RECORDS: Final = frozenset({"otel_ml.record", "logfire.pending_parent_id"})
OWN: Final = (
    *("otel_ml.kind", "otel_ml.model.name", "otel_ml.model.version", "otel_ml.model.definition"),
    *("otel_ml.inputs", "otel_ml.outputs", "otel_ml.params", "otel_ml.outcome", "otel_ml.tags"),
    *("otel_ml.tag.client", "otel_ml.tag.x", "otel_ml.capture", "otel_ml.trace.key"),
    *(
        "otel_ml.process",
        "otel_ml.seq",
        "session.id",
        "user.id",
        "enduser.id",
        "error.type",
        "",
        "x",
    ),
    *("otel_ml.judging", "otel_ml.judging.run"),
)
# Values that fill a field, empty texts of each kind, and values that count as missing.
telling: st.SearchStrategy[Value] = st.sampled_from(
    [
        *(
            "openai",
            "m",
            "model",
            "chat",
            "agent",
            '"agent"',
            "LLM",
            "error",
            "ERROR",
            "ok",
            "",
            "7",
        ),
        *('""', "null", "[]", '[{"role":"user","content":"Where?"}]', '{"a":{"b":1},"input":3}'),
        *('[{"role":"system","content":"Be brief."}]', '{"client":{"type":"t","group":"g"}}', 7, 0),
        *('"not_followed"', "text/plain", 0.25, True, None, ["a", 1], {"a": {"b": "c"}, "n": 1}),
    ]
)
NOTED: Final = Event("otel_ml.log", NOW_NS, {"otel_ml.log.message": "a line"})
RAISED: Final = Event("exception", NOW_NS, {"exception.type": "Timeout", "exception.message": "60"})
ASKED: Final = Event("gen_ai.user.message", NOW_NS, {"content": "Where?"})
DETAILS: Final = Event(
    "gen_ai.client.inference.operation.details",
    NOW_NS,
    {"gen_ai.output.messages": "[]", "gen_ai.usage.input_tokens": 3},
)


@st.composite
def alike(draw: st.DrawFn) -> list[Span]:
    """Draw spans. Some have the same attribute names and scope."""
    scope = draw(scopes)
    spans: list[Span] = []
    for _ in range(draw(st.integers(1, 3))):
        names = draw(st.lists(st.sampled_from([*NAMES, *OWN]), max_size=9, unique=True))
        names = [name for name in names if name not in RECORDS]
        for _ in range(draw(st.integers(1, 4))):
            attributes = {name: draw(telling | values) for name in names}
            spans.append(
                make_span(
                    draw(st.sampled_from(["call", ""])),
                    attributes,
                    trace_id=trace_id(1),
                    span_id=span_id(len(spans) + 1),
                    parent_span_id=draw(st.sampled_from([b"", span_id(9), b"short", bytes(8)])),
                    kind=draw(st.integers(-1, 6)),
                    status_code=draw(st.integers(0, 2)),
                    status_message=draw(st.sampled_from(["", "it broke"])),
                    events=draw(st.lists(st.sampled_from([NOTED, RAISED, ASKED, DETAILS]))),
                    scope=scope,
                )
            )
    return spans


def check(spans: list[Span], filing: Filing) -> None:
    """Compare all fields of all runs, including the rank."""
    alone = [run for span in spans for run in map_spans([span], filing).runs]
    assert repr(map_spans(spans, filing).runs) == repr(alone)


@given(alike())
@settings(max_examples=examples(300))
def test_any_spans(spans: list[Span]) -> None:
    """Spans of any dialects, mapped together, become the same runs as each alone."""
    check(spans, FILING)


@pytest.mark.parametrize("name", RECORDED)
def test_recordings(name: str) -> None:
    """Recorded spans of real libraries, mapped together, become the same runs as each alone."""
    request: Any = read(f"{name}.json")["request"]
    spans = list(decode_json_traces(json.dumps(request).encode()))
    runs = [span for span in spans if not RECORDS & span.attributes.keys()]
    check(runs, filing_of(request))


def test_more_than_at_once() -> None:
    """A request with more spans than one batch keeps all spans in order."""
    scope = Scope({}, "s", "", {})
    spans = [make_call(str(number), scope=scope) for number in range(1_500)]
    assert [run.name for run in map_spans(spans, FILING).runs] == [span.name for span in spans]


def test_attribute_without_name() -> None:
    """An attribute with an empty name is not read as system instructions."""
    messages = '[{"role":"user","content":"Where?"}]'
    told: dict[str, Value] = {"": "Be brief.", "gen_ai.output.messages": messages}
    (run,) = map_spans([make_span("chat", told)], FILING).runs
    assert (run.outputs, run.attributes) == (messages, '{"":"Be brief."}')
