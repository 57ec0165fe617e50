"""Agno under OpenTelemetry's instrumentations: an agent that calls a tool."""

from agno.agent import Agent
from agno.models.openai import OpenAIChat
from opentelemetry.instrumentation.genai.agno import AgnoInstrumentor
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

from tests.support.recorded.recorders._exporting import make_content_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL


def find_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


def main() -> None:
    """Ask the agent once."""
    provider = make_content_provider()
    AgnoInstrumentor().instrument(tracer_provider=provider)
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    model = OpenAIChat(id=MODEL)
    agent = Agent(
        name="weather",
        model=model,
        instructions="Be short.",
        tools=[find_weather],
        telemetry=False,
    )
    agent.run(ASKED)
    provider.shutdown()


if __name__ == "__main__":
    main()
