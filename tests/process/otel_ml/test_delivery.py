"""Runs are delivered to a real server that arguments and environment set."""

import logging
import threading
from contextlib import suppress
from threading import Event
from urllib.parse import urlsplit

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client, InvalidMetricError
from otel_ml.export.delivery import Delivery
from tests.support.otel_ml.otlp_sink import Sink, closed_address, open_sink
from tests.support.waiting import wait_until


def call_once(client: Client) -> None:
    """Record one run and deliver it."""
    client.trace(name="model")(lambda: 1)()
    assert client.flush()
    client.close()


def test_spans_go_to_the_argument(monkeypatch: pytest.MonkeyPatch, sink: Sink) -> None:
    """The `endpoint` argument takes precedence over all variables."""
    monkeypatch.setenv("OTEL_ML_ENDPOINT", closed_address())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", closed_address())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", closed_address())
    call_once(Client("shop", endpoint=sink.address))
    assert sink.paths == ["/v1/traces"]


def test_spans_go_to_our_variable(monkeypatch: pytest.MonkeyPatch, sink: Sink) -> None:
    """OTEL_ML_ENDPOINT takes precedence over the standard variables."""
    monkeypatch.setenv("OTEL_ML_ENDPOINT", sink.address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", closed_address())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", closed_address())
    call_once(Client("shop"))
    assert sink.paths == ["/v1/traces"]


def test_spans_go_to_the_traces_variable(monkeypatch: pytest.MonkeyPatch, sink: Sink) -> None:
    """The standard traces variable takes precedence over the general one, and is used unchanged."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{sink.address}/own/path")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", closed_address())
    call_once(Client("shop"))
    assert sink.paths == ["/own/path"]


def test_spans_go_to_the_general_variable(monkeypatch: pytest.MonkeyPatch, sink: Sink) -> None:
    """The general standard variable is a base address."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{sink.address}/base")
    call_once(Client("shop"))
    assert sink.paths == ["/base/v1/traces"]


def test_spans_go_to_the_default(caplog: pytest.LogCaptureFixture) -> None:
    """Without argument and variables, spans go to port 4318 of this machine."""
    caplog.set_level(logging.INFO, logger="otel_ml")
    client = Client("shop")
    client.trace(name="model")(lambda: 1)()
    delivered = bool(client.flush(0.5))
    client.close()
    said = "First spans delivered to {}" if delivered else "{} cannot be reached"
    assert said.format("http://localhost:4318") in caplog.text


def test_headers_name_key_and_project(sink: Sink) -> None:
    """A request has the API key as a bearer token, and the project."""
    call_once(Client("shop", "sk-1", sink.address))
    [request] = sink.requests
    assert request.headers["authorization"] == "Bearer sk-1"
    assert request.headers["x-otel-ml-project"] == "shop"


def test_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, sink: Sink) -> None:
    """Without an argument, the API key is read from the environment."""
    monkeypatch.setenv("OTEL_ML_API_KEY", "sk-2")
    call_once(Client("shop", endpoint=sink.address))
    assert sink.requests[0].headers["authorization"] == "Bearer sk-2"


def test_no_key_sends_no_header(sink: Sink) -> None:
    """Without an API key, no authorization header is sent."""
    call_once(Client("shop", endpoint=sink.address))
    assert "authorization" not in sink.requests[0].headers


@pytest.mark.parametrize(
    "variable", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"]
)
def test_headers_of_the_environment_are_kept(
    monkeypatch: pytest.MonkeyPatch, sink: Sink, variable: str
) -> None:
    """Headers from the environment are sent in addition to otel-ml's."""
    monkeypatch.setenv(variable, "x-tenant=a b,Authorization=Basic%20abc")
    call_once(Client("shop", endpoint=sink.address))
    found = sink.requests[0].headers
    assert {name: found[name] for name in ("x-tenant", "authorization", "x-otel-ml-project")} == {
        "x-tenant": "a b",
        "authorization": "Basic abc",
        "x-otel-ml-project": "shop",
    }


def test_our_key_wins_over_the_environment_s_header(
    monkeypatch: pytest.MonkeyPatch, sink: Sink
) -> None:
    """An API key argument replaces the authorization header from the environment."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc")
    call_once(Client("shop", "sk-1", sink.address))
    assert sink.requests[0].headers["authorization"] == "Bearer sk-1"


def test_project_that_is_no_header_is_in_the_span(sink: Sink) -> None:
    """A project that is not a valid header value is only sent in the span."""
    call_once(Client("épicerie", endpoint=sink.address))
    assert "x-otel-ml-project" not in sink.requests[0].headers
    assert [span["otel_ml.project"] for span in sink.spans] == ["épicerie"]


def test_given_exporter_replaces_ours(monkeypatch: pytest.MonkeyPatch, sink: Sink) -> None:
    """With a custom exporter, nothing is sent to the endpoint."""
    monkeypatch.setenv("OTEL_ML_ENDPOINT", sink.address)
    exporter = InMemorySpanExporter()
    call_once(Client("shop", exporter=exporter))
    assert (len(exporter.get_finished_spans()), sink.requests) == (1, [])


def test_flush_tells_that_nobody_listens() -> None:
    """If connections are refused, a flush reports the number of pending runs and the reason."""
    client = Client("shop", endpoint=closed_address())
    client.trace(name="model")(lambda: 1)()
    assert client.flush(0.5) == Delivery(pending=1, reason="connection refused")
    client.close()


def test_lost_spans_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """If connections are refused, one warning has the address, and one at the end the losses."""
    address = closed_address()
    client = Client("shop", endpoint=address)
    for _ in range(2):
        client.trace(name="model")(lambda: 1)()
        client.flush(0.3)
    client.close()
    said = [item.getMessage() for item in caplog.records if item.name.startswith("otel_ml")]
    assert said == [
        f"{address} cannot be reached (connection refused); 1 span waiting, retrying",
        f"2 spans could not be delivered to {address}: connection refused; "
        "Client(spool=DIR) keeps them",
    ]


def test_first_delivery_is_said_once(caplog: pytest.LogCaptureFixture, sink: Sink) -> None:
    """The first delivery logs the address; later ones log nothing."""
    caplog.set_level(logging.INFO, logger="otel_ml.export.pipeline")
    client = Client("shop", endpoint=sink.address)
    for _ in range(2):
        client.trace(name="model")(lambda: 1)()
        assert client.flush()
    client.close()
    said = [item.getMessage() for item in caplog.records if item.name == "otel_ml.export.pipeline"]
    assert said == [f"First spans delivered to {sink.address}"]


def test_runs_wait_for_a_late_server() -> None:
    """Runs recorded without a server are delivered once when it is back."""
    with open_sink() as sink:
        client = Client("shop", endpoint=sink.address)
        client.trace(name="first")(lambda: 1)()
        assert client.flush()
    port = urlsplit(sink.address).port
    client.trace(name="second")(lambda: 1)()
    assert not client.flush(0.2)
    with open_sink(port or 0) as again:
        assert client.flush() == Delivery(delivered=1)
        client.close()
    assert [span["name"] for span in [*sink.spans, *again.spans]] == ["first", "second"]


ODD_TEXTS = pytest.mark.parametrize(
    "text", ["a\ud800b", "\udcff", "\x00", "📦"], ids=["surrogate", "filename", "zero", "emoji"]
)


@ODD_TEXTS
def test_odd_tag_arrives(sink: Sink, text: str) -> None:
    """A tag with any characters arrives, with unencodable ones replaced."""
    client = Client("shop", endpoint=sink.address)
    with client.run("model") as run:
        run.tag(text=text)
    assert client.flush()
    client.close()
    assert [span.get("otel_ml.tag.text") for span in sink.runs] in ([text], ["a?b"], ["?"])


@ODD_TEXTS
def test_odd_line_loses_no_run(sink: Sink, text: str) -> None:
    """A log line with any characters loses no run."""
    client = Client("shop", endpoint=sink.address)
    with client.run("model") as run:
        run.info(text)
    assert client.flush()
    client.close()
    assert [span["name"] for span in sink.runs] == ["model"]


@ODD_TEXTS
def test_odd_error_loses_no_run(sink: Sink, text: str) -> None:
    """An error with any characters, such as file names contain, loses no run of its batch."""
    client = Client("shop", endpoint=sink.address)

    @client.trace(name="model")
    def model(text: str) -> None:
        if text:
            raise FileNotFoundError(text)

    model("")
    with pytest.raises(FileNotFoundError):
        model(text)
    delivered = bool(client.flush())
    client.close()
    outcomes = [span["otel_ml.outcome"] for span in sink.spans]
    assert (delivered, outcomes) == (True, ["ok", "error"])


@pytest.mark.parametrize("step", [2**63 - 1, 2**63, -(2**70)])
def test_odd_step_loses_no_point(sink: Sink, step: int) -> None:
    """A point whose step exceeds 64 bits is refused or arrives with a step."""
    client = Client("shop", endpoint=sink.address)
    with client.run("model") as run, suppress(InvalidMetricError):
        run.log_metrics({"loss": 0.5}, step=step)
    assert client.flush()
    client.close()
    updates = [span for span in sink.spans if "otel_ml.metric.values" in span]
    assert all("otel_ml.metric.steps" in update for update in updates)


def test_run_arrives_as_it_was_recorded(sink: Sink) -> None:
    """A run's attributes arrive with their types."""
    client = Client("shop", endpoint=sink.address)

    @client.trace(name="model", tags={"text": "a", "number": 1, "share": 0.5, "flag": True})
    def model(a: int) -> list[int]:
        return [a]

    model(1)
    assert client.flush()
    client.close()
    [span] = sink.spans
    for name in ("process", "seq", "latency_ms", "model.version", "model.definition"):
        del span[f"otel_ml.{name}"]
    assert span == {
        "name": "model",
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "model",
        # printf '[number]' | sha256sum | cut -c1-16
        "otel_ml.model.output_schema": "ecbc77bc88d616cd",
        "otel_ml.inputs": '{"a":1}',
        "otel_ml.outputs": "[1]",
        "otel_ml.outcome": "ok",
        "otel_ml.tag.text": "a",
        "otel_ml.tag.number": 1,
        "otel_ml.tag.share": 0.5,
        "otel_ml.tag.flag": True,
    }


def test_first_span_leaves_soon(sink: Sink) -> None:
    """A run is delivered without a flush."""
    client = Client("shop", endpoint=sink.address)
    client.trace(name="model")(lambda: 1)()
    wait_until(lambda: sink.spans)
    assert [span["name"] for span in sink.spans] == ["model"]
    client.close()


def test_flush_is_true_while_others_record(sink: Sink) -> None:
    """A flush reports on the spans recorded before it, even if others are recorded meanwhile."""
    client, over = Client("shop", endpoint=sink.address), Event()
    model = client.trace(name="model")(lambda: 1)

    def record() -> None:
        while not over.wait(0.0001):
            model()

    thread = threading.Thread(target=record)
    thread.start()
    try:
        told = []
        for _ in range(20):
            model()
            told.append(client.flush())
    finally:
        over.set()
        thread.join()
    client.close()
    assert [delivery.pending for delivery in told] == [0] * 20
    assert all(told)
