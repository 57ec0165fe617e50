"""Calls of LiteLLM's SDK under its callback for OpenTelemetry."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import litellm
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry import trace

from tests.support.recorded.recorders._openai import ASKED, MESSAGES, MODEL, TOOL
from tests.support.recorded.recorders._scenarios import begin
from tests.support.waiting import elapsed, wait_until

BUSY = "openai/gpt-busy"
NAMED = f"openai/{MODEL}"
TURNS = (ASKED, "And in Bruges?")
# What a program tells after its tool was called, or has failed.
RESULTS = {"tool": "Ghent: sunny", "failing-tool": "Error: no weather in Ghent"}
# Its callbacks run behind the calls, and nothing tells when they are done.
_BEHIND_S = 2


def main() -> None:
    """Make the calls of each scenario."""
    litellm.callbacks = ["otel"]
    litellm.suppress_debug_info = True
    scenarios: dict[str, Callable[[], object]] = {
        "plain": plain,
        "stream": stream,
        "tool": lambda: tool("tool"),
        "429": busy,
        "failing-tool": lambda: tool("failing-tool"),
        "session": session,
        "responses": lambda: litellm.responses(model=NAMED, input=ASKED),
        "second": second,
    }
    for name, call in scenarios.items():
        begin(name)
        call()
        wait_until(elapsed(_BEHIND_S))


def plain(model: str = NAMED, **more: Any) -> Any:
    """Make one plain call."""
    return litellm.completion(model=model, messages=MESSAGES, temperature=0.5, **more)


def stream() -> None:
    """Make one streamed call, and read it."""
    chunks = litellm.completion(
        model=NAMED,
        messages=MESSAGES[1:],
        stream=True,
        stream_options={"include_usage": True},
    )
    for _ in chunks:
        pass


def tool(name: str) -> None:
    """Make a call that asks for a tool, and the one with what the tool said."""
    told = litellm.completion(model=NAMED, messages=MESSAGES[1:], tools=[TOOL])
    litellm.completion(model=NAMED, messages=[MESSAGES[1], *answer(told, name)], tools=[TOOL])


def answer(told: Any, name: str) -> list[dict[str, Any]]:
    """Make the messages that stand after one that asks for a tool."""
    asked = told.choices[0].message.model_dump()
    return [asked, {"role": "tool", "tool_call_id": "call_1", "content": RESULTS[name]}]


def busy() -> None:
    """Be refused for the rate of calls."""
    with suppress(litellm.RateLimitError):
        plain(BUSY, num_retries=0, max_retries=0)


def session() -> None:
    """Make two turns of one session."""
    for asked in TURNS:
        messages = [{"role": "user", "content": asked}]
        litellm.completion(model=NAMED, messages=messages, **of_session())


def of_session() -> dict[str, Any]:
    """Make the arguments that name a session; LiteLLM writes into what it is given."""
    metadata = {"session_id": "session-1"}
    return {"metadata": metadata, "user": "user-1", "litellm_session_id": "session-1"}


def second() -> None:
    """Make one plain call that the client's own instrumentation records beside it."""
    OpenAIInstrumentor().instrument(tracer_provider=trace.get_tracer_provider())
    with trace.get_tracer("application").start_as_current_span("answer"):
        plain()


if __name__ == "__main__":
    main()
