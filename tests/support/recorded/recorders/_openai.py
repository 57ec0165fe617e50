"""The calls that every recorder of OpenAI's client makes: one of each kind."""

from typing import Any, Final

MODEL: Final = "gpt-4o-mini"
ASKED: Final = "How is the weather in Ghent?"
MESSAGES: Final = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": ASKED},
]
TOOL: Final = {
    "type": "function",
    "function": {
        "name": "find_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def chat(client: Any) -> str:
    """Make one plain call and return what it answered."""
    told = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, temperature=0.5, max_tokens=64
    )
    return str(told.choices[0].message.content)


def stream(client: Any) -> str:
    """Make one streamed call and return what it answered."""
    chunks = client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES[1:],
        stream=True,
        stream_options={"include_usage": True},
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def tool(client: Any) -> None:
    """Make a call whose answer is that a tool be called."""
    client.chat.completions.create(model=MODEL, messages=MESSAGES[1:], tools=[TOOL])


def embed(client: Any) -> None:
    """Embed one text."""
    client.embeddings.create(model="text-embedding-3-small", input=ASKED)


def fail(client: Any) -> None:
    """Ask for a model that there is not."""
    from openai import NotFoundError

    try:
        client.chat.completions.create(model="gpt-missing", messages=MESSAGES[1:])
    except NotFoundError:
        return
    message = "gpt-missing was answered"
    raise AssertionError(message)


def call_others(client: Any) -> None:
    """Make one call of each kind but the plain one."""
    for call in (stream, tool, embed, fail):
        call(client)


def call_all(client: Any) -> None:
    """Make one call of each kind."""
    chat(client)
    call_others(client)
