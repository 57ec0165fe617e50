"""Previews are sent with payloads only if the receiver needs them."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_ml import Client
from tests.support.otel_ml.otlp_sink import Reply, Sink
from tests.support.sampling import sampled
from tests.support.waiting import wait_until

LONG: Final = "x" * 5_000
CUT: Final = ["word " * 20] * 1_000  # longer than the stored part of a value
OWN: Final = Reply(headers={"x-otel-ml-previews": "own"})
BOTH: Final = ["otel_ml.inputs.preview", "otel_ml.outputs.preview"]


def ask(client: Client, value: object) -> None:
    """Record and deliver a run that takes and returns a value."""
    client.trace(name="model")(lambda value: value)(value)
    assert client.flush(20)


def previews_of(span: dict[str, Any]) -> list[str]:
    return sorted(name for name in span if name.endswith(".preview"))


def test_no_preview_for_who_makes_them(sink: Sink) -> None:
    """Once the receiver makes previews itself, complete payloads are sent without them."""
    sink.reply = lambda _: OWN
    client = Client("shop", endpoint=sink.address, join=False)
    for _ in range(3):
        ask(client, LONG)
    assert [previews_of(run) for run in sink.runs] == [BOTH, [], []]
    assert {run["otel_ml.outputs"] for run in sink.runs} == {json.dumps(LONG)}


def test_cut_payload_keeps_its_preview(sink: Sink) -> None:
    """A truncated payload is sent with a preview to every receiver."""
    sink.reply = lambda _: OWN
    client = Client("shop", endpoint=sink.address, join=False)
    ask(client, 1)
    ask(client, CUT)
    assert "truncated" in sink.runs[1]["otel_ml.capture"]
    assert previews_of(sink.runs[1]) == BOTH


def test_previews_come_back(sink: Sink) -> None:
    """A receiver that stops reporting that it makes previews gets them again."""
    client = Client("shop", endpoint=sink.address, join=False)
    for reply in (OWN, Reply(), OWN):
        sink.reply = lambda _, reply=reply: reply  # type: ignore[misc]  # bound now
        ask(client, LONG)
    assert [previews_of(run) for run in sink.runs] == [BOTH, [], BOTH]


def test_spooled_run_keeps_its_previews(tmp_path: Path, sink: Sink) -> None:
    """A spooled run has previews, because its receiver is not known yet."""
    sink.reply = lambda _: OWN
    client = Client("shop", endpoint=sink.address, join=False, spool=tmp_path / "spool")
    for _ in range(2):
        ask(client, LONG)
    client.close()
    assert [previews_of(run) for run in sink.runs] == [BOTH, BOTH]


def test_joined_run_keeps_its_previews(sink: Sink) -> None:
    """A run that is also passed to a provider's own processors has previews."""
    sink.reply = lambda _: OWN
    client = Client("shop", endpoint=sink.address, tracer_provider=TracerProvider())
    for _ in range(2):
        ask(client, LONG)
    client.close()
    assert [previews_of(run) for run in sink.runs] == [BOTH, BOTH]


@sampled(1)
@pytest.mark.parametrize("value", ["why?", LONG], ids=["short", "long"])
def test_start_shows_inputs_in_short(sink: Sink, value: str) -> None:
    """A start record has a short preview of its inputs, even if the run has none."""
    sink.reply = lambda _: OWN
    client = Client("shop", endpoint=sink.address, join=False)
    ask(client, 1)

    @client.trace(name="slow")
    def slow(question: str) -> None:
        wait_until(lambda: starts(sink))

    slow(value)
    [start] = starts(sink)
    found = start["otel_ml.inputs.preview"]
    assert len(found) <= 1_024
    assert json.loads(found)["question"][:4] == value[:4]


def starts(sink: Sink) -> list[dict[str, Any]]:
    return [span for span in sink.spans if span.get("otel_ml.record") == "start"]
