"""Plain functions that return an awaitable, such as a lambda around an async client."""

import asyncio
import functools
import gc
import inspect
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from types import CoroutineType
from typing import Any

import pytest
from opentelemetry import trace

from tests.support.otel_ml.recording import Recording, outputs, stable
from tests.support.waiting import async_wait_until, elapsed


async def answer(question: str, wait_s: float = 0.02) -> str:
    await async_wait_until(elapsed(wait_s))
    if question == "no":
        raise ValueError("no answer")
    trace.get_current_span().set_attribute("seen", True)
    return f"because {question}"


def ask(question: str) -> Coroutine[Any, Any, str]:
    return answer(question)


def ask_in_task(question: str) -> "asyncio.Task[str]":
    return asyncio.create_task(answer(question))


ASKING: dict[Callable[[str], Any], type] = {
    ask: CoroutineType,
    lambda question: answer(question, 0.02): CoroutineType,
    functools.partial(ask): CoroutineType,
    ask_in_task: asyncio.Task,
}


@pytest.mark.parametrize("function", ASKING)
def test_result(recording: Recording, function: Callable[[str], Any]) -> None:
    """The run has the awaited result, lasts until then, and is the current span meanwhile."""

    async def main() -> Any:
        made: Any = recording.client.trace(name="ask")(function)("why")
        kind: type = type(made)
        assert kind is ASKING[function]
        assert inspect.iscoroutine(made) == (ASKING[function] is CoroutineType)
        assert not recording.runs()
        return await made

    assert asyncio.run(main()) == "because why"
    span = recording.run()
    assert outputs(span) == "because why"
    assert (stable(span)["otel_ml.outcome"], stable(span)["seen"]) == ("ok", True)
    assert (span.end_time or 0) - (span.start_time or 0) >= 15_000_000


@pytest.mark.parametrize("function", [ask, ask_in_task])
def test_error(recording: Recording, function: Callable[[str], Any]) -> None:
    """An error of the awaitable reaches the caller and is recorded."""

    async def main() -> None:
        await recording.client.trace(function)("no")

    with pytest.raises(ValueError, match="no answer"):
        asyncio.run(main())
    found = stable(recording.run())
    assert (found["otel_ml.outcome"], found["error.type"]) == ("error", "ValueError")


@pytest.mark.parametrize("function", [ask, ask_in_task])
def test_cancel(recording: Recording, function: Callable[[str], Any]) -> None:
    """Cancelling the returned awaitable leaves a cancelled run."""

    async def main() -> None:
        await asyncio.wait_for(recording.client.trace(function)("why"), 0.001)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(main())
    assert stable(recording.run())["otel_ml.outcome"] == "cancelled"


def warned(make: Callable[[], object]) -> list[str]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        make()
        gc.collect()
    return [str(one.message) for one in told]


def test_never_awaited(recording: Recording) -> None:
    """Python warns once about a coroutine that is never awaited, in the same words as untraced."""
    traced = recording.client.trace(ask)
    assert warned(lambda: traced("why") and None) == warned(lambda: ask("why") and None)
    assert len(warned(lambda: traced("why") and None)) == 1
    assert [stable(span)["otel_ml.outcome"] for span in recording.runs()] == ["abandoned"] * 2


def test_closed_unawaited(recording: Recording) -> None:
    """Closing a coroutine without awaiting it gives no warning and leaves an abandoned run."""
    assert warned(lambda: recording.client.trace(ask)("why").close()) == []
    assert stable(recording.run())["otel_ml.outcome"] == "abandoned"


def test_awaited_elsewhere(recording: Recording) -> None:
    """A coroutine that is awaited elsewhere still works, and its run is abandoned."""

    async def main() -> str:
        kept = ask("why")
        made: Any = recording.client.trace(lambda: kept)()
        assert await kept == "because why"
        return str(type(made).__name__)

    assert warned(lambda: asyncio.run(main())) == warned(lambda: ask("why") and None)
    assert stable(recording.run())["otel_ml.outcome"] == "abandoned"


def test_error_that_nobody_asks_for(recording: Recording) -> None:
    """The event loop reports the error of a task that nobody awaits, as without tracing."""
    told: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: told.append(context["message"])
        )
        task = recording.client.trace(ask_in_task)("no")
        await asyncio.wait([task])
        del task
        gc.collect()

    asyncio.run(main())
    assert told == ["Task exception was never retrieved"]
    assert stable(recording.run())["otel_ml.outcome"] == "error"


def test_stream_that_is_awaited(recording: Recording) -> None:
    """The stream returned by an awaited chat call is recorded as one answer."""

    async def pieces() -> AsyncIterator[str]:
        for piece in ("be", "cause"):
            yield piece

    async def stream() -> AsyncIterator[str]:
        return pieces()

    @recording.client.trace(kind="chat")
    def chat(messages: str) -> Coroutine[Any, Any, AsyncIterator[str]]:
        return stream()

    async def main() -> list[str]:
        return [piece async for piece in await chat("why")]

    assert asyncio.run(main()) == ["be", "cause"]
    assert outputs(recording.run()) == "because"


def test_name(recording: Recording) -> None:
    """The returned coroutine has the same name as without tracing."""
    made, plain = recording.client.trace(ask)("why"), ask("why")
    assert (made.__name__, made.__qualname__) == (plain.__name__, plain.__qualname__)  # type: ignore[attr-defined]
    made.close()
    plain.close()


def test_other_awaitable(recording: Recording) -> None:
    """Any other awaitable is returned unchanged and recorded by its type, without an address."""

    class Later:
        def __await__(self) -> Generator[None, None, str]:
            yield
            return "because"

    assert type(recording.client.trace(lambda made: made)(Later())) is Later
    name = f"{__name__}.{Later.__qualname__}"
    assert outputs(recording.run()) == {"type": name, "awaitable": True}
