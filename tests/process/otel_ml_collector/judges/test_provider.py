"""Requests to language models: both interfaces, and providers that fail or respond wrongly."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from otel_ml.records import Tokens
from otel_ml.rubric import JudgedRun, Rubric, RubricVerdict
from otel_ml_collector.judges.provider import ModelCaller, NoAnswer
from otel_ml_collector.settings.connections import Connection, read_connections
from tests.support.language_model import KEY, OBEDIENT, LanguageModel, language_model
from tests.support.otlp_sink import http_sink
from tests.support.sampling import sampled

RUBRIC: Final = Rubric("Is it so?", "small", parameters={"temperature": 0})
PROMPT: Final = RUBRIC.write_prompt(JudgedRun("Why?", "Because."))


@pytest.fixture
def model() -> Iterator[LanguageModel]:
    with language_model() as started:
        yield started


def connect(model: LanguageModel, **keys: Any) -> Connection:
    [connection] = read_connections(json.dumps({"here": {**model.connection, **keys}}))
    return connection


def ask(connection: Connection, waits: list[float] | None = None) -> Any:
    """Call the model without waiting between attempts; `waits` collects the pauses."""

    def stop(seconds: float) -> bool:
        (waits if waits is not None else []).append(seconds)
        return False

    return ModelCaller(stop).ask(connection, RUBRIC, PROMPT)


def test_chat(model: LanguageModel) -> None:
    """OpenAI's interface gets two messages and a schema, and its token counts are read."""
    answer = ask(connect(model))
    assert RUBRIC.read(answer.text) == RubricVerdict(1.0, True, None, "It does.")
    assert (answer.model, answer.tokens) == ("small-2026-01-01", Tokens(1_000, 20))
    [request] = model.requests
    assert request.path == "/v1/chat/completions"
    assert "authorization" not in request.headers
    assert request.body == {
        "temperature": 0,
        "model": "small",
        "messages": [
            {"role": "system", "content": PROMPT.task},
            {"role": "user", "content": PROMPT.data},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": RUBRIC.schema},
        },
    }


def test_messages(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anthropic's interface gets a forced tool for structured output; cached tokens are added."""
    monkeypatch.setenv("MODEL_KEY", KEY)
    answer = ask(connect(model, kind="anthropic", key_env="MODEL_KEY"))
    assert RUBRIC.read(answer.text) == RubricVerdict(1.0, True, None, "It does.")
    assert answer.tokens == Tokens(1_000, 20, 100)
    [request] = model.requests
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.body["tool_choice"] == {"type": "tool", "name": "answer"}
    assert (request.body["system"], request.body["max_tokens"]) == (PROMPT.task, 1_024)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_without_structured_output(model: LanguageModel, kind: str) -> None:
    """If an endpoint refuses schemas, the request is repeated without; later requests have none."""
    model.refuses_schemas = True
    caller = ModelCaller(lambda _: False)
    for _ in range(2):
        answer = caller.ask(connect(model, kind=kind), RUBRIC, PROMPT)
        assert answer.text == OBEDIENT
    assert len(model.requests) == 3


def test_key_in_its_header(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is sent in the header given in the settings."""
    monkeypatch.setenv("MODEL_KEY", KEY)
    ask(connect(model, key_env="MODEL_KEY", key_header="api-key"))
    assert model.requests[0].headers["api-key"] == KEY


def test_retries(model: LanguageModel) -> None:
    """There are five attempts with growing pauses; a longer Retry-After of the provider counts."""
    model.statuses.extend([500, 429, 503, 502])
    model.retry_after = "7"
    waits: list[float] = []
    assert ask(connect(model), waits).text == OBEDIENT
    assert len(model.requests) == 5
    assert [wait >= 7 for wait in waits] == [True] * 4
    model.statuses.extend([500] * 5)
    with pytest.raises(NoAnswer, match=r"^the provider answered 500 ") as failed:
        ask(connect(model))
    assert not failed.value.is_for_all
    assert len(model.requests) == 10


@sampled(2)
@pytest.mark.parametrize("status", [401, 402, 403, 404, 302])
def test_misconfigured(model: LanguageModel, status: int) -> None:
    """A wrong key, model or address is not retried, and the error applies to all runs."""
    model.statuses.append(status)
    with pytest.raises(NoAnswer) as failed:
        ask(connect(model))
    assert failed.value.is_for_all
    assert len(model.requests) == 1


def test_redirect_is_not_followed(model: LanguageModel) -> None:
    """A redirect to another host gets neither key nor data."""
    with http_sink() as sink:
        model.statuses.append(307)
        model.location = sink.address
        with pytest.raises(NoAnswer, match="a redirect, which is not followed"):
            ask(connect(model))
        assert sink.requests == []


@sampled(1)
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"data: {}\n\ndata: [DONE]\n\n",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}',
        b'{"choices": [{"message": {"content": null}}]}',
        b'{"choices": [{"message": {"content": ["pass"]}}]}',
        b'{"choices": [null]}',
        b"<html>pass</html>",
        b'{"choices"' + b" " * 2_000_000,
    ],
    ids=range(11),
)
def test_lies(model: LanguageModel, raw: bytes) -> None:
    """A response in any other format is an error: a stream, two choices, no text, or too long."""
    model.raw = raw
    with pytest.raises(NoAnswer, match="not in the provider's format"):
        ask(connect(model))


def test_two_answers_are_none(model: LanguageModel) -> None:
    """A reply with text next to the tool's input has two answers, so it is an error."""
    block = {"type": "tool_use", "id": "t", "name": "answer", "input": json.loads(OBEDIENT)}
    content = [{"type": "text", "text": OBEDIENT}, block]
    model.raw = json.dumps({"model": "m", "content": content, "usage": {}}).encode()
    answer = ask(connect(model, kind="anthropic"))
    with pytest.raises(Exception, match="not one JSON object"):
        RUBRIC.read(answer.text)


def test_loopback_only_if_allowed(model: LanguageModel) -> None:
    """Unless the settings allow it, an endpoint on this machine is not connected to."""
    with pytest.raises(NoAnswer, match="has no public address") as failed:
        ask(connect(model, allow_private=False))
    assert failed.value.is_for_all
    assert model.requests == []


def test_hanging_provider(model: LanguageModel) -> None:
    """A provider that hangs is given up after the timeout in the settings."""
    model.hangs.set()
    waits: list[float] = []

    def stop(seconds: float) -> bool:
        waits.append(seconds)
        return True

    with pytest.raises(NoAnswer, match="the collector ends"):
        ModelCaller(stop).ask(connect(model, timeout_s=1), RUBRIC, PROMPT)
    assert len(waits) == 1
