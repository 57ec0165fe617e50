"""Runs that already happened, with times given by the program."""

from datetime import datetime, timedelta, timezone
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace import ReadableSpan

import otel_ml
from tests.support.otel_ml.recording import (
    Recording,
    attributes,
    parent_id,
    span_id,
    stable,
    trace_id,
)

START: Final = datetime(2024, 2, 29, 12, tzinfo=timezone.utc)
END: Final = START + timedelta(seconds=2)
START_NS: Final = int(START.timestamp()) * 10**9
END_NS: Final = START_NS + 2 * 10**9


def source_of(span: ReadableSpan) -> object:
    """Return the import marker of a span's resource."""
    return span.resource.attributes.get("otel_ml.import")


def test_run_with_start_and_end(recording: Recording) -> None:
    """A run with a given start and end has these times and is marked as imported."""
    with recording.client.run("train", start=START, end=END, tags={"a": 1}) as run:
        run.info("done")
    assert recording.records("start") == []
    span = recording.run()
    assert (span.start_time, span.end_time, source_of(span)) == (START_NS, END_NS, "recorded")
    assert stable(span) == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "training",
        "otel_ml.model.name": "train",
        "otel_ml.tag.a": 1,
        "otel_ml.outcome": "ok",
    }
    assert attributes(span)["otel_ml.latency_ms"] == 2_000.0
    [line] = span.events
    assert (line.name, line.timestamp) == ("otel_ml.log", END_NS)


def test_run_with_a_start_only(recording: Recording) -> None:
    """A run with only a given start ends now."""
    before = datetime.now(timezone.utc)
    recording.client.run("train", start=before - timedelta(hours=1)).end()
    span = recording.run()
    assert (span.end_time or 0) >= int(before.timestamp() * 1e6) * 1_000
    assert attributes(span)["otel_ml.latency_ms"] >= 3_600_000


def test_other_runs_are_not_history(recording: Recording) -> None:
    """Only a run with given times is marked as imported."""
    recording.client.run("past", start=START, end=END).end()
    recording.client.run("now").end()
    assert [source_of(span) for span in recording.runs()] == ["recorded", None]


def test_trace_of_the_past(recording: Recording) -> None:
    """A backdated run inside the block of another run is its child."""
    with recording.client.run("outer", start=START, end=END):
        recording.client.record_call("inner", {"x": 1}, 2, start=START, end=END)
    inner, outer = recording.runs()
    assert (inner.name, parent_id(inner)) == ("inner", span_id(outer))


def test_record_call(recording: Recording) -> None:
    """`record_call` records inputs, output, times, tags, session, user and trace key."""
    run_id = recording.client.record_call(
        "answer",
        {"question": "why"},
        {"label": "because"},
        start="2024-02-29T12:00:00Z",
        end=END_NS,
        tags={"client": "acme"},
        session="s1",
        user="u1",
        trace_key="order-7",
        params={"rate": 1},
    )
    span = recording.run()
    assert run_id == f"{trace_id(span):032x}-{span_id(span):016x}"
    assert (span.start_time, span.end_time) == (START_NS, END_NS)
    assert stable(span) == {
        "otel_ml.inputs": '{"question":"why"}',
        "otel_ml.outputs": '{"label":"because"}',
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "answer",
        "otel_ml.tag.client": "acme",
        "otel_ml.trace_key": "order-7",
        "otel_ml.params": '{"rate":1}',
        "session.id": "s1",
        "user.id": "u1",
        "otel_ml.outcome": "ok",
    }


def test_record_a_call_that_failed(recording: Recording) -> None:
    """A call recorded with an error has the error's type and time, and no output."""
    recording.client.record_call("m", 1, 2, start=START, end=END, error=KeyError("x"))
    span = recording.run()
    found = attributes(span)
    assert (found["otel_ml.outcome"], found["error.type"]) == ("error", "KeyError")
    assert "otel_ml.outputs" not in found
    assert [event.timestamp for event in span.events] == [END_NS]


def test_metrics_of_the_past(recording: Recording) -> None:
    """Metrics have the given time, or else the end time of a backdated run."""
    with recording.client.run("train", start=START, end=END) as run:
        run.log_metrics({"loss": 0.5}, step=1, time=START)
        run.log_metric("loss", 0.25, step=2)
    [update] = recording.records("update")
    found = attributes(update)
    assert found["otel_ml.metric.values"] == (0.5, 0.25)
    assert found["otel_ml.metric.times"] == (START_NS, END_NS)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"start": END, "end": START}, "Invalid end .*expected a time that is not before start"),
        ({"end": END}, "Invalid start None: expected the start of the run, because end is given"),
        ({"start": START.replace(tzinfo=None)}, "expected a time zone"),
        ({"start": datetime.now(timezone.utc) + timedelta(days=1)}, "not in the future"),
    ],
)
def test_wrong_times(recording: Recording, times: dict[str, Any], expected: str) -> None:
    """Invalid times raise an error, and nothing is recorded."""
    with pytest.raises(ValueError, match=expected):
        recording.client.run("train", **times)
    with recording.client.run("now") as run, pytest.raises(ValueError, match="Invalid time"):
        run.log_metrics({"loss": 1}, time="noon")
    assert len(recording.runs()) == 1


def test_function_of_the_module() -> None:
    """`otel_ml.record_call` records with the default client."""
    assert otel_ml.record_call.__func__ is otel_ml.Client.record_call  # type: ignore[attr-defined]
