"""Tests of log records: the records they become, and which are rejected."""

from dataclasses import replace
from typing import Any, Final

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.logs import map_logs
from otel_ml_collector.records import LateLog, LineRecord, Metric, ModelVersion, Records, TraceKey
from otel_ml_collector.span import Log, Scope, Value
from tests.support.otel_ml_collector.logs import make_log, map_all
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    NOW_NS,
    SCOPE,
    SECOND_NS,
    make_call,
    make_span,
    map_one,
)

TRACE: Final = bytes(15) + b"\1"
SPAN: Final = bytes(7) + b"\2"
OWNER: Final = f"{TRACE.hex()}-{SPAN.hex()}"
KEY: Final = TraceKey(TRACE.hex(), "p", TRACE, NOW_NS, NOW_NS)
ABOUT_THE_TRACE: Final = TraceKey(TRACE.hex(), "p", bytes(16), NOW_NS, NOW_NS)
EVALUATION: Final = "gen_ai.evaluation.result"
CALL: Final[dict[str, Value]] = {"model": "m", "input_tokens": 1, "output_tokens": 2}


def make(body: Value = None, attributes: dict[str, Value] | None = None, **fields: Any) -> Log:
    ids: dict[str, Any] = {"trace_id": TRACE, "span_id": SPAN, "scope": Scope({}, "", "", {})}
    return make_log(body, attributes, **ids | fields)


def only_line(log: Log) -> LateLog:
    (line,) = map_all(log).logs
    return line


def score(**fields: Any) -> Metric:
    """Make an expected score, with some fields changed."""
    known: dict[str, Any] = {
        "project": "p",
        "owner": OWNER,
        "owner_start_ns": 0,
        "name": "relevance",
        "value": None,
        "step": -1,
        "time_ns": NOW_NS,
        "mode": "single",
        "source": "judge",
    }
    return Metric(**known | fields)


def told(**attributes: Value) -> dict[str, Value]:
    """Make the attributes of an evaluation, with `__` in place of a dot."""
    names = {f"gen_ai.evaluation.{key.replace('__', '.')}": attributes[key] for key in attributes}
    return {"gen_ai.evaluation.name": "relevance", **names}


def test_line() -> None:
    """A log record becomes a text line of its span's run, with its attributes."""
    log = make("Slow.", {"retry": 2, "host": "a"}, severity_number=13, severity_text="WARN")
    records = map_all(log, project="p")
    (line,) = records.logs
    assert records == Records(logs=[line], trace_keys=[KEY])
    assert line == LateLog(
        "p",
        OWNER,
        LineRecord(NOW_NS, "warning", "Slow."),
        line.record_id,
        0,
        "",
        '{"host":"a","retry":2}',
    )


def test_identity() -> None:
    """A log record that is delivered twice is the same line, whatever else is in the request."""
    log = make("Slow.", {"a": 1, "b": 2})
    again = replace(log, attributes={"b": 2, "a": 1}, observed_ns=NOW_NS + SECOND_NS)
    records = map_all(make("Other."), again, log)
    assert records.logs[1:] == [only_line(log)] * 2


@pytest.mark.parametrize(
    "fields",
    [
        {"body": "Fast."},
        {"attributes": {"a": 1}},
        {"time_ns": NOW_NS + 1},
        {"severity_number": 17},
        {"event": "an event"},
        {"span_id": bytes(7) + b"\3"},
        {"trace_id": bytes(15) + b"\3"},
        {"scope": SCOPE},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_other_line(fields: dict[str, Any]) -> None:
    """A log record that differs in any field is a different line."""
    log = make("Slow.")
    assert only_line(replace(log, **fields)).record_id != only_line(log).record_id


@pytest.mark.parametrize(
    ("number", "text", "word"),
    [
        (1, "", "debug"),
        (4, "TRACE4", "debug"),
        (5, "DEBUG", "debug"),
        (9, "INFO", "info"),
        (12, "", "info"),
        (13, "WARN", "warning"),
        (17, "ERROR", "error"),
        (21, "FATAL", "error"),
        (24, "", "error"),
        (9, "ERROR", "info"),
        (0, "warn", "warning"),
        (0, "WARNING", "warning"),
        (0, "Critical", "error"),
        (0, "trace", "debug"),
        (0, "loud", "info"),
        (0, "", "info"),
    ],
)
def test_severity(number: int, text: str, word: str) -> None:
    """The severity is read from the number, else from the text, else it is info."""
    assert only_line(make(severity_number=number, severity_text=text)).line.severity == word


@pytest.mark.parametrize(
    ("text", "kept"), [("FATAL", '{"otel.severity_text":"FATAL"}'), ("Warn", "")]
)
def test_severity_text(text: str, kept: str) -> None:
    """A severity text that is more specific than the four severities is kept."""
    log = make(severity_number=21, severity_text=text)
    assert only_line(log).attributes == kept


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("as it is", "as it is"),
        ({"b": [1, None], "a": True}, '{"b":[1,null],"a":true}'),
        (3.5, "3.5"),
        (b"\xff", '"/w=="'),
        (None, ""),
    ],
)
def test_body(body: Value, message: str) -> None:
    """A body that is not text is written as JSON."""
    assert only_line(make(body)).line.message == message


def test_exception() -> None:
    """An exception record without a body has its type and message as the line's message."""
    log = make(None, {"exception.type": "KeyError", "exception.message": "'a'"})
    assert only_line(log).line.message == "KeyError: 'a'"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {
                "component.name": "Azure AI Content Safety",
                "result.type": "severity",
                "result.value": "6",
                "risk.category": "Violence",
                "risk.score": 6.0,
            },
            "Azure AI Content Safety: severity 6, Violence, score 6.0",
        ),
        (
            {
                "component.name": "Amazon Bedrock Guardrails",
                "result.type": "action",
                "result.value": "GUARDRAIL_INTERVENED",
                "result.reason": "blocked topic",
            },
            "Amazon Bedrock Guardrails: action GUARDRAIL_INTERVENED, blocked topic",
        ),
        ({"result.type": "tripwire_triggered", "result.value": "true"}, "tripwire_triggered true"),
        ({}, ""),
    ],
)
def test_guardrail(attributes: dict[str, Value], message: str) -> None:
    """The result of a guardrail is the message of its event, which has no body."""
    named = {f"gen_ai.guardrail.{name}": value for name, value in attributes.items()}
    late = only_line(make(None, named, event="gen_ai.guardrail.result"))
    assert (late.event, late.line.message) == ("gen_ai.guardrail.result", message)


def test_event() -> None:
    """The event name is read from its field, else from the attribute that older SDKs set."""
    fields = [only_line(make(event="my.event", attributes={"event.name": "other", "a": 1}))]
    attribute = only_line(make(attributes={"event.name": "my.event", "a": 1}))
    assert [(line.event, line.attributes) for line in (*fields, attribute)] == [
        ("my.event", '{"a":1,"event.name":"other"}'),
        ("my.event", '{"a":1}'),
    ]


def test_scope() -> None:
    """The logger's name is added to the attributes."""
    line = only_line(make(scope=Scope({}, "app.db", "1", {})))
    assert line.attributes == '{"otel.scope.name":"app.db"}'


def test_time() -> None:
    """A record without an event time gets the time at which it was observed."""
    assert only_line(make(time_ns=0, observed_ns=NOW_NS - 5)).line.time_ns == NOW_NS - 5


def test_without_time() -> None:
    """A record without any time gets the time of its arrival. Sent again, it is the same record."""
    log = make("text", time_ns=0, observed_ns=0)
    call = replace(log, trace_id=b"", span_id=b"", attributes=CALL)
    first = map_all(log, call, project="p")
    again = map_logs([log, call], Filing("p", NOW_NS + SECOND_NS))
    assert not first.rejected
    assert [records.logs[0].line.time_ns for records in (first, again)] == [
        NOW_NS,
        NOW_NS + SECOND_NS,
    ]
    assert first.logs[0].record_id == again.logs[0].record_id
    assert first.runs[0].end_ns == NOW_NS
    assert first.runs[0].run_id == again.runs[0].run_id


def test_trace_alone() -> None:
    """A record without a span, or with an all-zero span ID, belongs to its trace."""
    for span_id in (b"", bytes(8)):
        records = map_all(make("text", span_id=span_id), project="p")
        assert [line.owner for line in records.logs] == [f"key:{TRACE.hex()}"]
        assert records.trace_keys == [KEY, ABOUT_THE_TRACE]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": b""}, "no_trace"),
        ({"trace_id": bytes(16)}, "no_trace"),
        ({"trace_id": b"", "span_id": b""}, "no_trace"),
        ({"trace_id": b"\1"}, "invalid_trace_id"),
        ({"span_id": b"\1" * 16}, "invalid_span_id"),
        ({"time_ns": NOW_NS - 401 * DAY_NS}, "outside_time_window"),
        ({"time_ns": NOW_NS + DAY_NS}, "outside_time_window"),
        ({"time_ns": 2**64 - 1}, "outside_time_window"),
        ({"attributes": {"otel_ml.project": "a\nb"}}, "invalid_project"),
        ({"event": EVALUATION}, "invalid_evaluation"),
        ({"event": EVALUATION, "trace_id": b"", "attributes": told()}, "no_trace"),
    ],
)
def test_reject(fields: dict[str, Any], reason: str) -> None:
    """A record that can never be stored is rejected with a reason. The others are stored."""
    good = make("good")
    records = map_all(make("bad", **fields), good, project="p")
    assert records.rejected == {reason: 1}
    assert [line.line.message for line in records.logs] == ["good"]


@pytest.mark.parametrize(
    ("log", "project"),
    [
        (make("", {"otel_ml.project": "log"}, scope=Scope({}, "", "", {})), "log"),
        (make(scope=Scope({"otel_ml.project": "resource"}, "", "", {})), "resource"),
        (
            make(
                scope=Scope({"otel_ml.project": "resource"}, "", "", {"otel_ml.project": "scope"})
            ),
            "scope",
        ),
        (make(), "header"),
    ],
)
def test_project(log: Log, project: str) -> None:
    """As for spans, the project is read from the record, its scope, resource or request."""
    assert [line.project for line in map_all(log, project="header").logs] == [project]


def test_default_project() -> None:
    """A record without a project is stored in the same default project as spans."""
    assert only_line(make()).project == map_one(make_call()).project == "default"


def test_evaluation() -> None:
    """An evaluation is a score of its span's run, for both ways to name the event."""
    attributes = told(score__value=0.75, score__label="pass", explanation="To the point.")
    expected = Records(
        metrics=[score(value=0.75, passed=True, label="pass", explanation="To the point.")],
        trace_keys=[KEY],
    )
    named = make(None, attributes, event=EVALUATION)
    former = make(None, {**attributes, "event.name": EVALUATION})
    assert map_all(named, project="p") == map_all(former, project="p") == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (told(score__value=1), {"value": 1.0}),
        (told(score__value="0.5"), {"value": 0.5}),
        (told(score__value=0), {"value": 0.0}),
        (told(score__value=float("nan")), {"error": "the score is not a number"}),
        (told(score__value="nan"), {"error": "the score is not a number"}),
        (told(score__value=float("-inf")), {"error": "the score is infinite"}),
        (told(score__value="inf"), {"error": "the score is infinite"}),
        (told(score__value="high"), {"error": "the evaluation has no score"}),
        (told(), {"error": "the evaluation has no score"}),
        (told(score__label="relevant"), {"label": "relevant"}),
        (told(score__label="Fail"), {"label": "Fail", "passed": False}),
        (told(score__label="passed"), {"label": "passed", "passed": True}),
        ({**told(score__label="odd"), "otel_ml.passed": True}, {"label": "odd", "passed": True}),
        ({**told(), "error.type": "Timeout"}, {"error": "Timeout"}),
    ],
)
def test_score(attributes: dict[str, Value], expected: dict[str, Any]) -> None:
    """A score that is not a number is an error, unless it is a verdict in words."""
    (found,) = map_all(make(None, attributes, event=EVALUATION), project="p").metrics
    assert found == score(**expected)


def test_judge_version() -> None:
    """A judge version in an evaluation is stored as a version."""
    attributes = {**told(score__value=1.0), "otel_ml.judge.version": "aa"}
    records = map_all(make(None, attributes, event=EVALUATION), project="p")
    assert records.metrics == [score(value=1.0, judge_version="aa")]
    assert records.versions == [
        ModelVersion("p", "judge", "relevance", "aa", "", "", NOW_NS, NOW_NS)
    ]


@pytest.mark.parametrize(
    ("fields", "owner"),
    [
        ({}, OWNER),
        ({"span_id": b""}, "tag:gen_ai.response.id=r-1"),
        ({"span_id": b"", "trace_id": b""}, "tag:gen_ai.response.id=r-1"),
    ],
)
def test_response(fields: dict[str, Any], owner: str) -> None:
    """An evaluation without a span is about the response whose ID it has."""
    attributes = {**told(score__value=1.0), "gen_ai.response.id": "r-1"}
    (found,) = map_all(make(None, attributes, event=EVALUATION, **fields), project="p").metrics
    assert found == score(value=1.0, owner=owner)


def test_evaluation_of_a_trace() -> None:
    """An evaluation without a span and a response ID is about its trace."""
    log = make(None, told(score__value=1.0), event=EVALUATION, span_id=b"")
    assert map_all(log, project="p") == Records(
        metrics=[score(value=1.0, owner=f"key:{TRACE.hex()}")], trace_keys=[KEY, ABOUT_THE_TRACE]
    )


def test_times_of_a_trace() -> None:
    """A trace key spans the first to the last log record, in any order."""
    logs = [make("x", time_ns=NOW_NS + offset) for offset in (5, -5, 0)]
    assert map_all(*logs, project="p").trace_keys == [
        replace(KEY, start_ns=NOW_NS - 5, end_ns=NOW_NS + 5)
    ]


def test_nothing() -> None:
    """An empty list of log records gives no records."""
    assert map_logs([], Filing(None, NOW_NS)) == Records()


CALLED: dict[str, Value] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 61,
    "gen_ai.usage.output_tokens": 18,
    "gen_ai.input.messages": [{"role": "user", "content": "Where?"}],
    "gen_ai.output.messages": [{"role": "assistant", "content": "In Oslo."}],
}
DETAILS: Final = "gen_ai.client.inference.operation.details"
TALK: dict[str, Value] = {
    "input": {"messages": [{"role": "user", "content": {"content": '[{"text": "Where?"}]'}}]},
    "output": {"messages": [{"role": "assistant", "content": {"message": "In Oslo."}}]},
}


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(make_log(None, CALLED, event=DETAILS), id="attributes"),
        pytest.param(make_log(CALLED, event=DETAILS), id="body"),
        pytest.param(
            make_log(
                TALK,
                {"model": "gpt-4o-mini", "prompt_tokens": 61, "completion_tokens": 18},
            ),
            id="texts in the body",
        ),
        pytest.param(
            make_log(
                {
                    "model": "gpt-4o-mini",
                    "prompt": "Where?",
                    "response": "In Oslo.",
                    "usage": {"prompt_tokens": 61, "completion_tokens": 18},
                }
            ),
            id="everything in the body",
        ),
    ],
)
def test_call_without_span(log: Log) -> None:
    """The details of a call, or a body with its input and output, are a run without a span."""
    (run,) = map_all(log).runs
    assert (run.kind, run.model, run.input_tokens, run.output_tokens) == (
        *("model", "gpt-4o-mini"),
        *(61, 18),
    )
    assert (run.inputs_preview, run.outputs_preview) == ("Where?", "In Oslo.")


def test_details_that_lost_their_span() -> None:
    """Details of OpenLIT without an ID are no run, because it also sends the span."""
    scope = Scope({"telemetry.sdk.name": "openlit"}, "openlit", "1", {})
    records = map_all(make_log(None, CALLED, event=DETAILS, scope=scope))
    assert (records.runs, records.rejected) == ([], {"no_trace": 1})


def test_body_of_a_span() -> None:
    """A body with input and output is the content of its span."""
    (line,) = map_all(make_log(TALK, of=make_span("chat", {}))).logs
    assert line.event == DETAILS


@pytest.mark.parametrize(
    "body",
    [{"input": "a", "output": "b"}, {"model": "gpt-4o-mini", "input": "a"}, "input and output"],
)
def test_body_that_is_no_call(body: Value) -> None:
    """A body without a known model, or with one side only, is no call."""
    assert map_all(make_log(body, {"session.id": "s"})).runs == []
