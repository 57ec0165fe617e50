"""Cases of tests/unit/otel_ml/test_sampling.py that start processes."""

from pathlib import Path

import pytest

from tests.support.otel_ml.scripts import run_script

LEFT_OUT = (
    "A run is not recorded, because its trace is not sampled (logged only once): raise the sample "
    "rate where the trace starts, or use client.run(), which is always recorded\n"
)


TRACED = """
import logging, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from otel_ml import Client

logging.basicConfig(format="%(message)s", stream=sys.stderr)
kept = InMemorySpanExporter()
client = Client("shop", exporter=kept, join=False)

@client.trace
def inner():
    pass

@client.trace
def model():
    inner()

remote = trace.use_span(NonRecordingSpan(SpanContext(3, 4, True, TraceFlags(0))))
off = TracerProvider(sampler=ALWAYS_OFF).get_tracer("host").start_as_current_span("request")
on = TracerProvider(sampler=ALWAYS_ON).get_tracer("host").start_as_current_span("request")
with {above}:
    model()
    model()
client.flush()
print([span.name for span in kept.get_finished_spans()])
"""


@pytest.mark.parametrize("above", ["off", "remote"])
def test_what_others_leave_out_is_told(tmp_path: Path, above: str) -> None:
    """A run not recorded because its parent span is not sampled is logged once."""
    done = run_script(tmp_path, TRACED.replace("{above}", above))
    assert (done.stdout, done.stderr) == ("[]\n", LEFT_OUT)


def test_what_others_sample_is_recorded(tmp_path: Path) -> None:
    """If the parent span is sampled, nothing is logged."""
    done = run_script(tmp_path, TRACED.replace("{above}", "on"))
    names = "['inner', 'model', 'inner', 'model']\n"
    assert (done.stdout, done.stderr) == (names, "")


def test_what_we_leave_out_ourselves_is_not_told(tmp_path: Path) -> None:
    """If the client's own sampler drops a run, nothing is logged."""
    text = TRACED.replace("with {above}:", "if True:")
    done = run_script(tmp_path, text, OTEL_TRACES_SAMPLER="always_off")
    assert (done.stdout, done.stderr) == ("[]\n", "")
