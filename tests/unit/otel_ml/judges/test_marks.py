"""Calls that a judge makes are marked with the judge, and other calls are not."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client, Judge, LLMJudge
from otel_ml.spans import run_id_of
from tests.support.otel_ml.recording import Recording, attributes
from tests.support.waiting import run_other_tasks

JUDGING: Final = "otel_ml.judging"


def mark_of(span: ReadableSpan) -> tuple[Any, Any]:
    found = attributes(span)
    return found.get(JUDGING), found.get(f"{JUDGING}.run")


def check(recording: Recording, call: Callable[[], object]) -> None:
    """Make a judged call and a later call; assert that only the judge's calls are marked."""
    call()
    assert recording.client.flush()
    recording.client.trace(name="after")(lambda: 1)()
    spans = {attributes(span)["otel_ml.model.name"]: span for span in recording.runs()}
    context = spans["model"].get_span_context()
    assert context is not None
    assert {name: mark_of(span) for name, span in spans.items()} == {
        "model": (None, None),
        "asked": ("grounded", run_id_of(context)),
        "after": (None, None),
    }


@pytest.mark.parametrize("is_inline", [False, True], ids=["later", "inline"])
def test_traced_call(recording: Recording, *, is_inline: bool) -> None:
    """A traced call in a judge is marked with the judge and the run that it scores."""

    @recording.client.trace(name="asked")
    def ask(prompt: str) -> str:
        return '{"score": 1, "explanation": ""}' if prompt else ""

    judge = LLMJudge("grounded", "Is it so?", ask)
    check(recording, recording.client.assess(judge, inline=is_inline, name="model")(lambda: 1))


@pytest.mark.parametrize("is_inline", [False, True], ids=["later", "inline"])
def test_async_call(recording: Recording, *, is_inline: bool) -> None:
    """A call in an async judge is marked, both on the call's loop and on the judges' loop."""

    @recording.client.trace(name="asked")
    async def ask() -> float:
        await run_other_tasks()
        return 1.0

    async def rubric() -> float:
        return await ask()

    @recording.client.assess(Judge("grounded", "", rubric), inline=is_inline, name="model")
    async def model() -> int:
        return 1

    check(recording, lambda: asyncio.run(model()))


def test_sync_step_of_an_async_call(recording: Recording) -> None:
    """A call in a sync judge of an async function is marked, on a thread of the pool."""
    ask = recording.client.trace(name="asked")(lambda: 1.0)

    @recording.client.assess(Judge("grounded", "", ask), inline=True, name="model")
    async def model() -> int:
        return 1

    check(recording, lambda: asyncio.run(model()))


@pytest.mark.parametrize("way", ["own", "lent", "joined", "endpoint"])
def test_instrumented_client(way: str) -> None:
    """A span of another instrumentation is marked only inside a judge."""
    provider, exporter, direct = TracerProvider(), InMemorySpanExporter(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    ways: dict[str, dict[str, Any]] = {
        "own": {"exporter": exporter, "join": False},
        "lent": {"exporter": exporter, "tracer_provider": provider},
        "joined": {"tracer_provider": provider},
        "endpoint": {"exporter": direct, "tracer_provider": provider},
    }
    client = Client("shop", **ways[way])
    of_client = way in {"own", "lent"}
    writer: Any = client.tracer_provider if of_client else provider
    tracer = writer.get_tracer("opentelemetry.instrumentation.openai_v2")

    def ask() -> float:
        with tracer.start_as_current_span("chat"):
            return 1.0

    client.assess(Judge("grounded", "", ask), inline=True)(ask)()
    client.close()
    spans = {
        span.context.span_id: span
        for span in exporter.get_finished_spans()
        if span.name == "chat" and span.context is not None
    }
    assert [mark_of(span)[0] for span in spans.values()] == [None, "grounded"]
