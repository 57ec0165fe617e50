"""AG2's agents by their own middleware, that writes a span for the usage of each call beside it."""

import asyncio
import os

from ag2 import Agent
from ag2.config import OpenAIConfig
from ag2.middleware.builtin import TelemetryMiddleware

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL


def find_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


async def _ask() -> None:
    config = OpenAIConfig(model=MODEL, base_url=os.environ["OPENAI_BASE_URL"], streaming=False)
    agent = Agent(
        "weather",
        "Be short.",
        config=config,
        tools=[find_weather],
        middleware=[TelemetryMiddleware(agent_name="weather")],
    )
    await agent.ask(ASKED)


def main() -> None:
    """Ask with a tool: two calls, and what each of them used beside it."""
    provider = make_provider()
    asyncio.run(_ask())
    provider.shutdown()


if __name__ == "__main__":
    main()
