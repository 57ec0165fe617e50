"""Calls of Anthropic's client under OpenInference's instrumentation."""

from typing import Any, Final

import anthropic
from openinference.instrumentation.anthropic import AnthropicInstrumentor

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import ASKED, TOOL

_MODEL: Final = "claude-sonnet-4-5"
_MESSAGES: Final = [{"role": "user", "content": ASKED}]


def _ask(client: Any, **more: object) -> Any:
    told = {"model": _MODEL, "max_tokens": 64, "messages": _MESSAGES, **more}
    return client.messages.create(**told)


def main() -> None:
    """Make a plain call, a streamed one, one with a tool and one that fails."""
    provider = make_provider()
    AnthropicInstrumentor().instrument(tracer_provider=provider)
    client = anthropic.Anthropic()
    _ask(client, system="Be short.", stop_sequences=["Brussels"])
    for _ in _ask(client, stream=True):
        pass
    function: Any = TOOL["function"]
    _ask(client, tools=[{"name": function["name"], "input_schema": function["parameters"]}])
    try:
        _ask(client, model="gpt-missing")
    except anthropic.NotFoundError:
        provider.shutdown()


if __name__ == "__main__":
    main()
