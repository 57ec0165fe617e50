"""Pydantic AI's agents by their own instrumentation: a tool, a second turn, an object, an error."""

from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL


def find_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


def main() -> None:
    """Ask with a tool, ask again in the same conversation, and ask a model that is busy."""
    provider = make_provider()
    Agent.instrument_all()
    agent = Agent(
        f"openai-chat:{MODEL}", name="weather", instructions="Be short.", tools=[find_weather]
    )
    first = agent.run_sync(ASKED)
    plain = Agent(f"openai-chat:{MODEL}", name="plain")
    plain.run_sync("And tomorrow?", message_history=first.all_messages())
    try:
        Agent("openai-chat:gpt-busy", name="busy").run_sync(ASKED)
    except ModelHTTPError:
        provider.shutdown()


if __name__ == "__main__":
    main()
