"""A generative call, from the decorator to the collector's API."""

from typing import Any

from otel_ml import Client
from tests.support.collector import CollectorProcess
from tests.support.otel_ml.genai.responses import CHAT, as_object
from tests.support.waiting import wait_until


def test_run_in_the_api(collector: CollectorProcess) -> None:
    """The API returns the provider, its model and the tokens of a traced chat."""
    client = Client("generative calls", endpoint=collector.endpoint)

    @client.trace(kind="chat", provider="openai", model="gpt-4o", name="answer")
    def answer(messages: Any, temperature: float) -> Any:
        return as_object(CHAT)

    answer([{"role": "user", "content": "Weather?"}], 0.5)
    assert client.flush()
    client.close()
    wait_until(lambda: len(collector.runs("generative calls")) == 1)
    [run] = collector.runs("generative calls", where='provider == "openai" and input_tokens > 19')
    wanted = ("kind", "name", "model", "provider", "provider_model", "tokens")
    assert {key: run[key] for key in wanted} == {
        "kind": "model",
        "name": "chat gpt-4o",
        "model": "answer",
        "provider": "openai",
        "provider_model": "gpt-4o-2024-08-06",
        "tokens": {"input": 20, "output": 7, "cached": 16, "reasoning": 3, "cache_creation": None},
    }
