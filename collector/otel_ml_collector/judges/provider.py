"""Calls the language model of a rubric: the OpenAI-compatible chat API or Anthropic's API."""

import http.client
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from random import SystemRandom
from typing import Any, Final

import orjson

from otel_ml.records import Tokens
from otel_ml.rubric import Prompt, Rubric
from otel_ml_collector.outgoing import AddressRefused, OutgoingPeer, PeerAnswer, post_to
from otel_ml_collector.settings.connections import Connection

_ANSWER_BYTES: Final = 1024 * 1024
_REASON_CHARS: Final = 200
_USUAL_TOKENS: Final = 1_024
_ANTHROPIC_VERSION: Final = "2023-06-01"
_TOOL: Final = "answer"
_TRIES: Final = 5
_FIRST_REST_S: Final = 1.0
_LONGEST_REST_S: Final = 60.0
_SPREAD: Final = SystemRandom()
# A later attempt with the same request can succeed.
_AGAIN: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
)
# The settings of the connection are wrong, so that no request can succeed.
_MISCONFIGURED: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.PAYMENT_REQUIRED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
    }
)
_REFUSED: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


class NoAnswer(Exception):
    """A language model gave no answer. The message contains neither key nor data of the run.

    Args:
        message: What is wrong.
        is_for_all: Whether all runs would fail, because the address, key or model is wrong.
        can_retry: Whether a later attempt can succeed.
        rest_s: Seconds to wait before the next attempt, if the provider sent them; else None.
    """

    def __init__(
        self,
        message: str,
        *,
        is_for_all: bool = False,
        can_retry: bool = False,
        rest_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.is_for_all = is_for_all
        self.can_retry = can_retry
        self.rest_s = rest_s


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A reply of a language model.

    Attributes:
        text: The reply.
        model: Name of the model as the provider reported it.
        response_id: The provider's ID of the response.
        finish_reason: Why the model stopped.
        start_ns, end_ns: When the request was sent and the response received, in nanoseconds since
            the epoch.
    """

    text: str
    model: str
    response_id: str
    finish_reason: str
    tokens: Tokens
    start_ns: int
    end_ns: int


class ModelCaller:
    """Sends the prompts of rubric judges to language models. Several threads may use it.

    Args:
        stop: Waits for a number of seconds. Returns true if the collector is shutting down; then
            no further attempt is made.
        first_rest_s: How long to wait before the second attempt, in seconds. Each later wait is
            about twice as long, at most 60 seconds.
    """

    def __init__(
        self, stop: Callable[[float], bool], *, first_rest_s: float = _FIRST_REST_S
    ) -> None:
        self._stop = stop
        self._first_rest_s = first_rest_s
        # Endpoints and models that refused structured output.
        self._unstructured: set[tuple[str, str]] = set()

    def ask(self, connection: Connection, rubric: Rubric, prompt: Prompt) -> ModelAnswer:
        """Send a prompt. If the provider is busy or fails, retry: at most five attempts in all.

        Raises:
            NoAnswer: All attempts failed, or the error is one that a retry cannot fix.
        """
        attempt = 1
        while True:
            try:
                return self._ask(connection, rubric, prompt)
            except NoAnswer as error:
                if not error.can_retry or attempt == _TRIES:
                    raise
                grown_s = self._first_rest_s * 2.0 ** (attempt - 1) * _SPREAD.uniform(0.75, 1.25)
                rest_s = min(max(grown_s, error.rest_s or 0.0), _LONGEST_REST_S)
                if self._stop(rest_s):
                    raise NoAnswer("the collector ends", is_for_all=True) from error
                attempt += 1

    def _ask(self, connection: Connection, rubric: Rubric, prompt: Prompt) -> ModelAnswer:
        place = (connection.name, rubric.model)
        is_structured = connection.structured and place not in self._unstructured
        answer, start_ns = _post(connection, rubric, prompt, is_structured=is_structured)
        if is_structured and answer.status in _REFUSED:
            first, answer = answer, _post(connection, rubric, prompt, is_structured=False)[0]
            if answer.status in _REFUSED:
                answer = first
            else:
                self._unstructured.add(place)
        _check_status(answer)
        return _read_answer(connection, answer.body, start_ns, time.time_ns())


def _post(
    connection: Connection, rubric: Rubric, prompt: Prompt, *, is_structured: bool
) -> tuple[PeerAnswer, int]:
    """Send a request; return the response and when it was sent.

    Raises:
        NoAnswer: There is no response.
    """
    peer = OutgoingPeer(
        connection.host,
        connection.port,
        connection.parts.netloc,
        connection.is_secure,
        connection.tls_ca,
        connection.timeout_s,
        connection.allow_private,
        allow_link_local=False,
    )
    write = _write_messages if connection.kind == "anthropic" else _write_chat
    end = "messages" if connection.kind == "anthropic" else "chat/completions"
    body = orjson.dumps(write(rubric, prompt, is_structured=is_structured))
    start_ns = time.time_ns()
    try:
        headers = _key_headers(connection)
        path = connection.path(end)
        return post_to(peer, path, body, headers, limit_bytes=_ANSWER_BYTES), start_ns
    except AddressRefused as error:
        raise NoAnswer(str(error), is_for_all=True) from None
    except (OSError, http.client.HTTPException) as error:
        reason = _shorten(str(error)) or type(error).__name__
        raise NoAnswer(f"{connection.host}: {reason}", can_retry=True) from None


def _key_headers(connection: Connection) -> dict[str, str]:
    try:
        key = connection.read_key()
    except ValueError as error:
        text = f"the connection {connection.name!r} has no key: {error}"
        raise NoAnswer(text, is_for_all=True) from None
    is_anthropic = connection.kind == "anthropic"
    headers = {"anthropic-version": _ANTHROPIC_VERSION} if is_anthropic else {}
    name = connection.key_header or ("x-api-key" if is_anthropic else "authorization")
    if key:
        headers[name] = f"Bearer {key}" if name == "authorization" else key
    return headers


def _write_chat(rubric: Rubric, prompt: Prompt, *, is_structured: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        **rubric.parameters,
        "model": rubric.model,
        "messages": [
            {"role": "system", "content": prompt.task},
            {"role": "user", "content": prompt.data},
        ],
    }
    if is_structured:
        form = {"name": _TOOL, "strict": True, "schema": rubric.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return body


def _write_messages(rubric: Rubric, prompt: Prompt, *, is_structured: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "max_tokens": _USUAL_TOKENS,
        **rubric.parameters,
        "model": rubric.model,
        "system": prompt.task,
        "messages": [{"role": "user", "content": prompt.data}],
    }
    if is_structured:
        body["tools"] = [{"name": _TOOL, "input_schema": rubric.schema}]
        body["tool_choice"] = {"type": "tool", "name": _TOOL}
    return body


def _check_status(answer: PeerAnswer) -> None:
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise NoAnswer(f"{status}: a redirect, which is not followed", is_for_all=True)
    raise NoAnswer(
        # The body is left out: it can repeat the key or the data.
        _shorten(f"the provider answered {status} {answer.reason}"),
        is_for_all=status in _MISCONFIGURED,
        can_retry=status in _AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        rest_s=answer.rest_s,
    )


def _read_answer(connection: Connection, body: bytes, start_ns: int, end_ns: int) -> ModelAnswer:
    """Read the model's reply from the body of a response.

    Raises:
        NoAnswer: The response is not in the provider's format.
    """
    read = _read_messages if connection.kind == "anthropic" else _read_chat
    try:
        document = orjson.loads(body)
        text, reason, tokens = read(document)
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError, AttributeError):
        raise NoAnswer("the response is not in the provider's format") from None
    return ModelAnswer(
        text=text,
        model=str(document.get("model") or ""),
        response_id=str(document.get("id") or ""),
        finish_reason=str(reason or ""),
        tokens=tokens,
        start_ns=start_ns,
        end_ns=end_ns,
    )


def _read_chat(document: Mapping[str, Any]) -> tuple[str, object, Tokens]:
    [choice] = document["choices"]
    usage = document.get("usage") or {}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    tokens = Tokens(
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _count(cached),
        _count(reasoning),
    )
    return _text(choice["message"]["content"]), choice.get("finish_reason"), tokens


def _read_messages(document: Mapping[str, Any]) -> tuple[str, object, Tokens]:
    blocks = document["content"]
    usage = document.get("usage") or {}
    # Anthropic does not include cached tokens in `input_tokens`.
    cached = _count(usage.get("cache_read_input_tokens")) or 0
    created = _count(usage.get("cache_creation_input_tokens")) or 0
    fresh = _count(usage.get("input_tokens"))
    tokens = Tokens(
        None if fresh is None else fresh + cached + created,
        _count(usage.get("output_tokens")),
        cached or None,
        None,
        created or None,
    )
    tools = [block["input"] for block in blocks if block["type"] == "tool_use"]
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    # A reply with text and a tool call is ambiguous. Joined, it cannot be parsed, so it counts as
    # no answer.
    text = "\n".join([*texts, *(orjson.dumps(tool).decode() for tool in tools)])
    return text, document.get("stop_reason"), tokens


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None  # type: ignore[return-value]  # just checked


def _shorten(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:_REASON_CHARS]
