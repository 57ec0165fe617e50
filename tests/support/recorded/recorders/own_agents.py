"""Under decorators of our own: an agent, embeddings, thoughts, responses, and a busy model."""

from typing import Any

import anthropic
import openai
from langchain.agents import create_agent
from langchain_core.tools import tool

from otel_ml import Client
from tests.support.recorded.recorders._openai import ASKED, MESSAGES, MODEL, TOOL

_CLAUDE = "claude-sonnet-4-5"


@tool  # type: ignore[untyped-decorator]  # not installed where types are checked
def find_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


def main() -> None:
    """Ask an agent, embed, think, and ask a model that is busy."""
    client = Client("recorded")
    _ask_agent(client)
    _call_openai(client, openai.OpenAI(max_retries=0))
    _think(client)
    client.close()


def _ask_agent(client: Client) -> None:
    agent = create_agent(f"openai:{MODEL}", tools=[find_weather])

    @client.trace(kind="agent", name="agent")
    def ask(state: Any) -> Any:
        return agent.invoke(state)

    @client.trace(kind="tool", name="tool")
    def find(city: str, days: int = 1) -> dict[str, object]:
        return {"city": city, "temp": 21, "days": days}

    ask({"messages": [{"role": "user", "content": ASKED}]})
    find("Ghent")


def _call_openai(client: Client, provider: openai.OpenAI) -> None:
    @client.trace(kind="embedding", name="embed")
    def embed(input: Any, model: str = "text-embedding-3-small") -> Any:
        return provider.embeddings.create(model=model, input=input, encoding_format="float")

    @client.trace(kind="chat", name="respond")
    def respond(input: Any, model: str = MODEL) -> Any:
        return provider.responses.create(model=model, input=input)

    @client.trace(kind="chat", name="respond_tool")
    def respond_tool(input: Any, model: str = MODEL) -> Any:
        function: Any = TOOL["function"]
        given: Any = {"type": "function", **function}
        return provider.responses.create(model=model, input=input, tools=[given])

    @client.trace(kind="chat", name="busy")
    def ask(messages: Any, model: str = "gpt-busy") -> Any:
        return provider.chat.completions.create(model=model, messages=messages)

    embed([ASKED, "And in Bruges?"])
    respond(ASKED)
    respond_tool(ASKED)
    try:
        ask(MESSAGES)
    except openai.RateLimitError:
        return


def _think(client: Client) -> None:
    think = {"type": "enabled", "budget_tokens": 1024}
    create: Any = anthropic.Anthropic().messages.create

    @client.trace(kind="chat", name="thought")
    def ask(messages: Any, model: str = _CLAUDE) -> Any:
        return create(model=model, messages=messages, max_tokens=2048, thinking=think)

    @client.trace(kind="chat", name="reasoned")
    def reason(messages: Any, model: str = "deepseek-reasoner") -> Any:
        complete: Any = openai.OpenAI().chat.completions.create
        return complete(model=model, messages=messages, reasoning_effort="low")

    ask(MESSAGES[1:])
    reason(MESSAGES)


if __name__ == "__main__":
    main()
