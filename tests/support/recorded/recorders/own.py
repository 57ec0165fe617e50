"""Calls of OpenAI's, Anthropic's and LangChain's clients under decorators of our own."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from otel_ml import Client
from tests.support.recorded.recorders._openai import MESSAGES, MODEL, TOOL

_CLAUDE = "claude-sonnet-4-5"


def main() -> None:
    """Make plain calls, calls of tools, streams that are followed and one that is not."""
    client = Client("recorded")
    _call_openai(client)
    _call_anthropic(client)
    _call_langchain(client)
    client.close()


def _call_openai(client: Client) -> None:
    create = openai.OpenAI().chat.completions.create

    @client.trace(kind="chat", name="openai")
    def ask(messages: Any, model: str = MODEL) -> Any:
        return create(model=model, messages=messages)

    @client.trace(kind="chat", name="openai_tool")
    def call_tool(messages: Any, model: str = MODEL) -> Any:
        return create(model=model, messages=messages, tools=[TOOL])

    @client.trace(name="openai_stream")
    def follow(messages: Any, model: str = MODEL) -> Iterator[Any]:
        yield from create(model=model, messages=messages, stream=True)

    @client.trace(kind="chat", name="openai_returned")
    def return_stream(messages: Any, model: str = MODEL, temperature: float = 0.5) -> Any:
        return create(model=model, messages=messages, stream=True, temperature=temperature)

    ask(MESSAGES)
    call_tool(MESSAGES)
    for stream in (follow(MESSAGES), return_stream(MESSAGES)):
        for _ in stream:
            pass


def _call_anthropic(client: Client) -> None:
    create = anthropic.Anthropic().messages.create

    @client.trace(name="anthropic")
    def ask(messages: Any, model: str = _CLAUDE) -> Any:
        return create(model=model, messages=messages, max_tokens=64)

    @client.trace(kind="chat", name="anthropic_stream")
    def follow(messages: Any, model: str = _CLAUDE) -> Iterator[Any]:
        yield from create(model=model, messages=messages, max_tokens=64, stream=True)

    ask(MESSAGES[1:])
    for _ in follow(MESSAGES[1:]):
        pass


def _call_langchain(client: Client) -> None:
    said = AIMessage("Sunny in Ghent")

    @client.trace(name="langchain")
    def invoke(question: str) -> Any:
        return GenericFakeChatModel(messages=iter([said])).invoke(question)

    @client.trace(name="langchain_stream")
    def follow(question: str) -> Iterator[Any]:
        yield from GenericFakeChatModel(messages=iter([said])).stream(question)

    invoke("How is the weather?")
    for _ in follow("How is the weather?"):
        pass


if __name__ == "__main__":
    main()
