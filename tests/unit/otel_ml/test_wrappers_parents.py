"""Nested traced calls: the parents of runs."""

import asyncio
import threading
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan

from otel_ml import Client, current_run
from tests.support.otel_ml.recording import (
    Recording,
    inputs,
    parent_id,
    span_id,
    stable,
    trace_id,
)
from tests.support.waiting import run_other_tasks


def add(a: int, b: int = 2) -> int:
    """The sum."""
    return a + b


async def add_later(a: int, b: int = 2) -> int:
    await run_other_tasks()
    return a + b


async def awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def test_nested_call_is_a_child(recording: Recording) -> None:
    """A traced call inside a traced call is the outer call's child."""
    inner = recording.client.trace(add)

    @recording.client.trace
    def outer(a: int) -> int:
        return inner(a)

    outer(1)
    child, parent = recording.runs()
    assert (parent_id(child), parent_id(parent)) == (span_id(parent), None)
    assert trace_id(child) == trace_id(parent)


def test_call_after_a_call_is_no_child(recording: Recording) -> None:
    """After a call, returned or raised, its run is no longer current."""

    @recording.client.trace
    def model(a: int) -> float:
        return 1 / a

    model(1)
    with pytest.raises(ZeroDivisionError):
        model(0)
    model(1)
    assert [parent_id(span) for span in recording.runs()] == [None, None, None]


def test_call_is_a_child_of_the_host_s_span(recording: Recording) -> None:
    """A call inside a span of the host is a child of that span."""
    host = trace.NonRecordingSpan(
        trace.SpanContext(7, 8, is_remote=False, trace_flags=trace.TraceFlags(1))
    )
    with trace.use_span(host):
        recording.client.trace(add)(1)
    span = recording.run()
    assert (trace_id(span), parent_id(span)) == (7, 8)


def test_gathered_calls_are_children(recording: Recording) -> None:
    """Calls that a traced call gathers, or starts as tasks or in threads, are its children."""
    inner = recording.client.trace(add_later)

    @recording.client.trace
    async def outer() -> None:
        await asyncio.gather(inner(1), inner(2))
        await asyncio.create_task(awaited(inner(3)))
        await asyncio.to_thread(recording.client.trace(add), 4)

    asyncio.run(outer())
    *children, parent = recording.runs()
    assert [parent_id(child) for child in children] == [span_id(parent)] * 4


def test_tasks_keep_apart(recording: Recording) -> None:
    """Two tasks that run at the same time have different current runs."""
    entered = [asyncio.Event(), asyncio.Event()]

    @recording.client.trace
    async def model(a: int) -> int:
        entered[a].set()
        await entered[1 - a].wait()
        current_run().tag(a=a)
        return a

    async def main() -> None:
        await asyncio.gather(model(0), model(1))

    asyncio.run(main())
    found = {inputs(span)["a"]: stable(span)["otel_ml.tag.a"] for span in recording.runs()}
    assert found == {0: 0, 1: 1}


def test_threads_keep_apart(recording: Recording) -> None:
    """Two threads that run at the same time have different current runs."""
    meeting = threading.Barrier(2)

    @recording.client.trace
    def model(a: int) -> None:
        meeting.wait(10)
        current_run().tag(a=a)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(model, [1, 2]))
    spans = recording.runs()
    found = {inputs(span)["a"]: stable(span)["otel_ml.tag.a"] for span in spans}
    assert found == {1: 1, 2: 2}
    assert [parent_id(span) for span in spans] == [None, None]


def test_baggage_is_seen_inside(client: Client) -> None:
    """The host's baggage is available inside a traced call."""
    token = context.attach(baggage.set_baggage("client", "bigshot"))
    try:
        assert client.trace(lambda: baggage.get_baggage("client"))() == "bigshot"
    finally:
        context.detach(token)


def test_twice_traced_function_leaves_two_runs(recording: Recording) -> None:
    """A function that is traced twice leaves one run inside another."""
    traced = recording.client.trace(recording.client.trace(add))
    assert traced(1) == 3
    child, parent = recording.runs()
    assert parent_id(child) == span_id(parent)


def test_recursive_function_leaves_a_run_a_call(recording: Recording) -> None:
    """Each call of a recursive function is the child of the call that made it."""

    @recording.client.trace
    def model(a: int) -> int:
        return model(a - 1) + 1 if a else 0

    assert model(2) == 2
    spans = recording.runs()
    assert [parent_id(span) for span in spans] == [span_id(spans[1]), span_id(spans[2]), None]


def identity(span: ReadableSpan) -> dict[str, object]:
    """Return session and user of a span."""
    said = span.attributes or {}
    return {name: said[name] for name in ("session.id", "user.id") if name in said}


@pytest.fixture
def baggage_of_a_caller() -> Iterator[None]:
    """Attach baggage as if it came with a request."""
    told = baggage.set_baggage("session.id", "chat-17")
    told = baggage.set_baggage("client", "bigshot", baggage.set_baggage("user.id", "ada", told))
    token = context.attach(told)
    yield
    context.detach(token)


@pytest.mark.usefixtures("baggage_of_a_caller")
def test_baggage_says_whose_run_it_is(recording: Recording) -> None:
    """The outermost run gets session and user from baggage; inner runs do not."""
    inner = recording.client.trace(add)
    recording.client.trace(lambda: inner(1))()
    with recording.client.run("block"):
        pass
    first, outer, block = recording.runs()
    whose = {"session.id": "chat-17", "user.id": "ada"}
    assert [identity(first), identity(outer), identity(block)] == [{}, whose, whose]


@pytest.mark.usefixtures("baggage_of_a_caller")
def test_own_word_before_baggage(recording: Recording) -> None:
    """Session and user set by the program take precedence over baggage."""

    @recording.client.trace
    def answer() -> None:
        current_run().identify(session="chat-18")

    answer()
    with recording.client.run("block", user="bob"):
        pass
    call, block = recording.runs()
    assert identity(call) == {"session.id": "chat-18", "user.id": "ada"}
    assert identity(block) == {"session.id": "chat-17", "user.id": "bob"}
