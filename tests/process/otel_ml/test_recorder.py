"""Cases of tests/unit/otel_ml/test_recorder.py that start processes."""

import threading
from pathlib import Path

import pytest

from otel_ml import Client, Judge
from tests.support.otel_ml.otlp_sink import closed_address
from tests.support.otel_ml.scripts import ask_script
from tests.unit.otel_ml.test_recorder import FailingExporter


@pytest.mark.parametrize("raises", [False, True], ids=["refused", "raised"])
def test_flush_tells_what_was_lost(raises: bool) -> None:
    """The result of a flush is false if the exporter refuses a batch or raises."""
    client = Client("shop", exporter=FailingExporter(raises))
    client.trace(lambda: 1)()
    assert not client.flush()
    client.close()


def test_new_client_starts_no_thread() -> None:
    """Creating a client and decorating functions start no thread and open no connection."""
    before = set(threading.enumerate())
    client = Client("shop", endpoint=closed_address())
    client.trace(lambda: 1)
    client.assess(Judge("any", "", lambda: 1))(lambda: 1)
    assert set(threading.enumerate()) <= before


DISABLED = """
import json, sys, threading
from opentelemetry import baggage, context, trace
from otel_ml import Client, Judge, current_run

host = trace.NonRecordingSpan(
    trace.SpanContext(7, 8, is_remote=False, trace_flags=trace.TraceFlags(1))
)
client = Client("shop", endpoint="http://127.0.0.1:1")
seen = []

def look():
    seen.append(trace.get_current_span() is host and baggage.get_baggage("a") == "b")

@client.assess(Judge("any", "", lambda: 1))
def model(a):
    look()
    current_run().tag(a=a)
    return a

@client.trace
def stream(a):
    look()
    yield a

context.attach(baggage.set_baggage("a", "b"))
with trace.use_span(host):
    results = [model(1), *stream(2)]
    with client.run("training", params={"a": 1}) as run:
        look()
        run.info("text")
        run.log_metrics({"loss": 0.5})
print(json.dumps({
    "results": results,
    "untouched": seen,
    "recorded": run.is_recorded,
    "flushed": bool(client.flush()),
    "threads": len(threading.enumerate()),
    "loaded": [name for name in sys.modules if name.startswith("opentelemetry.exporter")],
}))
"""


@pytest.mark.parametrize("value", ["true", "True", " TRUE "])
def test_disabled_sdk_does_nothing(tmp_path: Path, value: str) -> None:
    """With the SDK disabled, calls work in the host's context, and nothing is loaded or sent."""
    assert ask_script(tmp_path, DISABLED, OTEL_SDK_DISABLED=value) == {
        "results": [1, 2],
        "untouched": [True, True, True],
        "recorded": False,
        "flushed": True,
        "threads": 1,
        "loaded": [],
    }


@pytest.mark.parametrize("value", ["false", "1", ""])
def test_sdk_is_disabled_by_true_alone(tmp_path: Path, value: str) -> None:
    """Any value except true leaves the SDK enabled, as in the standard."""
    script = """
        import json
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from otel_ml import Client

        exporter = InMemorySpanExporter()
        client = Client("shop", exporter=exporter)
        client.trace(lambda: 1)()
        client.flush()
        print(json.dumps(len(exporter.get_finished_spans())))
    """
    assert ask_script(tmp_path, script, OTEL_SDK_DISABLED=value) == 1


def test_package_loads_where_processes_do_not_fork(tmp_path: Path) -> None:
    """On systems without fork, such as Windows, the client loads and records."""
    script = """
        import json, os
        del os.register_at_fork, os.fork
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from otel_ml import Client, Judge

        exporter = InMemorySpanExporter()
        client = Client("shop", exporter=exporter)
        client.assess(Judge("any", "", lambda: 1))(lambda: 1)()
        client.flush()
        print(json.dumps(len(exporter.get_finished_spans())))
    """
    assert ask_script(tmp_path, script) == 2  # the run, and its judge's definition
