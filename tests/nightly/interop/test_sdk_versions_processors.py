"""A run is an ordinary span for foreign processors, exporters and providers, with every SDK."""

import pytest

from tests.support.interop.environments import Answers, ask


@pytest.fixture(scope="module")
def processors(sdk: str) -> Answers:
    """Return the results of the program `processors` with the SDK."""
    return ask(sdk, "processors")


def test_processor_is_told_the_same(processors: Answers) -> None:
    """A processor is called for a run at the same moments and in the same order as for a span."""
    found = processors["calls"]
    alike = ("call", "readable", "recording", "above", "flags", "parent", "kind", "name", "started")
    ours, stock = (
        [{key: call[key] for key in alike} for call in found[whose]] for whose in ("ours", "stock")
    )
    assert ours == stock
    assert ours[0]["above"] == ours[0]["parent"] == found["request"]


def test_processor_sees_the_first_attributes(processors: Answers) -> None:
    """When a run starts, a processor sees the attributes known by then."""
    start = processors["calls"]["ours"][0]
    assert start["attributes"] == [
        "otel_ml.kind",
        "otel_ml.model.name",
        "otel_ml.project",
        "processor.start",
    ]


def test_processor_adds_attributes(processors: Answers) -> None:
    """An attribute set by a processor at a run's start arrives with the run."""
    assert processors["calls"]["run"]["attributes"]["processor.start"] == "seen"


def test_failing_processor(processors: Answers) -> None:
    """A processor that raises at a run's start or end does not affect the host's call."""
    assert processors["failing"] == ["returned", "returned"]


def test_concurrent_processors(processors: Answers) -> None:
    """Processors that the SDK calls in other threads see runs start and end."""
    assert processors["concurrent"] == ["start", "end"]


def test_batches(processors: Answers) -> None:
    """The SDK's batch processor delivers runs in the order in which they ended."""
    assert [run["name"] for run in processors["batch"]] == ["first", "second"]


def test_flush_of_a_lent_provider(processors: Answers) -> None:
    """Flushing the client's provider also flushes the service's processors."""
    assert processors["lent"] == ["chat"]


def test_console(processors: Answers) -> None:
    """The SDK's console exporter prints a run."""
    found = processors["console"]
    assert found["printed"] == found["run"]
    assert found["printed"]["name"] == "model"


def test_processor_that_comes_later(processors: Answers) -> None:
    """A processor added after the first run sees the next one."""
    assert processors["added_later"] == ["after"]


def test_provider_that_was_shut_down(processors: Answers) -> None:
    """A traced function still works after its provider was shut down."""
    assert processors["after_shutdown"] == "returned"


def test_given_subclass_makes_the_span(processors: Answers) -> None:
    """With a provider of a custom class, a run is the span made by its tracer."""
    own, _ = processors["subclass"]
    assert own["type"] == "ReadableSpan"


def test_given_subclass_gets_the_same_span(processors: Answers) -> None:
    """With a provider of a custom class, a run has the same content as with the SDK's class."""
    alike = ("name", "kind", "parent", "flags", "status", "links", "dropped", "scope")
    own, exact = (
        {
            **{key: run[key] for key in alike},
            "events": [event["attributes"] for event in run["events"]],
            "attributes": {
                key: value
                for key, value in run["attributes"].items()
                if key not in {"otel_ml.latency_ms", "otel_ml.seq"}
            },
        }
        for run in processors["subclass"]
    )
    assert own == exact


def test_global_subclass_is_left_alone(processors: Answers) -> None:
    """A global provider of a custom class is not joined, but runs still belong to its traces."""
    found = processors["not_joined"]
    request, run = found["request"], found["run"]
    assert (request["name"], run["name"]) == ("request", "model")
    assert run["parent"]["span_id"] == request["span_id"]
    assert run["trace_id"] == request["trace_id"]
