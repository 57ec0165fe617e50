"""The settings of rubric judges: connections to language models, and what is redacted."""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast, get_args

from otel_ml_collector.settings.values import (
    RequestAddress,
    read_flag,
    read_path,
    read_projects,
    read_request_url,
    read_table,
    read_whole,
    readers_of,
)

ConnectionKind = Literal["openai", "anthropic"]

_MOST_CONNECTIONS: Final = 32
_MOST_RULES: Final = 100
_RULE_CHARS: Final = 1_000
_KEY_CHARS: Final = 16_384
REMOVED: Final = "[removed]"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_PROVIDER: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_KEY_HEADERS: Final = ("authorization", "api-key", "x-api-key")
_KEY_FORM: Final = re.compile(r"[!-~]+")


def _read_kind(value: object) -> ConnectionKind:
    kinds = get_args(ConnectionKind)
    if value not in kinds:
        raise ValueError(f"expected one of {', '.join(kinds)}")
    return cast(ConnectionKind, value)


def _read_variable(value: object) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError("expected the name of an environment variable, not the key itself")
    return value


def _read_key_header(value: object) -> str:
    if not isinstance(value, str) or value.lower() not in _KEY_HEADERS:
        raise ValueError(f"expected one of {', '.join(_KEY_HEADERS)}")
    return value.lower()


def _read_provider(value: object) -> str:
    if not isinstance(value, str) or not _PROVIDER.fullmatch(value):
        raise ValueError("expected the name of a provider, such as azure.ai.openai")
    return value


def _read_model_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise ValueError("expected a list of names of models")
    return tuple(value)


def _read_project_names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return read_projects(value)
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise ValueError("expected a list of names of projects, or * for all")
    return read_projects(",".join(value))


@dataclass(frozen=True, slots=True)
class Connection(RequestAddress):
    """An endpoint of language models that judges can use.

    In `otel-ml.toml` it is a table; each attribute except ``name`` is a key of that table.

    Attributes:
        name: Name that judges use in ``connection``.
        kind: ``openai`` for chat endpoints that are compatible with OpenAI's, ``anthropic`` for
            Anthropic's messages.
        url: Base address, such as ``https://api.openai.com/v1``.
        key_env: Environment variable with the API key.
        key_file: File with the API key. It is read for each call, so the key can change.
        key_header: Request header for the key; by default ``authorization`` with ``Bearer``, and
            ``x-api-key`` for Anthropic.
        provider: Name of the provider in `prices` and on runs; by default the kind.
        projects: Projects whose data may be sent there; ``*`` for all. Empty by default.
        models: Models that the form of a judge offers. Empty if every model may be named.
        allow_private: Whether the endpoint may have a private or loopback address. Link-local
            addresses are never used.
        structured: Whether to ask for structured output.
        timeout_s: Seconds for one call, from connecting to the whole answer.
        tls_ca: File of certificates (PEM) to trust instead of the system's.
    """

    name: str
    kind: Annotated[ConnectionKind, _read_kind]
    url: Annotated[str, read_request_url]
    key_env: Annotated[str, _read_variable] = ""
    key_file: Annotated[Path | None, read_path] = None
    key_header: Annotated[str, _read_key_header] = ""
    provider: Annotated[str, _read_provider] = ""
    projects: Annotated[tuple[str, ...], _read_project_names] = ()
    models: Annotated[tuple[str, ...], _read_model_names] = ()
    allow_private: Annotated[bool, read_flag] = False
    structured: Annotated[bool, read_flag] = True
    timeout_s: Annotated[int, read_whole("seconds", 1, 600)] = 60
    tls_ca: Annotated[Path | None, read_path] = None

    @property
    def provider_name(self) -> str:
        """Return the provider's name, for prices and runs."""
        return self.provider or self.kind

    def path(self, end: str) -> str:
        """Return the path of a request below the base address, with the address's query."""
        parts = self.parts
        path = f"{parts.path.rstrip('/')}/{end}"
        return f"{path}?{parts.query}" if parts.query else path

    def may_see(self, project: str) -> bool:
        """Return whether data of a project may be sent to the endpoint."""
        return "*" in self.projects or project in self.projects

    def read_key(self) -> str:
        """Read the API key; empty if the endpoint needs none.

        Raises:
            ValueError: The variable or file has no valid key. The message does not show its text.
        """
        if self.key_file is not None:
            place = f"the file {self.key_file}"
            try:
                key = self.key_file.read_text(encoding="utf-8")[:_KEY_CHARS].strip()
            except (OSError, UnicodeError):
                raise ValueError(f"{place} cannot be read") from None
        elif self.key_env:
            place = f"the environment variable {self.key_env}"
            key = os.environ.get(self.key_env, "").strip()
        else:
            return ""
        if not _KEY_FORM.fullmatch(key):
            raise ValueError(f"{place} has no API key")
        return key


_CONNECTION_KEYS: Final = readers_of(Connection)


def read_connections(text: str) -> tuple[Connection, ...]:
    """Read connections from a JSON object; empty text gives none.

    The object has an entry for each connection: its name, and an object with its settings, like a
    table of `otel-ml.toml`.

    Raises:
        ValueError: A connection is invalid. The message says what is expected.
    """
    if not text.strip():
        return ()
    tables = _read_object(text, "expected a JSON object with an object for each name")
    if len(tables) > _MOST_CONNECTIONS:
        raise ValueError(f"expected at most {_MOST_CONNECTIONS} connections")
    return tuple(_read_connection(name, table) for name, table in tables.items())


def _read_connection(name: str, table: object) -> Connection:
    example = "{kind = 'openai', url = 'https://api.openai.com/v1', key_env = 'OPENAI_API_KEY'}"
    values = read_table(name, table, _CONNECTION_KEYS, example)
    if missing := {"kind", "url"} - values.keys():
        raise ValueError(f"{name}: expected {' and '.join(sorted(missing))}")
    connection = Connection(name, **values)
    if connection.key_env and connection.key_file is not None:
        raise ValueError(f"{name}: expected either key_env or key_file")
    if connection.tls_ca is not None and connection.parts.scheme != "https":
        raise ValueError(f"{name}.tls_ca: expected an https:// address")
    return connection


def _read_object(text: str, wrong: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError(wrong)  # noqa: TRY004 - a setting's text
    return value


@dataclass(frozen=True, slots=True)
class RedactionRules:
    """Rules for what is removed from a run's data before a judge's language model sees it.

    Attributes:
        keys: Names of JSON members, in lower case. Their values are removed.
        patterns: Regular expressions. What they match is removed from every text.
    """

    keys: frozenset[str] = frozenset()
    patterns: tuple[re.Pattern[str], ...] = field(default=())

    def remove(self, value: Any) -> Any:
        """Return a JSON value without what the rules remove."""
        if isinstance(value, str):
            for pattern in self.patterns:
                value = pattern.sub(REMOVED, value)
            return value
        if isinstance(value, list):
            return [self.remove(item) for item in value]
        if isinstance(value, dict):
            return {
                self.remove(key): REMOVED if key.lower() in self.keys else self.remove(item)
                for key, item in value.items()
            }
        return value


def read_redaction(text: str) -> RedactionRules:
    """Read redaction rules from a JSON object with ``keys`` and ``patterns``.

    Raises:
        ValueError: A rule is invalid.
    """
    if not text.strip():
        return RedactionRules()
    wrong = 'expected {"keys": ["email"], "patterns": ["[0-9]{16}"]}'
    table = _read_object(text, wrong)
    for name, rules in table.items():
        is_list = isinstance(rules, list) and len(rules) <= _MOST_RULES
        if name not in {"keys", "patterns"} or not is_list:
            raise ValueError(wrong)
        if not all(isinstance(rule, str) and 0 < len(rule) <= _RULE_CHARS for rule in rules):
            raise ValueError(wrong)
    patterns = []
    for pattern in table.get("patterns", []):
        try:
            patterns.append(re.compile(pattern))
        except re.error as error:
            raise ValueError(f"patterns: {pattern!r} is not a regular expression") from error
    keys = frozenset(key.lower() for key in table.get("keys", []))
    return RedactionRules(keys, tuple(patterns))


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """Settings for running rubric judges in this collector.

    Attributes:
        run: False turns them off in this collector.
        threads: How many calls of language models run at the same time.
        quiet_s: Seconds after the last record of a trace until its runs are judged.
        session_quiet_s: For rubrics that show the judge a whole conversation: seconds after the
            last record of a session until its runs are judged. The longer of this and `quiet_s`
            counts.
    """

    run: Annotated[bool, read_flag] = True
    threads: Annotated[int, read_whole("threads", 1, 64)] = 4
    quiet_s: Annotated[int, read_whole("seconds", 0, 3_600)] = 60
    session_quiet_s: Annotated[int, read_whole("seconds", 0, 86_400)] = 600


def read_judges(text: str) -> JudgeSettings:
    """Read ``{"run": true, "threads": 4}``.

    Raises:
        ValueError: A key or value is invalid.
    """
    example = '{"run": true, "threads": 4}'
    table = _read_object(text, f"expected {example}")
    return JudgeSettings(**read_table("judges", table, readers_of(JudgeSettings), example))
