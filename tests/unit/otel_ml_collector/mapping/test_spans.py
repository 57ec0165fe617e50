"""Tests of mapping spans to records: project, rejection, order, repetition and rank."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import Records, TraceKey
from otel_ml_collector.span import Event, Link, Scope, Span, Value
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    MS_NS,
    NOW_NS,
    SECOND_NS,
    make_call,
    make_record,
    make_span,
    map_all,
    map_one,
    span_id,
    trace_id,
)

OWN: Final = "otel_ml.project"
OPENINFERENCE: Final = "openinference.project.name"
FILING: Final = Filing(None, NOW_NS)


@pytest.mark.parametrize(
    ("span", "scope", "resource", "header", "project"),
    [
        ({OWN: "a"}, {OWN: "b"}, {OWN: "c"}, "d", "a"),
        ({}, {OWN: "b"}, {OWN: "c"}, "d", "b"),
        ({}, {}, {OWN: "c"}, "d", "c"),
        ({}, {}, {}, "d", "d"),
        ({}, {}, {}, None, "default"),
        ({}, {}, {}, "", "default"),
        ({OWN: ""}, {}, {OWN: "c"}, None, "c"),
        ({OPENINFERENCE: "a"}, {}, {OWN: "c"}, "d", "a"),
        ({OPENINFERENCE: "z", OWN: "a"}, {}, {}, "d", "a"),
        ({}, {}, {OPENINFERENCE: "c"}, "d", "c"),
        ({OWN: 7}, {}, {}, "d", "7"),
    ],
)
def test_project(
    span: dict[str, Value],
    scope: dict[str, Value],
    resource: dict[str, Value],
    header: str | None,
    project: str,
) -> None:
    """The project is read from the span, its scope, its resource, the header or the default."""
    given_span = make_span(attributes=span, scope=Scope(resource, "", "", scope))
    records = map_all(given_span, project=header)
    assert [run.project for run in records.runs] == [project]
    assert {key.project for key in records.trace_keys} == {project}


@pytest.mark.parametrize(
    "project", ["p" * 128, "Concept Project", "a/b#?", "日本", "...", "a'b\"c"]
)
def test_valid_project(project: str) -> None:
    """A project name may have up to 128 printable characters."""
    assert map_one(make_span(attributes={OWN: project})).project == project


@pytest.mark.parametrize("project", ["p" * 129, "a\nb", "\x00", "\u202e", "\x7f"], ids=ascii)
def test_invalid_project(project: str) -> None:
    """A project name that is too long or not printable is rejected."""
    assert map_all(make_span(attributes={OWN: project})) == Records(
        rejected=Counter(invalid_project=1)
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": b""}, "invalid_trace_id"),
        ({"trace_id": b"t" * 15}, "invalid_trace_id"),
        ({"trace_id": b"t" * 17}, "invalid_trace_id"),
        ({"trace_id": bytes(16)}, "invalid_trace_id"),
        ({"span_id": b""}, "invalid_span_id"),
        ({"span_id": b"s" * 7}, "invalid_span_id"),
        ({"span_id": bytes(8)}, "invalid_span_id"),
        ({"start_ns": 0}, "outside_time_window"),
        ({"start_ns": NOW_NS - 400 * DAY_NS - 1}, "outside_time_window"),
        ({"start_ns": NOW_NS - 401 * DAY_NS}, "outside_time_window"),
        ({"start_ns": NOW_NS + 3_600 * SECOND_NS + 1}, "outside_time_window"),
        ({"start_ns": NOW_NS + 7_200 * SECOND_NS}, "outside_time_window"),
        ({"start_ns": 2**64 - 1}, "outside_time_window"),
        ({"end_ns": 2**63}, "invalid_end_time"),
    ],
    ids=str,
)
@pytest.mark.parametrize("record", ["run", "update", "evaluation"])
def test_bad_among_good(fields: dict[str, Any], reason: str, record: str) -> None:
    """A span that can never be stored is rejected, and the other spans are mapped."""
    good = [make_call("one"), make_call("two")]
    bad = make_call("bad", {"otel_ml.record": record, "otel_ml.judge.name": "j"}, **fields)
    records = map_all(good[0], bad, good[1], project="p")
    expected = map_all(*good, project="p")
    expected.rejected[reason] += 1
    assert records == expected


@pytest.mark.parametrize(
    "start_ns", [NOW_NS - 400 * DAY_NS, NOW_NS, NOW_NS + 3_600 * SECOND_NS], ids=str
)
def test_time_window(start_ns: int) -> None:
    """A span may start up to 400 days in the past and up to an hour in the future."""
    assert map_one(make_span(start_ns=start_ns)).start_ns == start_ns


@pytest.mark.parametrize("parent", [bytes(8), b"", b"short"])
def test_no_parent(parent: bytes) -> None:
    """A span with an invalid parent ID is a root."""
    assert map_one(make_span(parent_span_id=parent)).parent_span_id == b""


def test_unmapped_attributes() -> None:
    """Attributes without a field are kept, and binary ones are listed by name."""
    attributes: dict[str, Value] = {
        "z": {"nested": [1, None, {"deep": True}]},
        "bytes": b"\x00\xff",
        "zero": 0,
        "empty": "",
        "": "no name",
        "otel_ml.latency_ms": 2.0,
    }
    assert map_one(make_call(attributes=attributes)).attributes == (
        '{"":"no name","bytes":"AP8=","empty":"","otel_ml.binary":["bytes"],'
        '"z":{"nested":[1,null,{"deep":true}]},"zero":0}'
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"status_code": 0}, ""),
        ({"status_code": 1}, '{"otel.status_code":"OK"}'),
        ({"status_code": 2, "status_message": "it broke"}, ""),
        (
            {
                "status_code": 2,
                "status_message": "it broke",
                "events": [Event("exception", 1, {"exception.message": "why"})],
            },
            '{"otel.status_description":"it broke"}',
        ),
        (
            {"status_code": 2, "attributes": {"otel_ml.outcome": "cancelled"}},
            '{"otel.status_code":"ERROR"}',
        ),
    ],
)
def test_status(told: dict[str, Any], expected: str) -> None:
    """The part of a status that is not in the outcome or error message is kept as an attribute."""
    assert map_one(make_span(**told)).attributes == expected


def test_resource_and_scope() -> None:
    """Resource and scope are stored whole."""
    scope = Scope({"service.name": "shop"}, "library", "2", {"a": b"\x00"})
    run = map_one(make_span(scope=scope))
    assert (run.resource, run.scope) == (
        '{"service.name":"shop"}',
        '{"attributes":{"a":"AA=="},"name":"library","version":"2"}',
    )


def test_scopes_of_a_stream() -> None:
    """In a stream of spans, each run has the resource of its own span."""
    stream = (make_span(scope=Scope({"n": number}, "", "", {})) for number in range(100))
    runs = map_spans(stream, FILING).runs
    assert [run.resource for run in runs] == [f'{{"n":{number}}}' for number in range(100)]


LATE_NS: Final = 2**64 - 1
LATE_LINE: Final = Event("otel_ml.log", LATE_NS, {"otel_ml.log.message": "text"})
LATE_SCORE: Final = Event("gen_ai.evaluation.result", LATE_NS, {"gen_ai.evaluation.name": "j"})


@pytest.mark.parametrize(
    "span",
    [
        make_call(events=[LATE_LINE]),
        make_call(events=[LATE_SCORE]),
        make_record("update", make_call(), events=[LATE_LINE]),
    ],
    ids=["line", "score", "line of an update"],
)
def test_late_event(span: Span) -> None:
    """An event time beyond 63 bits, which no record can store, is replaced."""
    records = map_all(span)
    times = [line.time_ns for run in records.runs for line in run.logs]
    times += [late.line.time_ns for late in records.logs]
    times += [metric.time_ns for metric in records.metrics]
    assert [time_ns < 2**63 for time_ns in times] == [True]


def test_trace_bounds() -> None:
    """A trace key spans the start of the first span to the end of the last one."""
    first = make_span(trace_id=trace_id(1), start_ns=NOW_NS - 5, end_ns=NOW_NS)
    last = make_span(trace_id=trace_id(1), start_ns=NOW_NS, end_ns=NOW_NS + MS_NS)
    assert map_all(last, first, project="p").trace_keys == [
        TraceKey(f"{'0' * 31}1", "p", trace_id(1), NOW_NS - 5, NOW_NS + MS_NS)
    ]


# Spans of every record type, with few IDs, so that they refer to each other.
few_ids = st.integers(1, 3)
attributes = st.dictionaries(
    st.sampled_from(
        [
            "otel_ml.model.name",
            "otel_ml.model.version",
            "otel_ml.record",
            "otel_ml.judge.name",
            "otel_ml.judge.version",
            "otel_ml.metric.names",
            "otel_ml.metric.values",
            "otel_ml.tag.a",
            "otel_ml.score.j",
            "otel_ml.trace_key",
            "otel_ml.inputs",
            "gen_ai.request.model",
            "gen_ai.usage.input_tokens",
            "session.id",
            "http.route",
        ]
    ),
    st.sampled_from(["run", "update", "evaluation", "a", "7", 3, ["a"], [0.5], b"\x01", None]),
    max_size=6,
)
spans = st.builds(
    Span,
    trace_id=few_ids.map(trace_id),
    span_id=few_ids.map(span_id),
    parent_span_id=st.sampled_from([b"", span_id(1), span_id(2)]),
    name=st.sampled_from(["one", "two"]),
    kind=st.just(1),
    start_ns=st.sampled_from([NOW_NS, NOW_NS - 1, 0]),
    end_ns=st.sampled_from([NOW_NS, NOW_NS + MS_NS]),
    status_code=st.integers(0, 2),
    status_message=st.sampled_from(["", "broken"]),
    attributes=attributes,
    events=st.lists(
        st.builds(
            Event,
            st.sampled_from(["otel_ml.log", "exception", "gen_ai.evaluation.result"]),
            st.just(NOW_NS),
            st.sampled_from([{}, {"otel_ml.log.message": "a"}, {"exception.type": "E"}]),
        ),
        max_size=2,
    ),
    links=st.lists(st.just(Link(trace_id(4), span_id(4), {})), max_size=1),
    scope=st.sampled_from([Scope({}, "s", "", {}), Scope({OWN: "p"}, "s", "", {"a": b"b"})]),
)


def said_by(parts: Iterable[Records]) -> dict[str, set[str]]:
    """Collect the content of records, regardless of their order and number."""
    parts = list(parts)
    said = {
        name: {repr(record) for part in parts for record in getattr(part, name)}
        for name in ("runs", "versions", "metrics", "tags", "logs")
    }
    keys: dict[tuple[str, str, bytes], tuple[int, int]] = {}
    for key in (key for part in parts for key in part.trace_keys):
        place = (key.key, key.project, key.trace_id)
        start_ns, end_ns = keys.get(place, (key.start_ns, key.end_ns))
        keys[place] = min(start_ns, key.start_ns), max(end_ns, key.end_ns)
    return {**said, "trace_keys": {repr(item) for item in keys.items()}}


@given(st.lists(spans, max_size=6), st.data())
def test_order(given_spans: list[Span], data: st.DataObject) -> None:
    """The records do not depend on the order of the spans."""
    shuffled = data.draw(st.permutations(given_spans))
    records, again = map_spans(given_spans, FILING), map_spans(shuffled, FILING)
    assert said_by([records]) == said_by([again])
    assert records.rejected == again.rejected


@given(st.lists(spans, max_size=6), st.data())
def test_repetition(given_spans: list[Span], data: st.DataObject) -> None:
    """The records do not depend on how often a span is sent."""
    repeated = data.draw(st.permutations(given_spans * 2))
    assert said_by([map_spans(repeated, FILING)]) == said_by([map_spans(given_spans, FILING)])


@given(st.lists(spans, max_size=6), st.data())
def test_split(given_spans: list[Span], data: st.DataObject) -> None:
    """The records do not depend on how spans are split into requests."""
    parts: list[list[Span]] = [[], [], []]
    for span in given_spans:
        parts[data.draw(st.integers(0, 2))].append(span)
    split = [map_spans(part, FILING) for part in parts]
    assert said_by(split) == said_by([map_spans(given_spans, FILING)])


DELIVERY: Final = make_call(trace_id=trace_id(1), span_id=span_id(1))


def tell(attributes: Mapping[str, Value]) -> dict[str, Any]:
    return {"attributes": {**DELIVERY.attributes, **attributes}}


def rank_of(span: Span) -> int:
    return map_one(span).rank


def test_one_by_one() -> None:
    """Spans that a generator creates one by one each keep their own resource."""
    spans_of_many = (
        make_span(scope=Scope({"service.name": str(number)}, "", "", {})) for number in range(100)
    )
    runs = map_spans(spans_of_many, FILING).runs
    assert [run.resource for run in runs] == [f'{{"service.name":"{n}"}}' for n in range(100)]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"end_ns": NOW_NS + 2 * MS_NS},
        {"parent_span_id": span_id(9)},
        {"status_code": 2},
        {"status_code": 2, "status_message": "it broke"},
        {"kind": 3},
        tell({"otel_ml.model.name": "other"}),
        tell({"otel_ml.model.version": "0123456789abcdef"}),
        tell({"otel_ml.model.output_schema": "fedcba98", "otel_ml.model.version": "0"}),
        tell({"otel_ml.kind": "chain"}),
        tell({"otel_ml.inputs": "{}"}),
        tell({"otel_ml.outputs": "{}"}),
        tell({"otel_ml.outcome": "cancelled"}),
        tell({"otel_ml.tag.a": 1}),
        tell({"otel_ml.tag.a": 1, "otel_ml.tags": '{"a": {"group": "g"}}'}),
        tell({"otel_ml.params": "{}"}),
        tell({"otel_ml.process": "ab12cd34", "otel_ml.seq": 3}),
        tell({"session.id": "s"}),
        tell({"user.id": "u"}),
        tell({"error.type": "KeyError"}),
        tell({"http.route": "/"}),
        {"events": [Event("otel_ml.log", NOW_NS, {"otel_ml.log.message": "text"})]},
        {"events": [Event("other", NOW_NS, {})]},
        {"links": [Link(trace_id(4), span_id(4), {})]},
        {"scope": Scope({"service.version": "2"}, "tests", "1", {})},
    ],
    ids=lambda change: ",".join(f"{key}={value}"[:60] for key, value in change.items()),
)
def test_rank(change: dict[str, Any]) -> None:
    """Two deliveries of a span that differ in any field have different ranks."""
    assert rank_of(dataclasses.replace(DELIVERY, **change)) != rank_of(DELIVERY)


def test_rank_of_the_same() -> None:
    """Two deliveries of a span with the same content have the same rank."""
    attributes = dict(reversed(list(DELIVERY.attributes.items())))
    assert rank_of(dataclasses.replace(DELIVERY, attributes=attributes)) == rank_of(DELIVERY)


def test_rank_of_the_longer() -> None:
    """The delivery with more content has the higher rank."""
    fuller = dataclasses.replace(DELIVERY, **tell({"otel_ml.outputs": '"A long answer."'}))
    assert rank_of(fuller) > rank_of(DELIVERY)


def winner(deliveries: Sequence[Span]) -> str:
    runs = map_spans(deliveries, FILING).runs
    return repr(max(runs, key=lambda run: run.rank, default=None))


@given(spans, spans)
def test_winner(one: Span, two: Span) -> None:
    """Of two deliveries of a span, the same one wins in either order."""
    same_id = dataclasses.replace(
        two, trace_id=one.trace_id, span_id=one.span_id, start_ns=one.start_ns
    )
    assert winner([one, same_id]) == winner([same_id, one])
