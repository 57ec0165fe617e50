"""Calls of LiteLLM's SDK that are awaited, under its callback for OpenTelemetry."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import litellm
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry import trace

from tests.support.recorded.recorders._openai import ASKED, MESSAGES, TOOL
from tests.support.recorded.recorders._scenarios import begin
from tests.support.recorded.recorders.litellm import BUSY, NAMED, TURNS, answer, of_session
from tests.support.waiting import async_wait_until, elapsed

# Its callbacks run in the loop behind the calls, and nothing tells when they are done.
_BEHIND_S = 2


async def main() -> None:
    """Make the calls of each scenario."""
    litellm.callbacks = ["otel"]
    litellm.suppress_debug_info = True
    scenarios: dict[str, Callable[[], Awaitable[object]]] = {
        "plain": plain,
        "stream": stream,
        "tool": lambda: tool("tool"),
        "429": busy,
        "failing-tool": lambda: tool("failing-tool"),
        "session": session,
        "embedding": embed,
        "responses": lambda: litellm.aresponses(model=NAMED, input=ASKED),
        "second": second,
    }
    for name, call in scenarios.items():
        begin(name)
        await call()
        await async_wait_until(elapsed(_BEHIND_S))


async def plain(model: str = NAMED, **more: Any) -> Any:
    """Make one plain call."""
    return await litellm.acompletion(model=model, messages=MESSAGES, temperature=0.5, **more)


async def stream() -> None:
    """Make one streamed call, and read it."""
    chunks = await litellm.acompletion(
        model=NAMED,
        messages=MESSAGES[1:],
        stream=True,
        stream_options={"include_usage": True},
    )
    async for _ in chunks:
        pass


async def tool(name: str) -> None:
    """Make a call that asks for a tool, and the one with what the tool said."""
    told = await litellm.acompletion(model=NAMED, messages=MESSAGES[1:], tools=[TOOL])
    messages = [MESSAGES[1], *answer(told, name)]
    await litellm.acompletion(model=NAMED, messages=messages, tools=[TOOL])


async def busy() -> None:
    """Be refused for the rate of calls."""
    with suppress(litellm.RateLimitError):
        await plain(BUSY, num_retries=0, max_retries=0)


async def session() -> None:
    """Make two turns of one session."""
    for asked in TURNS:
        messages = [{"role": "user", "content": asked}]
        await litellm.acompletion(model=NAMED, messages=messages, **of_session())


async def embed() -> None:
    """Embed a text."""
    await litellm.aembedding(model="openai/text-embedding-3-small", input=[ASKED])


async def second() -> None:
    """Make one plain call that the client's own instrumentation records beside it."""
    OpenAIInstrumentor().instrument(tracer_provider=trace.get_tracer_provider())
    with trace.get_tracer("application").start_as_current_span("answer"):
        await plain()


if __name__ == "__main__":
    asyncio.run(main())
