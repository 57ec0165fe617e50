"""Traced functions and autologged OpenAI calls of MLflow, sent by OTLP."""

import os

import mlflow
import openai

from tests.support.recorded.recorders._openai import ASKED, call_others, chat


@mlflow.trace(span_type="TOOL")  # type: ignore[untyped-decorator]  # not installed where types are checked
def find_weather(city: str) -> dict[str, object]:
    """Return the weather of a city."""
    return {"city": city, "sunny": True, "rain": 0}


@mlflow.trace(name="assistant", span_type="AGENT", attributes={"tier": "gold"})  # type: ignore[untyped-decorator]  # not installed where types are checked
def ask(question: str) -> str:
    """Ask the model, with a tool, about a question of a session's user."""
    mlflow.update_current_trace(tags={"team": "weather"}, session_id="session-1", user="user-1")
    find_weather("Ghent")
    return f"{question} {chat(openai.OpenAI())}"


def main() -> None:
    """Make the calls: one trace of an agent, and one each of the others."""
    # The endpoint of traces alone, and no store: what it asks else is not in mlflow-tracing.
    address = os.environ.pop("OTEL_EXPORTER_OTLP_ENDPOINT")
    os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = f"{address}/v1/traces"
    mlflow.set_tracking_uri(address)
    mlflow.openai.autolog()
    client = openai.OpenAI()
    ask(ASKED)
    call_others(client)
    mlflow.flush_trace_async_logging(terminate=True)


if __name__ == "__main__":
    main()
