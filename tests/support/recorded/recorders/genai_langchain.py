"""LangChain's chat model of Anthropic under OpenTelemetry's instrumentation, content on spans."""

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

from tests.support.recorded.recorders._exporting import make_content_provider
from tests.support.recorded.recorders._openai import ASKED


def find_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


def main() -> None:
    """Ask an agent with a tool that thinks before it answers: its answer is a list."""
    provider = make_content_provider()
    LangChainInstrumentor().instrument(tracer_provider=provider)
    thinking = {"type": "enabled", "budget_tokens": 1024}
    model = ChatAnthropic(model="claude-sonnet-4-5", max_tokens=2048, thinking=thinking)
    agent = create_agent(model, tools=[find_weather], system_prompt="Be short.")
    agent.invoke({"messages": [{"role": "user", "content": ASKED}]})
    provider.shutdown()


if __name__ == "__main__":
    main()
