"""The content of a call's run: inputs, output, version, and notes about omitted data."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_ml import Client, current_run
from tests.support.otel_ml.hostile import VALUES
from tests.support.otel_ml.recording import Recording, attributes, inputs, outputs, stable

# printf number | sha256sum | cut -c1-16
NUMBER = "12886f9d00055adf"


def double(a: int) -> int:
    """Docstring."""
    return a * 2


def given(value: Any) -> Any:
    return value


def definition(span: ReadableSpan) -> Any:
    text = attributes(span).get("otel_ml.model.definition")
    return None if text is None else json.loads(text)


@pytest.fixture
def sampled_out() -> Iterator[Recording]:
    """Yield a recording whose provider samples out every span."""
    recording = Recording()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    recording.client = Client("shop", exporter=recording.exporter, tracer_provider=provider)
    yield recording
    recording.client.close()
    provider.shutdown()


def test_run_names_its_version(recording: Recording) -> None:
    """A run has its version's digest and output structure, and the first run the definition."""
    recording.client.trace(params={"depth": 3})(double)(1)
    span = recording.run()
    assert attributes(span)["otel_ml.model.output_schema"] == NUMBER
    assert len(bytes.fromhex(attributes(span)["otel_ml.model.version"])) == 8
    assert attributes(span)["otel_ml.params"] == '{"depth":3}'
    assert definition(span) == {
        "source": 'def double(a: int) -> int:\n    """Docstring."""\n    return a * 2',
        "signature": "(a: int) -> int",
        "params": {"depth": 3},
        "helpers": {},
        "constants": {},
        "unseen": [],
        "output": "number",
    }


def test_definition_travels_once(recording: Recording) -> None:
    """Only the first run of a version carries the definition."""
    traced = recording.client.trace(double)
    traced(1)
    traced(2)
    first, second = recording.runs()
    version = attributes(first)["otel_ml.model.version"]
    assert attributes(second)["otel_ml.model.version"] == version
    assert (definition(first) is None, definition(second) is None) == (False, True)


def test_definition_travels_with_each_structure(recording: Recording) -> None:
    """The first run of each output structure carries the definition with that structure."""
    traced = recording.client.trace(given)
    for value in (1, "a", 2, "b"):
        traced(value)
    found = [definition(span) for span in recording.runs()]
    assert [item and item["output"] for item in found] == ["number", "str", None, None]


def test_many_structures_are_dynamic(recording: Recording) -> None:
    """From the 9th output structure of a definition on, new structures are recorded as dynamic."""
    traced = recording.client.trace(given)
    for number in [*range(10), 0]:
        traced({f"key{number}": 1})
    schemas = [attributes(span)["otel_ml.model.output_schema"] for span in recording.runs()]
    expected = [
        hashlib.sha256(f"{{key{number}: number}}".encode()).hexdigest()[:16] for number in range(8)
    ]
    assert schemas == [*expected, "dynamic", "dynamic", expected[0]]


@pytest.mark.parametrize("value", [None, [], {"a": None}])
def test_output_without_structure_has_no_schema(recording: Recording, value: object) -> None:
    """A run whose output is null or empty has no output schema."""
    recording.client.trace(given)(value)
    assert "otel_ml.model.output_schema" not in attributes(recording.run())


def test_failed_run_has_a_version_without_structure(recording: Recording) -> None:
    """A run that raised has the definition's digest and no output structure."""
    with pytest.raises(TypeError):
        recording.client.trace(double)(None)  # type: ignore[arg-type]  # that is the point
    span = recording.run()
    assert len(bytes.fromhex(attributes(span)["otel_ml.model.version"])) == 8
    assert "otel_ml.model.output_schema" not in attributes(span)
    assert definition(span)["output"] is None


def test_latency_is_the_span_s(recording: Recording) -> None:
    """The latency attribute is the length of the span."""
    recording.client.trace(double)(1)
    span = recording.run()
    assert span.start_time is not None
    assert span.end_time is not None
    assert attributes(span)["otel_ml.latency_ms"] == (span.end_time - span.start_time) / 1e6


def test_options_are_on_every_run(recording: Recording) -> None:
    """Name, kind, tags and params of the decorator are on every run."""
    options: dict[str, Any] = {"kind": "tool", "tags": {"client": "bigshot"}, "params": {"k": 1}}
    traced = recording.client.trace(name="look up", **options)(double)
    traced(1)
    traced(1)
    for span in recording.runs():
        assert span.name == "look up"
        assert stable(span) == {
            "otel_ml.project": "shop",
            "otel_ml.kind": "tool",
            "otel_ml.model.name": "look up",
            "otel_ml.tag.client": "bigshot",
            "otel_ml.params": '{"k":1}',
            "otel_ml.inputs": '{"a":1}',
            "otel_ml.outputs": "2",
            "otel_ml.outcome": "ok",
        }


def test_long_payload_has_a_preview(recording: Recording) -> None:
    """A payload over 1,024 bytes also has a preview, which is short valid JSON."""
    recording.client.trace(given)("x" * 2_000)
    found = attributes(recording.run())
    assert inputs(recording.run()) == {"value": "x" * 2_000}
    assert len(found["otel_ml.inputs.preview"]) <= 1_024
    assert json.loads(found["otel_ml.inputs.preview"])["value"].startswith("xxx")
    assert json.loads(found["otel_ml.outputs.preview"]).startswith("xxx")
    assert "otel_ml.capture" not in found


def test_numpy_predictions_are_recorded(recording: Recording) -> None:
    """A long list of numpy floats, common for predictions, is recorded as a list of numbers."""
    recording.client.trace(given)([np.float64(0.5)] * 1_000)
    assert outputs(recording.run()) == [0.5] * 1_000


def test_what_was_left_out_is_said(recording: Recording) -> None:
    """A payload over the limit is cut, and the run notes which payload and why."""
    recording.client.trace(given)(["x" * 100_000, VALUES["hostile"]()])
    found = attributes(recording.run())
    assert len(found["otel_ml.inputs"].encode()) <= 64 * 1_024
    notes = json.loads(found["otel_ml.capture"])
    assert notes["inputs"] == notes["outputs"]
    assert "truncated" in notes["inputs"]


def test_hostile_value_changes_nothing() -> None:
    """A call with a hostile argument returns that argument and leaves one complete run."""
    for name, make in VALUES.items():
        recording = Recording()
        value = make()
        assert recording.client.trace(given)(value) is value, name
        span = recording.run()
        assert stable(span)["otel_ml.outcome"] == "ok", name
        recorded = set(attributes(span))
        assert {"otel_ml.inputs", "otel_ml.outputs", "otel_ml.model.version"} <= recorded, name
        recording.client.close()


def test_runs_are_numbered(recording: Recording) -> None:
    """Runs of a process and project carry consecutive numbers."""
    for number in range(3):
        recording.client.trace(double)(number)
    found = [attributes(span) for span in recording.runs()]
    first = found[0]["otel_ml.seq"]
    assert [item["otel_ml.seq"] for item in found] == [first, first + 1, first + 2]
    assert len({item["otel_ml.process"] for item in found}) == 1
    assert len(bytes.fromhex(found[0]["otel_ml.process"])) == 4


def test_projects_are_numbered_apart() -> None:
    """Each project in a process has its own run numbers."""
    seqs = []
    for number in range(2):
        exporter = InMemorySpanExporter()
        client = Client(f"project {number} of this test", exporter=exporter)
        client.trace(double)(1)
        client.flush()
        seqs += [attributes(span)["otel_ml.seq"] for span in exporter.get_finished_spans()]
        client.close()
    assert seqs == [1, 1]


class Watched:
    """An object that counts calls of its ``repr``."""

    def __init__(self) -> None:
        self.looks = 0

    def __repr__(self) -> str:
        self.looks += 1
        return "watched"


def test_recorded_call_looks_at_its_inputs(recording: Recording) -> None:
    """A recorded call reads its inputs; the next test relies on this."""
    watched = Watched()
    recording.client.trace(given)(watched)
    assert watched.looks > 0


def test_sampled_out_call_looks_at_nothing(sampled_out: Recording) -> None:
    """A sampled-out call does not read its inputs, output or params."""
    watched = Watched()
    assert sampled_out.client.trace(params={"a": watched})(given)(watched) is watched
    assert watched.looks == 0


def test_sampled_out_call_leaves_nothing(sampled_out: Recording) -> None:
    """A sampled-out call leaves no span, even if the code inside adds to the run."""

    @sampled_out.client.trace
    def model() -> bool:
        run = current_run()
        run.tag(a=1)
        run.info("text")
        run.log_metrics({"loss": 0.5})
        return run.is_recorded

    assert model() is False
    assert sampled_out.spans() == []


def test_sampled_out_call_takes_no_number(recording: Recording, sampled_out: Recording) -> None:
    """A sampled-out call takes no number, so it does not look like a lost run."""
    recording.client.trace(double)(1)
    sampled_out.client.trace(double)(1)
    recording.client.trace(double)(1)
    first, second = (attributes(span)["otel_ml.seq"] for span in recording.runs())
    assert second == first + 1


@pytest.mark.parametrize("kind", ["span", "", "Model"])
def test_unknown_kind_is_refused(client: Client, kind: str) -> None:
    """An unknown kind is refused when the function is decorated."""
    with pytest.raises(ValueError, match=rf"^Invalid kind {kind!r}: expected one of "):
        client.trace(kind=kind)


@pytest.mark.parametrize(
    "kind", ["model", "chain", "tool", "retriever", "embedding", "agent", "training"]
)
def test_known_kind_is_recorded(recording: Recording, kind: str) -> None:
    """Each kind of the contract is recorded unchanged."""
    recording.client.trace(kind=kind)(double)(1)
    assert attributes(recording.run())["otel_ml.kind"] == kind
