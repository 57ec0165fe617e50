"""Tests of the settings of LLM connections, redaction and judges."""

import json
from pathlib import Path
from typing import Any

import pytest

from otel_ml_collector.settings.connections import (
    Connection,
    JudgeSettings,
    read_connections,
    read_judges,
    read_redaction,
)

OPENAI: dict[str, Any] = {"kind": "openai", "url": "https://api.openai.com/v1"}


def read(**keys: object) -> Connection:
    [connection] = read_connections(json.dumps({"main": {**OPENAI, **keys}}))
    return connection


def test_defaults() -> None:
    """A kind and an address are sufficient, but no project's data may be sent there."""
    connection = read()
    assert connection == Connection("main", "openai", "https://api.openai.com/v1")
    assert (connection.host, connection.port) == ("api.openai.com", 443)
    assert not connection.may_see("shop")
    assert connection.path("chat/completions") == "/v1/chat/completions"


def test_azure() -> None:
    """The query of an address is appended to the path of each request."""
    connection = read(
        url="https://x.openai.azure.com/openai/deployments/mini?api-version=2025-01-01",
        key_header="API-Key",
        provider="azure.ai.openai",
        projects=["*"],
    )
    path = "/openai/deployments/mini/chat/completions?api-version=2025-01-01"
    assert connection.path("chat/completions") == path
    assert (connection.key_header, connection.provider_name) == ("api-key", "azure.ai.openai")
    assert connection.may_see("any")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "bedrock"}, "main.kind: expected one of openai, anthropic"),
        ({"url": "api.openai.com"}, "main.url: expected http://HOST/PATH"),
        ({"url": "https://user:pw@host/"}, "main.url: expected http://HOST/PATH"),
        ({"key_env": "sk-0123"}, "main.key_env: expected the name of an environment variable"),
        ({"key_header": "cookie"}, "main.key_header: expected one of authorization"),
        ({"projects": "a,*"}, "main.projects: expected at most"),
        ({"projects": [1]}, "main.projects: expected a list of names"),
        ({"timeout_s": 0}, "main.timeout_s: expected a number of seconds from 1 to 600"),
        ({"key": "sk-0123"}, "main: unknown key 'key'"),
    ],
    ids=str,
)
def test_invalid_connection(keys: dict[str, Any], message: str) -> None:
    """An invalid key is rejected with the expected form, without repeating a secret."""
    with pytest.raises(ValueError, match=r"expected|unknown") as refused:
        read(**keys)
    assert str(refused.value).startswith(message)
    assert "sk-0123" not in str(refused.value)


def test_one_key(tmp_path: Path) -> None:
    """A key is read from a variable or a file, but not both."""
    (tmp_path / "key").write_text("sk-1")
    with pytest.raises(ValueError, match="either key_env or key_file"):
        read(key_env="A", key_file=str(tmp_path / "key"))


def test_key_is_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is read at each use, so that it can change."""
    file = tmp_path / "key"
    file.write_text("sk-1\n")
    connection = read(key_file=str(file))
    assert connection.read_key() == "sk-1"
    file.write_text("sk-2")
    assert connection.read_key() == "sk-2"
    monkeypatch.setenv("MODEL_KEY", "sk-3")
    assert read(key_env="MODEL_KEY").read_key() == "sk-3"
    assert read().read_key() == ""


@pytest.mark.parametrize("text", ["", "two words", "line\r\nx-evil: 1"])
def test_unusable_key(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is empty or not a valid header value is rejected without being shown."""
    monkeypatch.setenv("MODEL_KEY", text)
    with pytest.raises(ValueError, match=r"MODEL_KEY has no API key$"):
        read(key_env="MODEL_KEY").read_key()


def test_redaction_rules() -> None:
    """Rules redact values by key name and texts by pattern, at any depth."""
    rules = read_redaction('{"keys": ["Email"], "patterns": ["[0-9]{4}"]}')
    value = {"email": "a@b.c", "list": [{"EMAIL": [1]}, "card 1234 5678", 1234], "k 9999": None}
    assert rules.remove(value) == {
        "email": "[removed]",
        "list": [{"EMAIL": "[removed]"}, "card [removed] [removed]", 1234],
        "k [removed]": None,
    }


@pytest.mark.parametrize(
    "text", ["[]", "x", '{"key": []}', '{"keys": "a"}', '{"keys": [""]}', '{"patterns": ["("]}']
)
def test_invalid_redaction(text: str) -> None:
    """Rules that cannot be read are rejected, because otherwise everything would be sent."""
    with pytest.raises(ValueError, match=r"expected|regular expression"):
        read_redaction(text)


def test_judge_settings() -> None:
    """Omitted keys keep their defaults, and invalid ones are rejected."""
    assert read_judges('{"run": false}') == JudgeSettings(run=False)
    with pytest.raises(ValueError, match="expected"):
        read_judges("run=false")
    with pytest.raises(ValueError, match="unknown key 'thread'"):
        read_judges('{"thread": 1}')
