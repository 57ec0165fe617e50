"""Calls of OpenAI's client through Langfuse's, with an observed agent and tool around one."""

import os

import langfuse  # type: ignore[import-not-found]  # not installed where types are checked
from langfuse.openai import OpenAI  # type: ignore[import-not-found]  # the same

from tests.support.recorded.recorders._openai import ASKED, call_others, chat


@langfuse.observe(as_type="tool")  # type: ignore[untyped-decorator]  # the same
def find_weather(city: str) -> dict[str, object]:
    """Return the weather of a city."""
    return {"city": city, "sunny": True, "rain": 0}


@langfuse.observe(name="assistant", as_type="agent")  # type: ignore[untyped-decorator]  # the same
def ask(question: str) -> str:
    """Ask the model, with a tool, about a question of a session's user."""
    with langfuse.propagate_attributes(
        session_id="session-1",
        user_id="user-1",
        tags=["weather", "demo"],
        metadata={"tier": "gold"},
        version="2.1",
    ):
        find_weather("Ghent")
        return f"{question} {chat(OpenAI())}"


def main() -> None:
    """Make the calls: an agent's with session, user, tags and metadata, then the others."""
    os.environ["LANGFUSE_BASE_URL"] = os.environ["RECORDED_ADDRESS"]
    os.environ["LANGFUSE_PUBLIC_KEY"] = os.environ["LANGFUSE_SECRET_KEY"] = "none"
    client = OpenAI()
    ask(ASKED)
    call_others(client)
    langfuse.get_client().shutdown()


if __name__ == "__main__":
    main()
