"""Tests of records of unfinished runs and of the processes that run them."""

from collections import Counter
from typing import Final

import pytest

from otel_ml_collector.records import ModelVersion, ProcessSign, Records, Tag, TraceKey
from otel_ml_collector.span import Scope, Span, Value
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_sign,
    make_span,
    make_start,
    map_all,
    map_one,
    span_id,
    trace_id,
)

RUN: Final = make_call(
    "train", trace_id=trace_id(1), span_id=span_id(2), start_ns=NOW_NS - SECOND_NS
)
KNOWN: Final[dict[str, Value]] = {
    "otel_ml.kind": "training",
    "otel_ml.model.name": "train",
    "otel_ml.model.version": "00000000000000aa",
    "otel_ml.params": '{"rate": 0.1}',
    "otel_ml.tag.client": "bigshot",
    "otel_ml.trace_key": "order-7",
    "http.route": "/train",
}


def as_ended(start: Span, attributes: dict[str, Value]) -> Span:
    """Make the span of an ended run with the attributes of a start record."""
    return make_span(
        "train",
        attributes,
        trace_id=RUN.trace_id,
        span_id=RUN.span_id,
        parent_span_id=span_id(1),
        start_ns=start.start_ns,
        end_ns=start.start_ns,
        scope=start.scope,
    )


def test_start() -> None:
    """A start record gives the same run as the run's own span, except for its end."""
    told: dict[str, Value] = {
        **KNOWN,
        "otel_ml.inputs.preview": '{"data": "digits"}',
        "otel_ml.parent_span_id": "0000000000000001",
    }
    start = make_start(RUN, told, scope=Scope({"service.version": "1.2"}, "otel_ml", "1", {}))
    records = map_all(start, project="p")
    (run,) = records.open_runs
    ended = map_one(as_ended(start, {**KNOWN, "otel_ml.inputs": '{"data": "digits"}'}))
    same = [name for name in ended.__slots__ if name not in {"project", "outcome", "rank"}]
    assert {name: getattr(run, name) for name in same if name != "process"} == {
        name: getattr(ended, name) for name in same if name != "process"
    }
    assert (run.project, run.outcome, run.process) == ("p", "running", "00000001")
    assert (run.inputs_preview, run.tags) == ("digits", [Tag("client", "bigshot")])
    at_ns = NOW_NS - SECOND_NS
    assert records == Records(
        open_runs=[run],
        versions=[
            ModelVersion("p", "model", "train", "00000000000000aa", "", "", at_ns, at_ns),
        ],
        trace_keys=[
            TraceKey(f"{'0' * 31}1", "p", trace_id(1), at_ns, at_ns),
            TraceKey("order-7", "p", trace_id(1), at_ns, at_ns),
        ],
        signs=[ProcessSign("p", "00000001")],
    )


def test_bare_start() -> None:
    """A start record that only names its run announces a model call without a parent."""
    span = make_span("otel_ml.start", {"otel_ml.record": "start", "otel_ml.target.run": id_of(RUN)})
    records = map_all(span)
    (run,) = records.open_runs
    assert (run.run_id, run.parent_span_id, run.kind) == (id_of(RUN), b"", "model")
    assert (run.inputs, run.params, run.digest, run.process) == ("", "", "", "")
    assert (records.versions, records.signs) == ([], [])


def test_start_below_its_run() -> None:
    """A start record that names no run is about its parent span, like every record."""
    start = make_start(RUN, {"otel_ml.target.run": None}, trace_id=trace_id(1))
    (run,) = map_all(start).open_runs
    assert run.run_id == id_of(RUN)


def test_inputs_win() -> None:
    """Full inputs take precedence over their preview."""
    told: dict[str, Value] = {"otel_ml.inputs": '{"a": 1}', "otel_ml.inputs.preview": '{"a'}
    (run,) = map_all(make_start(RUN, told)).open_runs
    assert run.inputs == '{"a":1}'


def test_no_end_in_a_start() -> None:
    """Outcome and outputs in a start record are ignored, because the run has not ended."""
    told: dict[str, Value] = {"otel_ml.outcome": "ok", "otel_ml.outputs": '"done"'}
    (run,) = map_all(make_start(RUN, told, end_ns=NOW_NS + SECOND_NS, status_code=2)).open_runs
    assert (run.outcome, run.outputs, run.end_ns) == ("running", "", RUN.start_ns)


@pytest.mark.parametrize("outcome", ["running", "crashed"])
def test_no_running_end(outcome: str) -> None:
    """An ended run is never running, whatever its outcome attribute is."""
    assert map_one(make_call(attributes={"otel_ml.outcome": outcome})).outcome == "ok"


@pytest.mark.parametrize("parent", ["", "nonsense", "0" * 16, "A" * 16, 7, None, "a" * 17])
def test_bad_parent(parent: Value) -> None:
    """A start record with an invalid parent announces a root."""
    (run,) = map_all(make_start(RUN, {"otel_ml.parent_span_id": parent})).open_runs
    assert run.parent_span_id == b""


@pytest.mark.parametrize(
    "target",
    [
        "",
        7,
        "nonsense",
        f"{'0' * 32}-{'0' * 15}1",
        f"{'0' * 31}1-{'0' * 16}",
        f"{'AB' * 16}-{'CD' * 8}",
    ],
)
def test_no_target(target: Value) -> None:
    """A start record with an invalid run ID is rejected."""
    assert map_all(make_start(RUN, {"otel_ml.target.run": target})) == Records(
        rejected=Counter(record_without_target=1)
    )


def test_start_long_ago() -> None:
    """A start record of a run that started before the accepted time window is rejected."""
    assert map_all(make_start(RUN, start_ns=1)) == Records(rejected=Counter(outside_time_window=1))


def test_rank() -> None:
    """Of two start records of a run, the fuller one has the higher rank. Repeats rank equally."""
    short, longer = make_start(RUN), make_start(RUN, {"otel_ml.params": '{"rate": 0.1}'})
    ranks = [run.rank for run in map_all(short, longer, short).open_runs]
    assert ranks[0] == ranks[2] < ranks[1]


def test_heartbeat() -> None:
    """A heartbeat records that its process is alive, with its counters."""
    beat = make_sign("heartbeat", NOW_NS, seq=7, dropped=2)
    assert map_all(beat, project="p").signs == [
        ProcessSign("p", "00000001", heartbeat_ns=NOW_NS, seq=7, dropped=2)
    ]


def test_goodbye() -> None:
    """A goodbye records that its process ends."""
    assert map_all(make_sign("goodbye", NOW_NS), project="p") == Records(
        signs=[ProcessSign("p", "00000001", goodbye_ns=NOW_NS)]
    )


def test_signs_of_one_request() -> None:
    """One sign is kept per process and project, with the highest of all values."""
    told: dict[str, Value] = {"otel_ml.process": "00000001"}
    spans = [
        make_sign("goodbye", NOW_NS + 3, seq=9, dropped=1),
        make_sign("heartbeat", NOW_NS + 2, seq=8, dropped=4),
        make_sign("heartbeat", NOW_NS + 1, seq=3),
        make_call(attributes={**told, "otel_ml.seq": 99}),
        make_sign("heartbeat", NOW_NS, "00000002"),
        make_call(attributes={**told, "otel_ml.project": "q"}),
    ]
    expected = {
        ProcessSign("p", "00000001", NOW_NS + 2, NOW_NS + 3, 9, 4),
        ProcessSign("p", "00000002", NOW_NS),
        ProcessSign("q", "00000001"),
    }
    assert set(map_all(*spans, project="p").signs) == expected
    assert set(map_all(*reversed(spans), project="p").signs) == expected


@pytest.mark.parametrize("record", ["heartbeat", "goodbye"])
@pytest.mark.parametrize("process", ["", None, 7, "x" * 65, ["a"]])
def test_sign_of_nobody(record: str, process: Value) -> None:
    """A heartbeat or goodbye without a valid process is rejected."""
    sign = make_span(attributes={"otel_ml.record": record, "otel_ml.process": process})
    assert map_all(sign) == Records(rejected=Counter(record_without_process=1))


@pytest.mark.parametrize("count", [-1, "many", None, 2**64, float("nan"), True])
def test_bad_counts(count: Value) -> None:
    """An invalid count is ignored."""
    sign = make_sign("heartbeat", NOW_NS, seq=count, dropped=count)
    assert map_all(sign, project="p").signs == [ProcessSign("p", "00000001", NOW_NS)]


def test_rejected_record_is_no_sign() -> None:
    """A rejected span does not count as a sign of its process."""
    span = make_call(attributes={"otel_ml.process": "00000001"}, span_id=bytes(8))
    assert map_all(span).signs == []
