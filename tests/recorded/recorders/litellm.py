"""Calls of LiteLLM's SDK under its callback for OpenTelemetry, synchronous and asynchronous."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import litellm

from tests.recorded.recorders._openai import ASKED, MESSAGES, MODEL, TOOL
from tests.recorded.recorders._scenarios import begin

BUSY = "gpt-busy"
# Its callbacks run behind the calls, and nothing tells when they are done.
_BEHIND_S = 2
_RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Ghent: sunny"}


def main() -> None:
    """Make the calls of each scenario."""
    litellm.callbacks = ["otel"]
    litellm.suppress_debug_info = True
    scenarios: dict[str, Callable[[], object]] = {
        "plain": plain,
        "stream": lambda: asyncio.run(stream()),
        "tool": tool,
        "429": busy,
        "session": session,
        "embedding": lambda: asyncio.run(embed()),
        "responses": lambda: litellm.responses(model=f"openai/{MODEL}", input=ASKED),
    }
    for name, call in scenarios.items():
        begin(name)
        call()
        time.sleep(_BEHIND_S)


def plain(model: str = f"openai/{MODEL}", **more: Any) -> Any:
    """Make one plain call."""
    return litellm.completion(model=model, messages=MESSAGES, temperature=0.5, **more)


async def embed() -> None:
    """Embed a text, awaited."""
    await litellm.aembedding(model="openai/text-embedding-3-small", input=[ASKED])
    await asyncio.sleep(_BEHIND_S)  # its callback runs in this loop


def tool() -> None:
    """Make a call that asks for a tool, and the one with its result."""
    told = litellm.completion(model=f"openai/{MODEL}", messages=MESSAGES[1:], tools=[TOOL])
    asked = told.choices[0].message.model_dump()
    litellm.completion(
        model=f"openai/{MODEL}", messages=[MESSAGES[1], asked, _RESULT], tools=[TOOL]
    )


async def stream() -> None:
    """Make one streamed call that is awaited, and read it."""
    chunks = await litellm.acompletion(
        model=f"openai/{MODEL}",
        messages=MESSAGES[1:],
        stream=True,
        stream_options={"include_usage": True},
    )
    async for _ in chunks:
        pass
    await asyncio.sleep(_BEHIND_S)


def busy() -> None:
    """Be refused for the rate of calls."""
    with suppress(litellm.RateLimitError):
        plain(f"openai/{BUSY}", num_retries=0, max_retries=0)


def session() -> None:
    """Make two turns of one session."""
    for asked in (ASKED, "And in Bruges?"):
        litellm.completion(
            model=f"openai/{MODEL}",
            messages=[{"role": "user", "content": asked}],
            metadata={"session_id": "session-1"},
            user="user-1",
            litellm_session_id="session-1",
        )


if __name__ == "__main__":
    main()
