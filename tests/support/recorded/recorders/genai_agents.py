"""OpenAI's Agents SDK under OpenTelemetry's instrumentations: an agent that calls a tool."""

from agents import Agent, Runner, function_tool, set_trace_processors
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.genai.openai_agents import OpenAIAgentsInstrumentor

from tests.support.recorded.recorders._exporting import make_content_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL


@function_tool  # type: ignore[untyped-decorator]  # not installed where types are checked
def find_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


def main() -> None:
    """Ask the agent once."""
    set_trace_processors([])
    provider = make_content_provider()
    OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    agent = Agent(name="weather", instructions="Be short.", model=MODEL, tools=[find_weather])
    Runner.run_sync(agent, ASKED)
    provider.shutdown()


if __name__ == "__main__":
    main()
