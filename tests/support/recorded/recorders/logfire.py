"""Calls of OpenAI's client under Logfire, with an instrumented function around one."""

import logfire  # type: ignore[import-not-found]  # not installed where types are checked
import openai

from tests.support.recorded.recorders._openai import ASKED, call_others, chat


@logfire.instrument("ask {question=}", record_return=True)  # type: ignore[untyped-decorator]  # not installed where types are checked
def ask(question: str, limit: int) -> dict[str, object]:
    """Ask the model within a span that has tags."""
    with logfire.span("look up {city}", city="Ghent", _tags=["weather", "demo"]):
        logfire.info("found {count} stations", count=0)
    return {"answer": f"{question} {chat(openai.OpenAI())}", "limit": limit}


def main() -> None:
    """Make the calls; Logfire sends to the endpoint of the environment."""
    logfire.configure(send_to_logfire=False, console=False, service_version="1.0")
    logfire.instrument_openai()
    client = openai.OpenAI()
    ask(ASKED, 3)
    call_others(client)
    logfire.shutdown()


if __name__ == "__main__":
    main()
