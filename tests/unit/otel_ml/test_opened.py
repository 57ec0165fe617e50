"""Runs opened by hand: how they end, their attributes, and disabled blocks."""

import gc
import json
import threading

import pytest
from opentelemetry import trace

from otel_ml import current_run
from tests.support.otel_ml.recording import (
    Recording,
    attributes,
    outputs,
    parent_id,
    span_id,
    stable,
)


def outcomes(recording: Recording) -> list[tuple[str, str]]:
    return [(span.name, attributes(span)["otel_ml.outcome"]) for span in recording.runs()]


def test_run_ends_when_its_scope_is_left(recording: Recording) -> None:
    """A run ends when the last reference to it is gone."""

    def train() -> None:
        run = recording.client.run("training")
        run.tag(a=1)

    train()
    assert outcomes(recording) == [("training", "ok")]
    assert attributes(recording.run())["otel_ml.tag.a"] == 1


def test_run_in_a_cycle_ends_with_it(recording: Recording) -> None:
    """A run in a reference cycle ends when the cycle is collected."""
    holder: list[object] = [recording.client.run("training")]
    holder.append(holder)
    gc.collect()
    assert recording.runs() == []
    del holder
    gc.collect()
    assert outcomes(recording) == [("training", "ok")]


def test_run_ends_once(recording: Recording) -> None:
    """A run that has ended does not end again with its block, its scope or its client."""
    with recording.client.run("training") as run:
        run.end()
        run.end()
    del run
    gc.collect()
    recording.client.close()
    assert len(recording.exporter.get_finished_spans()) == 3  # start, run, goodbye


def test_run_whose_block_raised(recording: Recording) -> None:
    """An exception in the block of a run is the run's outcome and propagates."""
    with pytest.raises(KeyError), recording.client.run("training"):
        raise KeyError("x")
    assert outcomes(recording) == [("training", "error")]


def test_plain_run_is_not_current(recording: Recording) -> None:
    """A run is the current run only inside its block."""
    run = recording.client.run("training")
    assert not current_run().is_recorded
    with run:
        assert current_run().id == run.id
        recording.client.trace(name="step")(lambda: None)()
    assert not current_run().is_recorded
    child, outer = recording.runs()
    assert (child.name, parent_id(child)) == ("step", span_id(outer))


def test_run_knows_whose_it_is(recording: Recording) -> None:
    """Session, user and trace key of a run are recorded under their standard names."""
    client = recording.client
    with client.run("chat", session="s1", user="u1", trace_key="order-7", kind="agent"):
        pass
    assert stable(recording.run()) == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "agent",
        "otel_ml.model.name": "chat",
        "session.id": "s1",
        "user.id": "u1",
        "otel_ml.trace_key": "order-7",
        "otel_ml.outcome": "ok",
    }


def test_call_learns_whose_it_is(recording: Recording) -> None:
    """A traced call can set its session and user while it runs."""

    @recording.client.trace
    def model() -> None:
        current_run().identify(session="s1", user="u1")

    model()
    found = attributes(recording.run())
    assert (found["session.id"], found["user.id"]) == ("s1", "u1")


def test_output_of_a_run(recording: Recording) -> None:
    """A run without a function has the output that was set, as of the time of setting."""
    found = [1, 2]
    with recording.client.run("training") as run:
        run.set_output(found)
        found.append(3)
    assert outputs(recording.run()) == [1, 2]


def test_output_of_a_call_may_be_set(recording: Recording) -> None:
    """A set output replaces the returned value in the record, not for the caller."""

    @recording.client.trace
    def model() -> bytes:
        current_run().set_output({"text": "hello"})
        return b"\x00" * 10

    assert model() == b"\x00" * 10
    run = recording.run()
    assert outputs(run) == {"text": "hello"}
    definition = json.loads(attributes(run)["otel_ml.model.definition"])
    assert definition["output"] == "{text: str}"


def test_output_of_a_failed_call_stays(recording: Recording) -> None:
    """An output set before the call raised is recorded."""

    @recording.client.trace
    def model() -> None:
        current_run().set_output("partial")
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        model()
    assert outputs(recording.run()) == "partial"


def test_run_that_is_not_recorded_takes_everything(recording: Recording) -> None:
    """Inside a disabled block all methods of a run work and record nothing."""
    client = recording.client
    with client.disabled(), client.run("training", params={"a": 1}) as run:
        run.tag(a=1)
        run.info("x")
        run.log_metric("loss", 1)
        run.set_output(1)
        run.identify(user="u")
        run.feedback("helpful", 1)
        client.trace(lambda: None)()
        client.about(trace_key="k").tag(a=1)
        assert not run.is_recorded
    assert recording.spans() == []
    client.trace(lambda: None)()
    assert len(recording.runs()) == 1


def test_disabled_is_of_one_thread(recording: Recording) -> None:
    """A disabled block only affects its own thread."""
    client = recording.client
    traced = client.trace(lambda: None)
    with client.disabled():
        thread = threading.Thread(target=traced)
        thread.start()
        thread.join()
        traced()
    assert len(recording.runs()) == 1


def test_disabled_is_of_one_client(recording: Recording) -> None:
    """A disabled block of one client does not affect other clients."""
    other = Recording()
    with recording.client.disabled():
        other.client.trace(lambda: 1)()
    assert (len(recording.runs()), len(other.runs())) == (0, 1)
    other.client.close()


def test_disabled_keeps_the_host_s_trace(recording: Recording) -> None:
    """A disabled block does not change the host's current span."""
    before = trace.get_current_span()
    with recording.client.disabled():
        assert trace.get_current_span() is before
    assert trace.get_current_span() is before


@pytest.mark.parametrize(
    ("options", "step", "kind"),
    [
        ({"session": "s1"}, 0, "training"),
        ({"session": "s1"}, None, "chain"),
        ({"session": "s1", "kind": "chain"}, 1, "chain"),
        ({"session": "s1", "kind": "agent"}, 1, "agent"),
        ({}, None, "training"),
    ],
)
def test_metrics_by_step_make_a_training(
    recording: Recording, options: dict[str, str], step: int | None, kind: str
) -> None:
    """A run with a session and no given kind becomes a training if it logs metrics by step."""
    with recording.client.run("fit", **options) as run:  # type: ignore[arg-type]  # of texts
        run.log_metrics({"loss": 0.5}, step=step)
        run.log_metrics({"accuracy": 0.5})
    [ended] = recording.runs()
    assert attributes(ended)["otel_ml.kind"] == kind
