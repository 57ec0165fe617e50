"""The further cases of OpenAI's and Anthropic's clients: turns, images, streams, faults, async."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from tests.support.recorded.recorders._openai import ASKED, MESSAGES, MODEL, TOOL

CLAUDE: Final = "claude-sonnet-4-5"
LATER: Final = "And tomorrow?"
TURNS: Final = [
    {"role": "user", "content": ASKED},
    {"role": "assistant", "content": "Sunny in Ghent"},
    {"role": "user", "content": LATER},
]
_PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5"
    "ErkJggg=="
)
_SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "sunny": {"type": "boolean"}},
    "required": ["city", "sunny"],
    "additionalProperties": False,
}


Wrap = Callable[[Any], Any]


def _as_it_is(create: Any) -> Any:
    return create


def call_openai(wrap: Wrap = _as_it_is) -> None:
    """Make each further call of OpenAI's client, the asynchronous ones last.

    Args:
        wrap: What is put around the function that calls.
    """
    import openai

    create: Any = wrap(openai.OpenAI(max_retries=0).chat.completions.create)

    def ask(messages: Any = MESSAGES, model: str = MODEL, **more: Any) -> Any:
        return create(model=model, messages=messages, **more)

    ask(TURNS)
    url = {"url": f"data:image/png;base64,{_PIXEL}"}
    parts = [{"type": "text", "text": ASKED}, {"type": "image_url", "image_url": url}]
    ask([{"role": "user", "content": parts}])
    form = {"name": "weather", "strict": True, "schema": _SCHEMA}
    ask(response_format={"type": "json_schema", "json_schema": form})
    ask(reasoning_effort="low")
    _read(ask(tools=[TOOL], stream=True, stream_options={"include_usage": True}))
    _fail(lambda: ask(model="gpt-busy"), "Rate limit reached")
    _fail(lambda: ask(model="gpt-broken"), "The server had an error")
    _fail(lambda: _read(ask(user="cut", stream=True)), "connection")
    asyncio.run(_call_openai_async(openai.AsyncOpenAI(max_retries=0), wrap))


async def _call_openai_async(client: Any, wrap: Wrap) -> None:
    create = wrap(client.chat.completions.create)
    await create(model=MODEL, messages=MESSAGES)
    usage = {"include_usage": True}
    async for _ in await create(model=MODEL, messages=MESSAGES, stream=True, stream_options=usage):
        pass
    await client.close()


def call_each_kind(client: Any) -> None:
    """Make a plain call of Anthropic's client, a streamed one, one with a tool, one that fails."""

    def ask(**more: object) -> Any:
        asked = {"model": CLAUDE, "max_tokens": 64, "messages": TURNS[:1], **more}
        return client.messages.create(**asked)

    ask(system="Be short.", stop_sequences=["Brussels"])
    _read(ask(stream=True))
    function: Any = TOOL["function"]
    ask(tools=[{"name": function["name"], "input_schema": function["parameters"]}])
    _fail(lambda: ask(model="gpt-missing"), "gpt-missing")


def call_anthropic(wrap: Wrap = _as_it_is) -> None:
    """Make each further call of Anthropic's client, the asynchronous ones last.

    Args:
        wrap: What is put around the function that calls.
    """
    import anthropic

    create: Any = wrap(anthropic.Anthropic(max_retries=0).messages.create)

    def ask(messages: Any = TURNS[:1], model: str = CLAUDE, **more: Any) -> Any:
        return create(model=model, messages=messages, **{"max_tokens": 2048, **more})

    ask(TURNS)
    source = {"type": "base64", "media_type": "image/png", "data": _PIXEL}
    parts = [{"type": "text", "text": ASKED}, {"type": "image", "source": source}]
    ask([{"role": "user", "content": parts}])
    ask(output_config={"format": {"type": "json_schema", "schema": _SCHEMA}})
    ask(thinking={"type": "enabled", "budget_tokens": 1024})
    function: Any = TOOL["function"]
    tool = {"name": function["name"], "input_schema": function["parameters"]}
    _read(ask(tools=[tool], stream=True))
    _fail(lambda: ask(model="gpt-busy"), "Rate limit reached")
    _fail(lambda: ask(model="gpt-broken"), "The server had an error")
    _fail(lambda: _read(ask(metadata={"user_id": "cut"}, stream=True)), "connection")
    asyncio.run(_call_anthropic_async(anthropic.AsyncAnthropic(max_retries=0), wrap))


async def _call_anthropic_async(client: Any, wrap: Wrap) -> None:
    create = wrap(client.messages.create)
    given = {"model": CLAUDE, "max_tokens": 64, "messages": TURNS[:1]}
    await create(**given)
    async for _ in await create(**given, stream=True):
        pass
    await client.close()


def _read(stream: Any) -> None:
    for _ in stream:
        pass


def _fail(call: Callable[[], object], message: str) -> None:
    """Make a call that has to fail with a message."""
    try:
        call()
    except Exception as error:
        if message.lower() not in str(error).lower():
            raise
        return
    unexpected = f"A call was answered that had to fail with {message!r}"
    raise AssertionError(unexpected)
