"""Tests of records about a run that are sent separately: `update` and `evaluation`."""

from collections import Counter
from typing import Final

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import (
    LateLog,
    LateTag,
    LineRecord,
    Metric,
    ModelVersion,
    Records,
    Tag,
)
from otel_ml_collector.span import Event, Span, Value
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    id_of,
    make_call,
    make_record,
    make_span,
    map_all,
    span_id,
    trace_id,
)

TARGET: Final = make_call(trace_id=trace_id(1), span_id=span_id(2))
OWNER: Final = f"{'0' * 31}1-{'0' * 15}2"
OTHER: Final = f"{'ab' * 16}-{'cd' * 8}"
POINTS: Final[dict[str, Value]] = {
    "otel_ml.metric.names": ["loss", "accuracy"],
    "otel_ml.metric.values": [0.25, 1],
    "otel_ml.metric.steps": [7, -1],
    "otel_ml.metric.times": [NOW_NS + 1, NOW_NS + 2],
    "otel_ml.metric.modes": ["append", "auto"],
}


def make_update(attributes: dict[str, Value] | None = None, **fields: object) -> Span:
    return make_record("update", TARGET, attributes, **{"span_id": span_id(3), **fields})


def make_evaluation(attributes: dict[str, Value], **fields: object) -> Span:
    return make_record("evaluation", TARGET, attributes, **{"span_id": span_id(3), **fields})


def point(position: int, name: str, value: float, **fields: object) -> Metric:
    """Make an expected point of the update."""
    metric: dict[str, object] = {
        "project": "p",
        "owner": OWNER,
        "owner_start_ns": 0,
        "name": name,
        "value": value,
        "step": -1,
        "time_ns": NOW_NS,
        "mode": "append",
        "source": "logged",
        "record_id": "0000000000000003",
        "position": position,
    }
    return Metric(**{**metric, **fields})  # type: ignore[arg-type] # each by its own name


def test_points() -> None:
    """Each point of an update is a metric of the run, in order."""
    assert map_all(make_update(POINTS), project="p") == Records(
        metrics=[
            point(0, "loss", 0.25, step=7, time_ns=NOW_NS + 1),
            point(1, "accuracy", 1.0, time_ns=NOW_NS + 2, mode="auto"),
        ]
    )


def test_points_alone() -> None:
    """Points without steps, times and modes are appended at the time of the update."""
    attributes: dict[str, Value] = {
        "otel_ml.metric.names": ["loss", "loss"],
        "otel_ml.metric.values": [0.5, "0.25"],
        "otel_ml.target.start_ns": NOW_NS - 1,
    }
    assert map_all(make_update(attributes), project="p").metrics == [
        point(0, "loss", 0.5, owner_start_ns=NOW_NS - 1),
        point(1, "loss", 0.25, owner_start_ns=NOW_NS - 1),
    ]


def test_text_and_tags() -> None:
    """Tags and text lines of an update belong to the run, whenever the update arrives."""
    update = make_update(
        {"otel_ml.tag.client": "bigshot", "otel_ml.tags": '{"n": {"value": 3, "type": "metric"}}'},
        events=[
            Event("otel_ml.log", NOW_NS + 1, {"otel_ml.log.message": "one"}),
            Event("other", NOW_NS + 2, {}),
            Event(
                "otel_ml.log",
                NOW_NS + 3,
                {"otel_ml.log.message": "two", "otel_ml.log.severity": "error"},
            ),
        ],
    )
    record = "0000000000000003"
    assert map_all(update, project="p") == Records(
        tags=[
            LateTag("p", OWNER, Tag("client", "bigshot"), NOW_NS, record),
            LateTag("p", OWNER, Tag("n", 3, "metric"), NOW_NS, record),
        ],
        logs=[
            LateLog("p", OWNER, LineRecord(NOW_NS + 1, "info", "one"), record, 0),
            LateLog("p", OWNER, LineRecord(NOW_NS + 3, "error", "two"), record, 1),
        ],
    )


def test_empty_update() -> None:
    """An update that adds nothing is accepted and stores nothing."""
    assert map_all(make_update()) == Records()


def evaluation(**fields: object) -> Metric:
    """Make the expected score for `EVALUATION`."""
    metric: dict[str, object] = {
        "project": "p",
        "owner": OWNER,
        "owner_start_ns": NOW_NS - 5,
        "name": "grounded",
        "value": 0.75,
        "step": -1,
        "time_ns": NOW_NS,
        "mode": "single",
        "source": "judge",
        "passed": True,
        "label": "good",
        "explanation": "All is cited",
        "error": "",
        "judge_version": "00000000000000aa",
        "record_id": "",
        "position": 0,
    }
    return Metric(**{**metric, **fields})  # type: ignore[arg-type] # each by its own name


EVALUATION: Final[dict[str, Value]] = {
    "otel_ml.judge.name": "grounded",
    "otel_ml.judge.version": "00000000000000aa",
    "otel_ml.score.value": 0.75,
    "otel_ml.passed": True,
    "otel_ml.score.label": "good",
    "otel_ml.explanation": "All is cited",
    "otel_ml.target.start_ns": NOW_NS - 5,
}


def test_judge() -> None:
    """A judge's evaluation is a score of the run, and defines the judge's version."""
    assert map_all(make_evaluation(EVALUATION), project="p") == Records(
        metrics=[evaluation()],
        versions=[
            ModelVersion("p", "judge", "grounded", "00000000000000aa", "", "", NOW_NS, NOW_NS)
        ],
    )


@pytest.mark.parametrize("source", ["human", "actual"])
def test_human(source: str) -> None:
    """A score by a human or of ground truth has its own record, and defines no judge version."""
    span = make_evaluation({**EVALUATION, "otel_ml.source": source})
    assert map_all(span, project="p") == Records(
        metrics=[evaluation(source=source, record_id="0000000000000003")]
    )


def test_failed_judge() -> None:
    """A failed judge stores an error, and no score, pass or fail."""
    span = make_evaluation(
        {
            "otel_ml.judge.name": "grounded",
            "otel_ml.judge.version": "00000000000000aa",
            "error.type": "TimeoutError",
        }
    )
    assert map_all(span, project="p").metrics == [
        evaluation(
            owner_start_ns=0,
            value=None,
            passed=None,
            label="",
            explanation="",
            error="TimeoutError",
        )
    ]


@pytest.mark.parametrize("record", ["update", "evaluation"])
def test_target_by_attribute(record: str) -> None:
    """A record that names its run belongs to that run, whatever its parent is."""
    span = make_record(
        record, TARGET, {**POINTS, "otel_ml.judge.name": "j", "otel_ml.target.run": OTHER}
    )
    assert {metric.owner for metric in map_all(span).metrics} == {OTHER}


def test_target_without_parent() -> None:
    """A record that names its run needs no parent."""
    span = make_span("update", {"otel_ml.record": "update", **POINTS, "otel_ml.target.run": OTHER})
    assert {metric.owner for metric in map_all(span).metrics} == {OTHER}


@pytest.mark.parametrize("record", ["update", "evaluation"])
@pytest.mark.parametrize(
    ("target", "parent"),
    [
        (None, b""),
        (None, bytes(8)),
        (None, b"short"),
        ("", span_id(2)),
        (7, span_id(2)),
        (OTHER.upper(), span_id(2)),
        (OTHER[1:], span_id(2)),
        (f"{OTHER}\n", span_id(2)),
    ],
)
def test_no_target(record: str, target: Value, parent: bytes) -> None:
    """A record without a valid run as its target is rejected."""
    named: dict[str, Value] = {} if target is None else {"otel_ml.target.run": target}
    span = make_record(
        record, TARGET, {**POINTS, "otel_ml.judge.name": "j", **named}, parent_span_id=parent
    )
    assert map_all(span) == Records(rejected=Counter(record_without_target=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"otel_ml.metric.values": [0.25]},
        {"otel_ml.metric.values": [0.25, "high"]},
        {"otel_ml.metric.values": [0.25, None]},
        {"otel_ml.metric.values": [0.25, True]},
        {"otel_ml.metric.values": None},
        {"otel_ml.metric.names": ["loss"]},
        {"otel_ml.metric.steps": [1]},
        {"otel_ml.metric.times": [NOW_NS]},
        {"otel_ml.metric.modes": ["append", "sometimes"]},
        {"otel_ml.metric.modes": ["append"]},
    ],
    ids=str,
)
def test_bad_points(wrong: dict[str, Value]) -> None:
    """An update whose lists of points do not match is rejected."""
    assert map_all(make_update({**POINTS, **wrong})) == Records(
        rejected=Counter(invalid_metric_lists=1)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"otel_ml.judge.name": None},
        {"otel_ml.judge.name": ""},
        {"otel_ml.source": "rumour"},
        {"otel_ml.source": 3},
    ],
    ids=str,
)
def test_bad_evaluation(wrong: dict[str, Value]) -> None:
    """An evaluation without a judge's name, or with an unknown source, is rejected."""
    assert map_all(make_evaluation({**EVALUATION, **wrong})) == Records(
        rejected=Counter(invalid_evaluation=1)
    )


@pytest.mark.parametrize("record", ["prophecy", "", 3])
def test_unknown_record(record: Value) -> None:
    """A record of an unknown type is rejected."""
    assert map_all(make_call(attributes={"otel_ml.record": record})) == Records(
        rejected=Counter(unknown_record=1)
    )


def test_bad_among_good() -> None:
    """A rejected record does not affect the others."""
    good, bad = make_update(POINTS), make_update({**POINTS, "otel_ml.metric.steps": [1]})
    records = map_all(bad, good, bad, project="p")
    assert records.rejected == Counter(invalid_metric_lists=2)
    assert records.metrics == map_all(good, project="p").metrics


OF_MODEL: Final[dict[str, Value]] = {
    "otel_ml.target.model": "churn",
    "otel_ml.target.version": "aa",
}
LINK: Final[dict[str, Value]] = {
    "otel_ml.lineage.role": "used",
    "otel_ml.lineage.kind": "model",
    "otel_ml.lineage.name": "churn",
    "otel_ml.lineage.version": "v3",
}


def test_lineage_of_a_span_and_of_a_record() -> None:
    """The same link on a run's span and in an update is stored alike, and not as an event."""
    event = Event("otel_ml.lineage", NOW_NS, LINK)
    call = make_call(events=[event])
    record = make_record("update", call, {}, events=[event])
    found = map_spans([call, record], Filing("p", NOW_NS))
    links = [(one.owner, one.role, one.kind, one.name, one.version) for one in found.lineage]
    assert links == [(id_of(call), "used", "model", "churn", "v3")] * 2
    assert [run.events for run in found.runs] == [""]


@pytest.mark.parametrize(
    ("attributes", "wrong", "reason"),
    [
        ({"otel_ml.alias": "champion"}, {}, "invalid_alias"),
        ({**OF_MODEL, "otel_ml.alias": "v3"}, {}, "invalid_alias"),
        ({**OF_MODEL, "otel_ml.alias": "3"}, {}, "invalid_alias"),
        ({**OF_MODEL, "otel_ml.alias": ["champion"]}, {}, "invalid_alias"),
        ({**OF_MODEL}, {}, "invalid_lineage"),
        ({}, {"otel_ml.lineage.role": "seen"}, "invalid_lineage"),
        ({}, {"otel_ml.lineage.kind": "table"}, "invalid_lineage"),
        ({}, {"otel_ml.lineage.name": ""}, "invalid_lineage"),
    ],
)
def test_wrong_links_are_rejected(
    attributes: dict[str, Value], wrong: dict[str, Value], reason: str
) -> None:
    """An invalid alias or link rejects its record, and only the refusal is stored."""
    events = [] if "alias" in reason else [Event("otel_ml.lineage", NOW_NS, {**LINK, **wrong})]
    record = make_record("update", make_call(), attributes, events=events)
    found = map_spans([record], Filing("p", NOW_NS))
    assert (found.rejected, len(found), len(found.refusals)) == ({reason: 1}, 1, 1)
