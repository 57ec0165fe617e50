"""LangGraph's agent and a chain of LangChain's under Traceloop's instrumentation (OpenLLMetry)."""

from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from opentelemetry.instrumentation.langchain import LangchainInstrumentor

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL


@tool  # type: ignore[untyped-decorator]  # not installed where types are checked
def find_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


def main() -> None:
    """Ask the agent once, and run the chain once."""
    provider = make_provider()
    LangchainInstrumentor().instrument(tracer_provider=provider)
    agent = create_agent(f"openai:{MODEL}", tools=[find_weather])
    agent.invoke({"messages": [{"role": "user", "content": ASKED}]})
    prompt = ChatPromptTemplate.from_messages([("user", "How is the weather in {city}?")])
    (prompt | ChatOpenAI(model=MODEL) | StrOutputParser()).invoke({"city": "Ghent"})
    provider.shutdown()


if __name__ == "__main__":
    main()
