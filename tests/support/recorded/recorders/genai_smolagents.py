"""Smolagents under OpenTelemetry's instrumentations: an agent that calls a tool."""

import os

from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.genai.smolagents import SmolagentsInstrumentor
from smolagents import OpenAIModel, ToolCallingAgent, tool

from tests.support.recorded.recorders._exporting import make_content_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL


@tool  # type: ignore[untyped-decorator]  # not installed where types are checked
def find_weather(city: str) -> str:
    """Return the weather of a city.

    Args:
        city: Name of the city.
    """
    return f"{city}: sunny"


def main() -> None:
    """Ask the agent once: it calls the tool, and answers because it has no further step."""
    provider = make_content_provider()
    SmolagentsInstrumentor().instrument(tracer_provider=provider)
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    model = OpenAIModel(MODEL, api_base=os.environ["OPENAI_BASE_URL"], api_key="none")
    ToolCallingAgent(tools=[find_weather], model=model, name="weather", max_steps=1).run(ASKED)
    provider.shutdown()


if __name__ == "__main__":
    main()
