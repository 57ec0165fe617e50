"""Runs have the same content under any tracer provider."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from otel_ml import Client, Judge
from otel_ml.spans import RunSpan
from tests.support.otel_ml.providers import STOCK, PlainSubclass, Provider, open_provider
from tests.support.otel_ml.recording import attributes, parent_id, record_kind, span_id
from tests.support.waiting import run_other_tasks

# Attributes that differ between two runs of the same calls.
VOLATILE: Final = {
    "otel_ml.seq",
    "otel_ml.latency_ms",
    "otel_ml.stream.first_chunk_ms",
    "otel_ml.metric.times",
    "otel_ml.target.start_ns",
    "otel_ml.target.run",
}


def model(question: str, limit: int = 3) -> dict[str, Any]:
    return {"answer": question.upper(), "limit": limit}


def failing(question: str) -> None:
    raise ValueError(question)


def streaming(count: int) -> Iterator[int]:
    yield from range(count)


async def waiting(question: str) -> str:
    await run_other_tasks()
    return question


async def streaming_later(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def read(numbers: AsyncIterator[int]) -> list[int]:
    return [number async for number in numbers]


def shorter(outputs: dict[str, Any]) -> float:
    return 1 / len(outputs["answer"])


def call_all(client: Client) -> None:
    """Record one run of each kind, and update records about a run."""
    trace_it = client.trace(kind="chain", tags={"team": "a", "size": 3}, params={"k": 2})
    trace_it(model)("why", limit=4)
    trace_it(model)("a long question " * 100)
    with contextlib.suppress(ValueError):
        trace_it(failing)("wrong")
    list(trace_it(streaming)(4))
    next(trace_it(streaming)(4))
    asyncio.run(trace_it(waiting)("why"))
    asyncio.run(read(trace_it(streaming_later)(2)))
    judge = Judge("short", "The answer is short", shorter, lambda score: score > 0.5)
    client.assess(judge, name="judged")(model)("why")
    assert client.flush()
    with client.run("training", params={"lr": 0.1}, tags={"team": "b"}) as run:
        run.info("began")
        run.log_metrics({"loss": 0.5}, step=1)
        client.trace(name="child")(model)("inner")
    assert client.flush()


def told(spans: Sequence[ReadableSpan]) -> list[Any]:
    """Return the content of spans without ids, numbers and times, in a stable order."""
    names = {span_id(span): span.name for span in spans}
    found = []
    for span in spans:
        kept = {key: item for key, item in attributes(span).items() if key not in VOLATILE}
        if "otel_ml.judges" in kept:
            kept["otel_ml.judges"] = kept["otel_ml.judges"].partition('"latency_ms"')[0]
        above = parent_id(span)
        found.append(
            (
                span.name,
                record_kind(span),
                None if above is None else names[above],
                repr(sorted(kept.items())),
                [(event.name, repr(event.attributes)) for event in span.events],
                (span.status.status_code, span.status.description),
                span.kind,
            )
        )
    return sorted(found, key=repr)


def spans_of(kind: type[Provider]) -> Sequence[ReadableSpan]:
    provider, exporter = open_provider(kind)
    client = Client("shop", tracer_provider=provider)
    call_all(client)
    client.close()
    return exporter.get_finished_spans()


@pytest.mark.parametrize("kind", [PlainSubclass, *STOCK.values()])
def test_run_says_the_same_under_any_provider(kind: type[Provider]) -> None:
    """Runs and records have the same content under any provider as under the SDK's own."""
    ours = spans_of(TracerProvider)
    assert {type(span) for span in ours} == {RunSpan}
    assert len(ours) == 14
    assert told(spans_of(kind)) == told(ours)
