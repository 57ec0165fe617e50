"""Haystack's own tracing: a pipeline, and an agent that calls a tool."""

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

from haystack import Pipeline
from haystack.components.agents import Agent
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool
from openinference.instrumentation import using_session
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL
from tests.support.recorded.recorders._scenarios import begin


@tool  # type: ignore[untyped-decorator]  # not installed where types are checked
def find_weather(city: Annotated[str, "The city"]) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


@tool(name="find_weather")  # type: ignore[untyped-decorator]  # not installed where types are checked
def fail(city: Annotated[str, "The city"]) -> str:
    """Fail to find the weather of a city."""
    message = f"no weather in {city}"
    raise ValueError(message)


def trace_with(provider: TracerProvider) -> None:
    """Turn on the tracing that Haystack has itself."""
    from haystack import tracing
    from haystack_integrations.tracing.opentelemetry import OpenTelemetryTracer

    tracing.enable_tracing(OpenTelemetryTracer(provider.get_tracer("haystack")))


def ask(model: str, callback: Any = None, asked: str = ASKED) -> None:
    """Run a pipeline of a prompt and a model."""
    pipeline = Pipeline()
    template = [ChatMessage.from_user("{{ question }}")]
    pipeline.add_component("prompt", ChatPromptBuilder(template, required_variables=["question"]))
    answering = OpenAIChatGenerator(
        model=model,
        max_retries=0,
        streaming_callback=callback,
        generation_kwargs={"stream_options": {"include_usage": True}} if callback else {},
    )
    pipeline.add_component("llm", answering)
    pipeline.connect("prompt.prompt", "llm.messages")
    pipeline.run({"prompt": {"question": asked}})


@tool  # type: ignore[untyped-decorator]  # not installed where types are checked
def ask_forecaster(city: Annotated[str, "The city"]) -> str:
    """Let the forecaster tell the weather of a city."""
    forecaster = Agent(
        chat_generator=OpenAIChatGenerator(model=MODEL), system_prompt="You are the forecaster."
    )
    question = ChatMessage.from_user(f"How is the weather in {city}?")
    return str(forecaster.run([question])["last_message"].text)


def act(using: Any) -> None:
    """Run an agent with one tool."""
    agent = Agent(
        chat_generator=OpenAIChatGenerator(model=MODEL), tools=[using], system_prompt="Be short."
    )
    pipeline = Pipeline()
    pipeline.add_component("forecaster", agent)
    pipeline.run({"forecaster": {"messages": [ChatMessage.from_user(ASKED)]}})


def turn() -> None:
    """Make two turns of one session."""
    with using_session("session-1"):
        for asked in (ASKED, "And in Bruges?"):
            ask(MODEL, asked=asked)


def ask_instrumented(provider: TracerProvider) -> None:
    """Ask with a client that an instrumentation of its own records beside it."""
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    ask(MODEL)


def record(provider: TracerProvider) -> None:
    """Make the calls of each scenario."""
    scenarios: dict[str, Callable[[], object]] = {
        "plain": lambda: ask(MODEL),
        "tool": lambda: act(find_weather),
        "stream": lambda: ask(MODEL, lambda _: None),
        "429": lambda: ask("gpt-busy"),
        "failing-tool": lambda: act(fail),
        "session": turn,
        "handoff": lambda: act(ask_forecaster),
        "second": lambda: ask_instrumented(provider),
    }
    for name, run in scenarios.items():
        begin(name)
        with suppress(Exception):  # those that have to fail
            run()
        provider.force_flush()
    provider.shutdown()


def main() -> None:
    """Record its own tracing."""
    provider = make_provider()
    trace_with(provider)
    record(provider)


if __name__ == "__main__":
    main()
