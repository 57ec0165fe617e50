"""Statistics of a client: counters, configuration, and overhead per call."""

import threading

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client, Judge
from otel_ml.recorder import Stats
from tests.support.otel_ml.recording import Recording, attributes
from tests.support.waiting import elapsed, wait_until

LONG_S = 20.0


def call(client: Client, times: int = 1) -> None:
    traced = client.trace(name="model")(lambda: 1)
    for _ in range(times):
        traced()


# Counters.


def test_new_client_has_done_nothing() -> None:
    """Before the first call all counters are zero, and no configuration is chosen."""
    stats = Client("new").stats()
    assert stats == Stats(trouble=stats.trouble)


def test_calls_with_pending_judges_are_counted(recording: Recording) -> None:
    """A call counts as pending until its judges have finished."""
    over = threading.Event()
    judge = Judge("slow", "", lambda: over.wait(LONG_S))
    recording.client.assess(judge)(lambda: 1)()
    assert recording.client.stats().pending == 1
    over.set()
    assert recording.client.flush()
    assert recording.client.stats().pending == 0


def test_trouble_is_counted_by_place(recording: Recording) -> None:
    """An error that is hidden from the host is counted under its place as trouble."""
    before = recording.client.stats().trouble.get("run.tag", 0)

    class Name:
        def __str__(self) -> str:
            raise ValueError("no")

    with recording.client.run("fit") as run:
        run.tag({Name(): 1})  # type: ignore[arg-type]  # what a user may do
    assert recording.client.stats().trouble["run.tag"] == before + 1


# Sequence numbers.


def test_sequence_is_the_highest_number(recording: Recording) -> None:
    """`sequence` is the number of the last run or record."""
    call(recording.client, 3)
    last = recording.spans()[-1]
    assert recording.client.stats().sequence == attributes(last)["otel_ml.seq"]


def test_call_that_is_sampled_out_takes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampled-out call takes no number, because a gap would look like a lost run."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    exporter = InMemorySpanExporter()
    client = Client("sampled", exporter=exporter, join=False)
    call(client, 200)
    assert client.flush()
    numbers = [attributes(span)["otel_ml.seq"] for span in exporter.get_finished_spans()]
    client.close()
    assert numbers == list(range(1, len(numbers) + 1))
    assert 0 < len(numbers) < 200


def test_failed_calls_take_numbers(recording: Recording) -> None:
    """A call that raised takes a number like any other."""
    call(recording.client)
    before = recording.client.stats().sequence

    @recording.client.trace
    def model() -> None:
        raise ValueError("wrong")

    for _ in range(3):
        with pytest.raises(ValueError, match="wrong"):
            model()
    assert recording.client.stats().sequence == before + 3


# Configuration.


def test_exporter_of_the_user_s_is_named(recording: Recording) -> None:
    """With a user's exporter, the configuration has the exporter's name and batch size."""
    call(recording.client)
    found = recording.client.stats().configuration
    assert (found["endpoint"], found["batch_spans"]) == ("InMemorySpanExporter", 512)


def test_joined_provider_is_named() -> None:
    """With a given provider, the configuration only has the provider's name."""
    client = Client("joined", tracer_provider=TracerProvider(shutdown_on_exit=False))
    call(client)
    assert client.stats().configuration == {"provider": "TracerProvider"}
    client.close()


# Overhead per call.


def test_cost_is_unknown_before_a_call() -> None:
    """The overhead is unknown before the first call."""
    stats = Client("new").stats()
    assert (stats.cost_p50_us, stats.cost_p99_us) == (None, None)


def test_cost_is_that_of_the_sdk(recording: Recording) -> None:
    """The overhead of a call excludes the time of the function itself."""
    traced = recording.client.trace(lambda: wait_until(elapsed(0.02)))
    for _ in range(20):
        traced()
    stats = recording.client.stats()
    assert stats.cost_p50_us is not None
    assert stats.cost_p99_us is not None
    assert 0 < stats.cost_p50_us < 10_000
    assert stats.cost_p50_us <= stats.cost_p99_us


@pytest.mark.parametrize("kind", ["judged", "failed", "stream"])
def test_cost_of_every_kind_of_call(recording: Recording, kind: str) -> None:
    """The overhead is also measured for calls that are judged, that raise or that stream."""
    client = recording.client
    if kind == "judged":
        client.assess(Judge("any", "", lambda: 1))(lambda: 1)()
    elif kind == "stream":
        list(client.trace(lambda: (yield 1))())
    else:
        with pytest.raises(ZeroDivisionError):
            client.trace(lambda: 1 / 0)()
    assert recording.client.stats().cost_p50_us is not None


def test_cost_is_that_of_the_last_calls(recording: Recording) -> None:
    """Only the last thousand calls count; the first call, which loads code, is dropped."""
    call(recording.client)
    first = recording.client.stats().cost_p99_us
    call(recording.client, 1_100)
    last = recording.client.stats().cost_p50_us
    assert first is not None
    assert last is not None
    assert last < first
