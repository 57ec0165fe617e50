"""LangGraph under OpenInference's instrumentation: an agent with a tool, and a graph."""

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from openinference.instrumentation.langchain import LangChainInstrumentor

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL


@tool  # type: ignore[untyped-decorator]  # not installed where types are checked
def find_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


def answer(state: MessagesState) -> dict[str, object]:
    """Answer by heart, whatever is asked."""
    return {"messages": [AIMessage(f"Answer {len(state['messages'])}")]}


def main() -> None:
    """Ask the agent once, and the graph in the third turn of a conversation."""
    provider = make_provider()
    LangChainInstrumentor().instrument(tracer_provider=provider)
    agent = create_agent(f"openai:{MODEL}", tools=[find_weather])
    agent.invoke({"messages": [{"role": "user", "content": ASKED}]})
    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    said = [SystemMessage("Be short."), HumanMessage("Hello"), AIMessage("Hello, you")]
    graph.compile(name="small talk").invoke({"messages": [*said, HumanMessage("And in Bruges?")]})
    provider.shutdown()


if __name__ == "__main__":
    main()
