"""CrewAI under OpenInference's instrumentations of it and of the client that it calls."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from openinference.instrumentation import using_session
from openinference.instrumentation.crewai import CrewAIInstrumentor
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.openai import OpenAIInstrumentor as OpenLLMetry
from opentelemetry.sdk.trace import TracerProvider

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL
from tests.support.recorded.recorders._scenarios import begin


@tool("find_weather")  # type: ignore[untyped-decorator]  # not installed where types are checked
def find_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


@tool("find_weather")  # type: ignore[untyped-decorator]  # not installed where types are checked
def fail(city: str) -> str:
    """Fail to find the weather of a city."""
    message = f"no weather in {city}"
    raise ValueError(message)


def ask(
    model: str = MODEL,
    *,
    tools: Any = (),
    stream: bool = False,
    turns: Sequence[str] = (ASKED,),
) -> None:
    """Let a crew of one agent do one task for each question."""
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
    crew = Crew(agents=[forecaster], tasks=[task])
    for asked in turns:
        crew.kickoff(inputs={"question": asked})


def hand_on() -> None:
    """Let an agent hand its task to another one, with the tool that CrewAI has for that."""
    answering = LLM(model=f"openai/{MODEL}", max_retries=0)
    coordinator, forecaster = (
        Agent(
            role=role,
            goal="Tell the weather",
            backstory="Knows the sky.",
            llm=answering,
            allow_delegation=role == "Coordinator",
        )
        for role in ("Coordinator", "Forecaster")
    )
    task = Task(description="{question}", expected_output="One line of text.", agent=coordinator)
    crew = Crew(agents=[coordinator, forecaster], tasks=[task])
    crew.kickoff(inputs={"question": ASKED})


def turn() -> None:
    """Make two turns of one session."""
    with using_session("session-1"):
        ask(turns=(ASKED, "And in Bruges?"))


def ask_instrumented(provider: TracerProvider) -> None:
    """Ask with a client that a another instrumentation records beside the first one."""
    OpenLLMetry().instrument(tracer_provider=provider)
    ask()


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
        "session": turn,
        "handoff": hand_on,
        "second": lambda: ask_instrumented(provider),
    }
    for name, run in scenarios.items():
        begin(name)
        with suppress(Exception):  # those that have to fail
            run()
        provider.force_flush()
    provider.shutdown()


if __name__ == "__main__":
    main()
