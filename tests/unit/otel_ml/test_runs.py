"""The handle of a run."""

import gc
import threading
import weakref

import numpy as np
import pytest
from opentelemetry import trace

from otel_ml import current_run
from tests.support.otel_ml.hostile import VALUES
from tests.support.otel_ml.recording import (
    Recording,
    attributes,
    events,
    parent_id,
    span_id,
    stable,
    trace_id,
)


def test_run_leaves_one_span(recording: Recording) -> None:
    """A run that was opened and ended leaves one span with its params, tags and log lines."""
    with recording.client.run("training", params={"lr": 0.1}, tags={"team": "a"}) as run:
        run.tag({"client": "bigshot"}, size=3)
        run.info("began")
    span = recording.run()
    assert span.name == "training"
    assert stable(span) == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "training",
        "otel_ml.model.name": "training",
        "otel_ml.params": '{"lr":0.1}',
        "otel_ml.tag.team": "a",
        "otel_ml.tag.client": "bigshot",
        "otel_ml.tag.size": 3,
        "otel_ml.outcome": "ok",
    }
    assert events(span) == [
        ("otel_ml.log", {"otel_ml.log.severity": "info", "otel_ml.log.message": "began"})
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", "a"),
        (1, 1),
        (1.5, 1.5),
        (True, True),
        (2**63 - 1, 2**63 - 1),
        (2**63, "9223372036854775808"),
        (-(2**63) - 1, "-9223372036854775809"),
        (None, "None"),
        ([1, 2], "[1, 2]"),
        (b"a", "b'a'"),
        (VALUES["decimal"](), "1.10"),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
    ],
)
def test_tag_keeps_a_primitive_type(recording: Recording, value: object, expected: object) -> None:
    """A tag is text, a number or a bool; any other value is converted to text."""
    with recording.client.run("training") as run:
        run.tag(value=value)
    found = attributes(recording.run())["otel_ml.tag.value"]
    assert isinstance(found, type(expected))
    assert found == expected


def test_last_tag_stays(recording: Recording) -> None:
    """If a tag is set several times, the last value is kept."""
    with recording.client.run("training", tags={"a": 1}) as run:
        run.tag(a=2)
        run.tag({"a": 3})
    assert attributes(recording.run())["otel_ml.tag.a"] == 3


def test_hostile_tag_hides_no_other(recording: Recording) -> None:
    """A tag value that cannot be read raises nothing, and other tags are kept."""
    with recording.client.run("training") as run:
        run.tag({"a": 1, "bad": VALUES["hostile"](), "b": 2})
    found = attributes(recording.run())
    assert (found.get("otel_ml.tag.a"), found.get("otel_ml.tag.b")) == (1, 2)


def test_many_tags_leave_room(recording: Recording) -> None:
    """After 80 tags further tags are sent as one JSON attribute, and no core attribute is lost."""
    with recording.client.run("training", params={"a": 1}) as run:
        run.tag({f"t{number:03}": number for number in range(500)})
        run.info("text")
    found = attributes(recording.run())
    names = [name for name in found if name.startswith("otel_ml.tag.")]
    assert names == [f"otel_ml.tag.t{number:03}" for number in range(80)]
    rest = ",".join(f'"t{number:03}":{{"value":{number}}}' for number in range(80, 500))
    assert found["otel_ml.tags"] == f"{{{rest}}}"
    assert {
        "otel_ml.project",
        "otel_ml.kind",
        "otel_ml.model.name",
        "otel_ml.params",
        "otel_ml.outcome",
        "otel_ml.latency_ms",
        "otel_ml.process",
        "otel_ml.seq",
    } <= set(found)


def test_lines_have_severities(recording: Recording) -> None:
    """Log lines are sent with the run, in order, with their severity."""
    with recording.client.run("training") as run:
        run.debug("a")
        run.info("b")
        run.warning("c")
        run.error("d")
    span = recording.run()
    assert [tuple(event.values()) for _, event in events(span)] == [
        ("debug", "a"),
        ("info", "b"),
        ("warning", "c"),
        ("error", "d"),
    ]
    assert stable(span)["otel_ml.outcome"] == "ok"


def test_64_lines_are_an_update(recording: Recording) -> None:
    """A run sends its log lines as an update at 64 lines, and the others before it ends."""
    with recording.client.run("training") as run:
        for number in range(70):
            run.info(str(number))
    span = recording.run()
    updates = recording.records("update")
    assert [
        [event["otel_ml.log.message"] for _, event in events(update)] for update in updates
    ] == [list(map(str, range(64))), list(map(str, range(64, 70)))]
    assert {parent_id(update) for update in updates} == {span_id(span)}
    assert events(span) == []


def test_hostile_line_raises_nothing(recording: Recording) -> None:
    """A log line that cannot be read raises nothing."""
    with recording.client.run("training") as run:
        run.info(VALUES["hostile"]())  # type: ignore[arg-type]  # that is the point
    assert stable(recording.run())["otel_ml.outcome"] == "ok"


def test_ended_run_takes_updates(recording: Recording) -> None:
    """Tags, lines and metrics added after a run's end are sent as update records."""
    run = recording.client.run("training")
    run.end()
    run.tag(late=True)
    run.info("late")
    run.log_metrics({"loss": 0.5})
    tag, line, metric = recording.records("update")
    assert stable(tag)["otel_ml.tag.late"] is True
    assert events(line)[0][1]["otel_ml.log.message"] == "late"
    assert stable(metric)["otel_ml.metric.names"] == ("loss",)
    assert {parent_id(span) for span in (tag, line, metric)} == {span_id(recording.run())}


def test_second_end_does_nothing(recording: Recording) -> None:
    """A run that is ended twice is recorded once, with the outcome of the first end."""
    run = recording.client.run("training")
    run.end()
    run.end(ValueError("late"))
    assert stable(recording.run())["otel_ml.outcome"] == "ok"


def test_ended_block_is_recorded_once(recording: Recording) -> None:
    """A run that ends inside its block is recorded once."""
    with recording.client.run("training") as run:
        run.end()
    assert len(recording.runs()) == 1


def test_failed_block_is_recorded(recording: Recording) -> None:
    """An exception in the block propagates and becomes the run's outcome."""
    error = ValueError("wrong")
    with pytest.raises(ValueError, match=r"^wrong$") as caught, recording.client.run("training"):
        raise error
    assert caught.value is error
    span = recording.run()
    assert stable(span) == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "training",
        "otel_ml.model.name": "training",
        "otel_ml.outcome": "error",
        "error.type": "ValueError",
    }
    assert span.status.description == "ValueError: wrong"
    assert [name for name, _ in events(span)] == ["exception"]


def test_given_error_is_the_outcome(recording: Recording) -> None:
    """A run ended with an error has failed."""
    recording.client.run("training").end(ValueError("wrong"))
    assert stable(recording.run())["error.type"] == "ValueError"


def test_traced_call_that_ends_its_run_is_whole(recording: Recording) -> None:
    """A traced function that ends its own run leaves one complete run."""

    @recording.client.trace
    def model() -> int:
        current_run().end()
        return 1

    assert model() == 1
    assert attributes(recording.run())["otel_ml.outputs"] == "1"


def test_run_is_current_in_its_block(recording: Recording) -> None:
    """A run is current, and the parent of calls, only inside its block."""
    child = recording.client.trace(name="child")(lambda: None)
    with recording.client.run("training") as run:
        assert current_run() is run
        assert recording.client.current_run() is run
        child()
    child()
    inside, outer, after = recording.runs()
    assert current_run() is not run
    assert [parent_id(span) for span in (inside, outer, after)] == [span_id(outer), None, None]


def test_runs_nest(recording: Recording) -> None:
    """The innermost run is current; after it ends, the outer run is current again."""
    with recording.client.run("outer") as outer:
        with recording.client.run("inner") as inner:
            assert current_run() is inner
        assert current_run() is outer
    first, second = recording.runs()
    assert parent_id(first) == span_id(second)


def test_run_has_the_ids_of_its_span(recording: Recording) -> None:
    """A run has the hex ids of its span."""
    with recording.client.run("training") as run:
        pass
    span = recording.run()
    assert run.trace_id == f"{trace_id(span):032x}"
    assert run.id == f"{trace_id(span):032x}-{span_id(span):016x}"


def test_no_run_takes_everything() -> None:
    """Outside any run, the current run accepts every method and is not recorded."""
    run = current_run()
    run.tag(a=1)
    run.info("text")
    run.log_metrics({"loss": 0.5})
    run.log_metric("loss", [0.5], step=1)
    assert run.is_recorded is False
    assert run.trace_id == "0" * 32
    assert run.id == "0" * 32 + "-" + "0" * 16


class Text(str):
    """Text that can be weakly referenced."""

    __slots__ = ("__weakref__",)


def test_no_run_keeps_nothing() -> None:
    """Text passed to the current run outside any run is not kept in memory."""
    text = Text("long")
    watch = weakref.ref(text)
    current_run().tag(text=text)
    current_run().info(text)
    del text
    gc.collect()
    assert watch() is None


def test_no_run_is_not_ended() -> None:
    """Ending the current run outside any run has no effect."""
    current_run().end()
    assert current_run().is_recorded is False


def test_host_s_span_is_no_run(recording: Recording) -> None:
    """Inside a host's span there is no current run."""
    host = trace.NonRecordingSpan(
        trace.SpanContext(7, 8, is_remote=False, trace_flags=trace.TraceFlags(1))
    )
    with trace.use_span(host):
        current_run().tag(a=1)
        assert current_run().is_recorded is False
    assert recording.spans() == []


def test_run_of_another_thread_can_be_told(recording: Recording) -> None:
    """Another thread can add to a run."""
    with recording.client.run("training") as run:
        thread = threading.Thread(target=run.tag, kwargs={"a": 1})
        thread.start()
        thread.join()
    assert attributes(recording.run())["otel_ml.tag.a"] == 1


@pytest.mark.parametrize("is_later", [False, True])
def test_run_says_what_it_was_given(recording: Recording, *, is_later: bool) -> None:
    """An opened run has the input that it was opened with or that was set before its end."""
    inputs = {"question": "Where is my parcel?"}
    with recording.client.run("turn", inputs=None if is_later else inputs) as run:
        if is_later:
            run.set_input(inputs)
        run.set_output("At the post office")
    told = attributes(recording.run())
    assert told["otel_ml.inputs"] == '{"question":"Where is my parcel?"}'
    assert told["otel_ml.outputs"] == '"At the post office"'
    run.set_input("too late")
    assert attributes(recording.run())["otel_ml.inputs"] == told["otel_ml.inputs"]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "training"),
        ({"session": "chat-17"}, "chain"),
        ({"session": "chat-17", "kind": "agent"}, "agent"),
        ({"session": "chat-17", "kind": "training"}, "training"),
    ],
)
def test_kind_of_an_opened_run(recording: Recording, given: dict[str, str], kind: str) -> None:
    """If no kind is given, an opened run with a session is a chain, any other a training."""
    recording.client.run("turn", **given).end()  # type: ignore[arg-type]  # all are texts
    assert attributes(recording.run())["otel_ml.kind"] == kind
