"""Every number of ``/metrics`` after real traffic."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.util.types import AnyValue

from tests.support.collector import CollectorProcess, running
from tests.support.otel_ml_collector.telemetry.page import Numbers, read_page
from tests.support.relay import PROTOBUF, Relay
from tests.support.waiting import wait_until

PROMTOOL = ".cache/prometheus/usr/bin/promtool"
# A model with two versions and a judge. The second version raises an error.
SCRIPT = """
from otel_ml import Client, Judge

client = Client("shop")
rubric = lambda outputs: 1.0 if len(outputs) < 4 else 0.25
judge = Judge("short", "is short", rubric, lambda score: score > 0.5)

@client.assess(client.add_judge(judge), inline=True, tags={"client": "bigshot"})
def answer(question):
    return "yes" if "?" in question else "I do not know"

for question in ("a?", "b?", "c"):
    answer(question)
client.flush(10)

@client.trace(name="answer")
def answer(question):
    raise ValueError(question)

try:
    answer("d?")
except ValueError:
    pass
"""


@pytest.fixture
def tagging(tmp_path: Path) -> Iterator[CollectorProcess]:
    """Yield a collector whose metrics have the tag `client` as a label."""
    with running(tmp_path / "data", "--metrics-tags", "client") as process:
        yield process


@pytest.fixture
def relay(tagging: CollectorProcess) -> Iterator[Relay]:
    """Yield a relay that keeps the requests it passes on, so that they can be sent again."""
    opened = Relay(tagging)
    yield opened
    opened.close()


def read(collector: CollectorProcess) -> Numbers:
    return read_page(collector.get_text("/metrics"))


def told(numbers: Numbers, prefix: str) -> Numbers:
    """Return the metrics that are not 0, except those that depend on the machine's speed."""
    return {
        key: value
        for key, value in numbers.items()
        if value and key[0].startswith(prefix) and not key[0].endswith(("_bucket", "seconds_sum"))
    }


def send_foreign(collector: CollectorProcess) -> None:
    """Send a chat with a language model and a database query in one request."""
    provider = TracerProvider()
    exporter = OTLPSpanExporter(collector.grpc, insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("foreign")
    chat: dict[str, AnyValue] = {
        "otel_ml.project": "shop",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
    }
    with tracer.start_as_current_span("chat gpt-4o-mini", attributes=chat):
        tracer.start_span("SELECT", attributes={"db.system": "postgresql"}).end()
    provider.shutdown()


def test_metrics(tagging: CollectorProcess, relay: Relay) -> None:
    """Runs are counted by project, model, version and tag, once however often they are sent."""
    environment = {**os.environ, "OTEL_ML_ENDPOINT": relay.endpoint}
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, timeout=180, check=True)
    send_foreign(tagging)
    wait_until(lambda: len(told(read(tagging), "otel_ml_runs_total")) == 3)
    # In the order of the label names: judge, judge_version, model, project, tag_client, type,
    # version.
    first, second = ("answer", "shop", "bigshot", "v1"), ("answer", "shop", "", "v2")
    chat = ("gpt-4o-mini", "shop", "", "")
    runs: dict[Any, Any] = {
        ("otel_ml_runs_total", first): 3,
        ("otel_ml_runs_total", second): 1,
        ("otel_ml_runs_total", chat): 1,
        ("otel_ml_run_errors_total", second): 1,
        ("otel_ml_run_duration_seconds_count", first): 3,
        ("otel_ml_run_duration_seconds_count", second): 1,
        ("otel_ml_run_duration_seconds_count", chat): 1,
        ("otel_ml_run_tokens_total", (*chat[:3], "input", "")): 12,
        ("otel_ml_run_tokens_total", (*chat[:3], "output", "")): 3,
        # According to the price table, a million tokens cost $0.15 (input) and $0.60 (output).
        ("otel_ml_run_cost_usd_total", chat): pytest.approx(12 * 0.15e-6 + 3 * 0.6e-6),
    }
    judged: dict[Any, float] = {
        ("otel_ml_judge_score_count", ("short", "v1", *first)): 3,
        ("otel_ml_judge_score_sum", ("short", "v1", *first)): 2.25,
        ("otel_ml_judge_verdicts_total", ("short", "v1", "answer", "true", *first[1:])): 2,
        ("otel_ml_judge_verdicts_total", ("short", "v1", "answer", "false", *first[1:])): 1,
    }
    for times in (1, 2):
        numbers = read(tagging)
        assert told(numbers, "otel_ml_run") == runs
        assert told(numbers, "otel_ml_judge") == judged
        sent = len(relay.passed) * times
        assert told(numbers, "otel_ml_requests") == {
            ("otel_ml_requests_total", ("success", "traces", "grpc")): 1,
            ("otel_ml_requests_total", ("success", "traces", "http")): sent,
        }
        spans = {
            ("otel_ml_spans_received_total", ()): 2 + 5 * times,  # including the judge's span
            ("otel_ml_spans_accepted_total", ()): 2 + 5 * times,  # including the judge's span
        }
        again = {("otel_ml_spans_duplicate_total", ()): 4} if times == 2 else {}
        assert told(numbers, "otel_ml_spans") == spans | again
        if times == 1:
            for body in relay.passed.copy():
                tagging.deliver(body, PROTOBUF)
            wait_until(lambda: told(read(tagging), "otel_ml_spans_d") != {})
    assert numbers["otel_ml_store_rows", ("payloads",)] >= 6
    assert numbers["otel_ml_store_bytes", ("payloads",)] > 1_000
    assert numbers["otel_ml_last_commit_timestamp_seconds", ()] > 1_700_000_000
    check(tagging.get_text("/metrics"))


def check(page: str) -> None:
    """Check the page with promtool if it is installed; `make check-deploy` checks it too."""
    promtool = shutil.which("promtool") or shutil.which(PROMTOOL)
    if promtool is not None:
        command = [promtool, "check", "metrics"]
        said = subprocess.run(command, input=page, capture_output=True, text=True, check=False)
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
