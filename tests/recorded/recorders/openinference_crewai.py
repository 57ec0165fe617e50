"""CrewAI under OpenInference's instrumentations of it and of the client that it calls."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from openinference.instrumentation.crewai import CrewAIInstrumentor
from openinference.instrumentation.openai import OpenAIInstrumentor

from tests.recorded.recorders._exporting import make_provider
from tests.recorded.recorders._openai import ASKED, MODEL
from tests.recorded.recorders._scenarios import begin


@tool("find_weather")  # type: ignore[untyped-decorator]  # not installed where types are checked
def find_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


@tool("find_weather")  # type: ignore[untyped-decorator]  # not installed where types are checked
def fail(city: str) -> str:
    """Fail to find the weather of a city."""
    message = f"no weather in {city}"
    raise ValueError(message)


def ask(model: str = MODEL, *, tools: Any = (), stream: bool = False) -> None:
    """Let a crew of one agent do one task."""
    answering = LLM(model=f"openai/{model}", stream=stream, max_retries=0)
    forecaster = Agent(
        role="Forecaster",
        goal="Tell the weather",
        backstory="Knows the sky.",
        llm=answering,
        tools=list(tools),
        max_retry_limit=0,
    )
    task = Task(description="{question}", expected_output="One line of text.", agent=forecaster)
    Crew(agents=[forecaster], tasks=[task]).kickoff(inputs={"question": ASKED})


def main() -> None:
    """Make the calls of each scenario."""
    provider = make_provider()
    CrewAIInstrumentor().instrument(tracer_provider=provider)
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    scenarios: dict[str, Callable[[], object]] = {
        "plain": ask,
        "tool": lambda: ask(tools=[find_weather]),
        "stream": lambda: ask(stream=True),
        "429": lambda: ask("gpt-busy"),
        "failing-tool": lambda: ask(tools=[fail]),
    }
    for name, run in scenarios.items():
        begin(name)
        with suppress(Exception):  # those that have to fail
            run()
        provider.force_flush()
    provider.shutdown()


if __name__ == "__main__":
    main()
