"""A collector and an application send the same records to a record service."""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_ml_collector.exporter import RecordExporter
from tests.support.application import CALL, DEFINITION, MS_NS, START_NS, TABLE, Application
from tests.support.backend import BackendProcess, running_backend
from tests.support.collector import CollectorProcess, running
from tests.support.sampling import sampled
from tests.support.waiting import wait_until

KINDS: Final = (
    *("runs", "model_versions", "metrics", "tags", "logs", "artifacts", "trace_keys"),
    "open_runs",
)


class Sender(Protocol):
    """A way to send the records of spans to the record service."""

    def send(self, spans: Sequence[ReadableSpan]) -> SpanExportResult: ...


class Direct:
    """Sends records directly from the application."""

    def __init__(self, target: str) -> None:
        self._exporter = RecordExporter(target)

    def send(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export(spans)


class Through:
    """Sends spans to a collector that forwards the records."""

    def __init__(self, collector: CollectorProcess) -> None:
        self._exporter = OTLPSpanExporter(f"{collector.endpoint}/v1/traces")

    def send(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export(spans)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    with running_backend(tmp_path_factory.mktemp("backend") / "records.db") as process:
        yield process


@pytest.fixture(scope="module")
def forwarding(
    backend: BackendProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CollectorProcess]:
    data_dir = tmp_path_factory.mktemp("forwarding")
    with running(data_dir, "--forward-records", f"mine={backend.target}") as process:
        yield process


@pytest.fixture(params=["collector", "application"])
def sender(request: pytest.FixtureRequest, backend: BackendProcess) -> Sender:
    if request.param == "application":
        return Direct(backend.target)
    return Through(request.getfixturevalue("forwarding"))


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return name


def text(raw: int, size: int) -> str:
    return base64.b64encode(raw.to_bytes(size)).decode()


def clean(record: dict[str, Any], *left_out: str) -> dict[str, Any]:
    """Remove the fields that only a collector or only an application sets."""
    names = {"arrived_ns", "first_arrived_ns", "first_seen_ns", *left_out}
    return {name: value for name, value in record.items() if name not in names}


def wait_for(backend: BackendProcess, kind: str, project: str, number: int = 1) -> None:
    wait_until(lambda: len(backend.records(kind, project)) >= number)


@sampled(1)
def test_run(sender: Sender, backend: BackendProcess, project: str) -> None:
    """A run is sent with all of its fields."""
    application = Application()
    context = application.call(project).get_span_context()
    assert sender.send(application.spans()) is SpanExportResult.SUCCESS
    wait_for(backend, "runs", project)
    [run] = backend.records("runs", project)
    assert json.loads(run.pop("attributes")) == {
        name: value
        for name, value in CALL.items()
        if name.startswith(("gen_ai.", "shop."))  # attributes with standard names are kept
    } | {"otel_ml.otlp": {"flags": 0x100}}
    assert clean(run, "rank") == {
        "project": project,
        "trace_id": text(context.trace_id, 16),
        "span_id": text(context.span_id, 8),
        "kind": "model",
        "name": "answer",
        "model": "answer",
        "digest": "0123456789abcdef",
        "structure": "aabbccddeeff0011",
        "start_ns": str(START_NS),
        "end_ns": str(START_NS + 250 * MS_NS),
        "outcome": "ok",
        "inputs": '{"question":"why?"}',
        "outputs": '"because"',
        "inputs_preview": "why?",
        "outputs_preview": "because",
        "tags": [
            {"name": "client", "string_value": "bigshot", "type": "label", "group": "who"},
            {"name": "tries", "int_value": "2"},
        ],
        "session": "s1",
        "user": "u1",
        "environment": "test",
        "release": "4.5",
        "provider": "openai",
        "provider_model": "in-house-7",
        "input_tokens": "12",
        "output_tokens": "3",
        "logs": [{"time_ns": str(START_NS + 1), "severity": "info", "message": "asked"}],
        "resource": '{"deployment.environment.name":"test","service.version":"4.5"}',
        "scope": '{"name":"shop","version":"1.2"}',
        "dialect": "otel_ml",
        "process": "0a0b0c0d",
        "seq": "7",
        "span_kind": "internal",
        "response_id": "resp-1",
    }


@sampled(1)
def test_what_belongs_to_a_run(sender: Sender, backend: BackendProcess, project: str) -> None:
    """Versions, scores, keys and logged data are sent with their run."""
    application = Application()
    context = application.call(project).get_span_context()
    sender.send(application.spans())
    wait_for(backend, "runs", project)
    owner = f"{context.trace_id:032x}-{context.span_id:016x}"
    seen = str(START_NS)
    assert [clean(one) for one in backend.records("model_versions", project)] == [
        {
            "project": project,
            "kind": "judge",
            "name": "brief",
            "digest": "fedcba9876543210",
            "last_seen_ns": seen,
        },
        {
            "project": project,
            "kind": "model",
            "name": "answer",
            "digest": "0123456789abcdef",
            "structure": "aabbccddeeff0011",
            "definition": DEFINITION,
            "last_seen_ns": seen,
        },
    ]
    [score] = backend.records("metrics", project)
    assert score == {
        "project": project,
        "owner": owner,
        "owner_start_ns": seen,
        "name": "brief",
        "value": 0.5,
        "step": "-1",
        "time_ns": score["time_ns"],
        "mode": "single",
        "source": "judge",
        "passed": True,
        "explanation": "two words",
        "judge_version": "fedcba9876543210",
    }
    assert backend.records("trace_keys", project) == [
        {"project": project, "trace_id": text(context.trace_id, 16), "key": "order-7"}
    ]
    [artifact] = backend.records("artifacts", project)
    digest = base64.b64encode(hashlib.sha256(TABLE.encode()).digest()).decode()
    assert clean(artifact, "rank") == {
        "project": project,
        "owner": owner,
        "ref": "sample",
        "type": "table",
        "sha256": digest,
        "size": str(len(TABLE)),
        "json": TABLE,
        "time_ns": str(START_NS + 2),
        "record_id": owner[33:],
    }


def test_what_comes_later(sender: Sender, backend: BackendProcess, project: str) -> None:
    """Open runs are sent, and so are late tags, log lines and metric points."""
    application = Application()
    run = application.call("elsewhere").get_span_context()
    application.spans()
    application.records_about(project, run)
    sender.send(application.spans())
    for kind in ("open_runs", "tags", "logs", "metrics"):
        wait_for(backend, kind, project)
    owner = f"{run.trace_id:032x}-{run.span_id:016x}"
    [begun] = backend.records("open_runs", project)
    assert (begun["span_id"], begun["outcome"]) == (text(run.span_id, 8), "running")
    assert (begun["start_ns"], begun["inputs"]) == (str(START_NS), '{"question":"why?"}')
    [tag] = backend.records("tags", project)
    record_id = tag["record_id"]
    assert tag == {
        "project": project,
        "owner": owner,
        "time_ns": str(START_NS),
        "record_id": record_id,
        "tag": {"name": "late", "string_value": "yes"},
    }
    line = {"time_ns": str(START_NS + 4), "severity": "warning", "message": "late"}
    assert backend.records("logs", project) == [
        {"project": project, "owner": owner, "line": line, "record_id": record_id}
    ]
    [point] = [one for one in backend.records("metrics", project) if one["source"] == "logged"]
    assert point == {
        "project": project,
        "owner": owner,
        "name": "loss",
        "value": 0.25,
        "step": "1",
        "time_ns": str(START_NS + 3),
        "mode": "append",
        "source": "logged",
        "record_id": record_id,
    }


@sampled(1)
def test_twice_is_once(sender: Sender, backend: BackendProcess, project: str) -> None:
    """Spans sent twice give one set of records."""
    application = Application()
    application.call(project)
    spans = application.spans()
    sender.send(spans)
    wait_for(backend, "runs", project)
    sender.send(spans)
    application.call(project, mark=1)  # arrives after the repeated spans
    sender.send(application.spans())
    wait_for(backend, "runs", project, 2)
    numbers = {kind: len(backend.records(kind, project)) for kind in KINDS}
    assert numbers == {
        **dict.fromkeys(("runs", "model_versions", "metrics", "artifacts", "trace_keys"), 2),
        **dict.fromkeys(("tags", "logs", "open_runs"), 0),
    }


def test_same_records_both_ways(
    forwarding: CollectorProcess, backend: BackendProcess, tmp_path: Any
) -> None:
    """An application sends the same records that a collector makes of its spans."""
    application = Application()
    run = application.call("both").get_span_context()
    application.records_about("both", run)
    application.call("both", **{"shop.name": "Käse", "shop.list": ["a", "b"]})
    spans = application.spans()
    with running_backend(tmp_path / "other.db") as other:
        assert Direct(other.target).send(spans) is SpanExportResult.SUCCESS
        Through(forwarding).send(spans)
        for kind in KINDS:
            directly = other.records(kind, "both")
            assert directly, kind
            wait_for(backend, kind, "both", len(directly))
            through = backend.records(kind, "both")
            assert [clean(one) for one in directly] == [clean(one) for one in through]
