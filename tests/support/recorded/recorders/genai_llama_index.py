"""LlamaIndex under OpenTelemetry's instrumentations: a chat, a streamed one, and an agent."""

import asyncio
import os

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI
from opentelemetry.instrumentation.genai.llama_index import LlamaIndexInstrumentor
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

from tests.support.recorded.recorders._exporting import make_content_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL


def find_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


async def ask_agent(model: OpenAI) -> None:
    """Ask an agent with a tool once."""
    agent = FunctionAgent(
        name="weather",
        tools=[find_weather],
        llm=model,
        system_prompt="Be short.",
        streaming=False,
    )
    await agent.run(ASKED)


def main() -> None:
    """Ask the model, and an agent with a tool."""
    provider = make_content_provider()
    LlamaIndexInstrumentor().instrument(tracer_provider=provider)
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    model = OpenAI(model=MODEL, api_base=os.environ["OPENAI_BASE_URL"])
    model.chat([ChatMessage(role="system", content="Be short."), ChatMessage(content=ASKED)])
    for _ in model.stream_chat([ChatMessage(content=ASKED)]):
        pass
    asyncio.run(ask_agent(model))
    provider.shutdown()


if __name__ == "__main__":
    main()
