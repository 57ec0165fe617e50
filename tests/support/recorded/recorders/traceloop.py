"""Calls of OpenAI's client under Traceloop's SDK (OpenLLMetry), in a workflow with a tool."""

import os

import openai
from traceloop.sdk import Traceloop
from traceloop.sdk.decorators import tool as tool_of
from traceloop.sdk.decorators import workflow

from tests.support.recorded.recorders._openai import ASKED, call_others, chat


@tool_of(name="find_weather")  # type: ignore[untyped-decorator]  # not installed where types are checked
def find_weather(city: str) -> dict[str, object]:
    """Return the weather of a city."""
    return {"city": city, "sunny": True, "rain": 0}


@workflow(name="assistant", version=2)  # type: ignore[untyped-decorator]  # not installed where types are checked
def ask(question: str) -> str:
    """Ask the model, with a tool, about a question of a session's user."""
    find_weather("Ghent")
    return f"{question} {chat(openai.OpenAI())}"


def main() -> None:
    """Make the calls: a workflow's with session, user and a word of ours, then the others."""
    Traceloop.init(
        app_name="recorded",
        api_endpoint=os.environ["RECORDED_ADDRESS"],
        api_key="none",
        disable_batch=True,
        telemetry_enabled=False,
    )
    Traceloop.set_association_properties(
        {"session_id": "session-1", "user_id": "user-1", "tier": "gold"}
    )
    client = openai.OpenAI()
    ask(ASKED)
    call_others(client)


if __name__ == "__main__":
    main()
