"""Finds the signs of a model call in the values of a span of an unknown library.

A library is known if it has a table of attribute names in `tables.py`. The signs are a known model,
counts of tokens, and values that look like messages: a list of role and content, or a question and
an answer under paired names.
"""

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from otel_ml_collector.mapping.dialects.leaves import (
    Leaves,
    MessageList,
    NamedValue,
    Words,
    words_of,
)
from otel_ml_collector.mapping.dialects.table import CALLS
from otel_ml_collector.mapping.dialects.usage import read_usage
from otel_ml_collector.mapping.model_names import is_known_model
from otel_ml_collector.mapping.values import to_float, to_token_count
from otel_ml_collector.price import is_provider, provider_of
from otel_ml_collector.span import Value

_HOTTEST: Final = 2

# Words of attributes with a model's name: its last words, and words that show whether it is the
# requested model or the one in the answer.
_MODEL_WORDS: Final = frozenset({"model", "models", "deployment", "engine", "llm"})
_MODEL_ENDS: Final = frozenset(
    {
        *("model", "models", "name", "id", "deployment", "engine", "llm", "identifier", "slug"),
        *("arn", "used", "version", "value", "key", "request", "requested", "response"),
        *("resolved", "returned", "actual"),
    }
)
_OF_REQUEST: Final = frozenset(
    {
        "request",
        "requested",
        "req",
        "input",
        "invocation",
        "params",
        "parameters",
        "options",
        "config",
    }
)
_OF_ANSWER: Final = frozenset(
    {
        "response",
        "res",
        "resp",
        "output",
        "result",
        "used",
        "resolved",
        "actual",
        "raw",
        "completion",
    }
)

# Counts of tokens.
_TOKEN: Final = frozenset({"token", "tokens", "tok", "toks"})
_IN: Final = frozenset(
    {
        *("input", "inputs", "prompt", "in", "query", "question", "request", "sent", "context"),
        "prefill",
    }
)
_OUT: Final = frozenset(
    {
        *("output", "outputs", "completion", "completions", "out", "response", "generated"),
        *("generation", "candidates", "candidate", "answer", "reply", "received", "new"),
        *("decode", "decoded"),
    }
)
_TOTAL: Final = frozenset({"total", "all", "sum"})
_CACHE: Final = frozenset({"cache", "cached"})
_CREATED: Final = frozenset({"creation", "created", "write", "written", "writes", "create"})
# Words of a count that follow the first word for the cache. Any other word counts something else.
_OF_CACHE: Final = frozenset(
    {
        *(*_TOKEN, *_IN, *_CACHE, *_CREATED, "read", "reads", "hit", "hits", "content", "audio"),
        *("count", "total", "usage", "details", "num", "number", "billed", "used", "0"),
    }
)
_THOUGHTS: Final = frozenset({"reasoning", "thinking", "thoughts", "thought"})
# Last words of counts that do not name tokens, such as ``usage.prompt``.
_COUNT_ENDS: Final = _IN | _OUT | _TOTAL | _CACHE | _CREATED | _THOUGHTS | {"read", "hit"}
# A name with one of these words does not count this call's tokens, or only a part of them.
_NO_COUNT: Final = frozenset(
    {
        *("max", "min", "limit", "budget", "per", "second", "rate", "speed", "remaining", "window"),
        *("available", "ms", "duration", "latency", "time", "quota", "acc", "cumulative"),
        *("image", "video", "accepted", "rejected", "ephemeral", "no", "uncached", "miss"),
        *(
            "details",
            "aggregated",
            "aggregate",
            "tool",
            "reserved",
            "estimated",
            "average",
            "avg",
            "length",
            "5m",
            "1h",
        ),
    }
)
# Before one of these words, a part of the input or output limits the count.
_PART_WORDS: Final = frozenset({"text", "document"})
_OF_SIDES: Final = frozenset({"input", "output"})
_MONEY: Final = frozenset({"cost", "costs", "price", "usd"})

# Words of attributes with inputs and outputs. If several match, the earlier word is preferred.
_ASKED: Final = (
    *("prompt", "prompts", "input", "inputs", "question", "query", "ask"),
    *("request", "req", "instruction", "args", "arguments", "kwargs"),
)
_ANSWERED: Final = (
    *("completion", "completions", "output", "outputs", "answer", "response", "responses"),
    *("reply", "replies", "generation", "generations", "generated", "choices", "candidates"),
    *("resp", "result", "results", "returned", "return"),
)
_SIDES: Final = {**dict.fromkeys(_ASKED, "asked"), **dict.fromkeys(_ANSWERED, "answered")}
_OF_FUNCTIONS: Final = frozenset(
    {"args", "arguments", "kwargs", "result", "results", "returned", "return"}
)
_RANKS: Final = {word: rank for words in (_ASKED, _ANSWERED) for rank, word in enumerate(words)}
_SPEECH: Final = frozenset({"message", "messages", "msg", "text", "utterance", "turn", "content"})
_SPEAKERS: Final = {
    **dict.fromkeys(("user", "human"), "asked"),
    **dict.fromkeys(("assistant", "ai", "bot", "agent"), "answered"),
}
# If a name ends in one of these, its text is a whole input or output, not a part of an object.
_TEXT_ENDS: Final = frozenset(
    {
        *_SIDES,
        *_SPEECH,
        *_SPEAKERS,
        *("value", "raw", "json", "body", "data", "payload", "string", "str", "full", "final"),
        *("texts", "preview", "markdown"),
    }
)
# After one of these words, "user" is the speaker of a text and not the user of the product.
_BEFORE_SPEAKERS: Final = _SPEECH | {"input", "inputs", "prompt", "output", "outputs"}
# A text is neither input nor output if its name ends in one of these.
_NO_TEXT: Final = frozenset(
    {
        *("id", "ids", "type", "format", "mime", "schema", "name", "version", "template", "hash"),
        *("role", "status", "code", "model", "temperature", "url", "uri", "path", "method", "kind"),
        *(
            "count",
            "size",
            "bytes",
            "length",
            "len",
            "chars",
            "duration",
            "latency",
            "time",
            "at",
            "ms",
            "cost",
            "price",
        ),
        *("reason", "reasons", "language", "provider", "vendor", "user", "finish", "headers"),
        *("tokens", "token", "encoding", "key", "tool", "tools", "class", "timestamp", "object"),
        *("fingerprint", "tier", "effort", "deployment", "engine", "stream", "system", "level"),
    }
)
_SYSTEM_TEXT: Final = frozenset(
    {"prompt", "instruction", "instructions", "message", "content", "text"}
)

# Words that libraries share.
_COMMON: Final = frozenset(
    {
        *_SIDES,
        *_SPEECH,
        *_SPEAKERS,
        *_MODEL_WORDS,
        *_MODEL_ENDS,
        *_TOKEN,
        *(
            "usage",
            "gen",
            "genai",
            "data",
            "metadata",
            "metrics",
            "count",
            "payload",
            "body",
            "span",
        ),
        *(
            "attributes",
            "attribute",
            "event",
            "start",
            "end",
            "system",
            "role",
            "chat",
            "in",
            "out",
        ),
    }
)

# Parameters of a request, by the last words of their names.
_PARAMS: Final = frozenset(
    {
        *("temperature", "top_p", "top_k", "max_tokens", "max_output_tokens", "seed", "stop"),
        *("max_completion_tokens", "max_new_tokens", "frequency_penalty", "presence_penalty"),
        *("stop_sequences", "reasoning_effort", "stream"),
    }
)
_WHO: Final = {
    "session": frozenset(
        {("session", "id"), ("conversation", "id"), ("thread", "id"), ("chat", "id")}
    ),
    "user": frozenset({("user", "id"), ("end", "user")}),
    "response_id": frozenset({("response", "id"), ("completion", "id"), ("generation", "id")}),
}
_PROVIDER: Final = frozenset({"provider", "vendor", "system", "backend", "platform"})
# Ids that providers give to answers start with one of these.
_RESPONSE_IDS: Final = ("chatcmpl-", "msg_", "resp_", "cmpl-", "gen-")
_TWO_WORDS: Final = 2

# Names of costs in dollars. With one of the words in `_NO_COST`, a number is only a part of the
# cost, a price, or another currency.
_COST: Final = frozenset({"cost", "costs"})
_NO_COST: Final = frozenset(
    {
        *_TOKEN,
        *("input", "output", "prompt", "completion", "cached", "cache", "reasoning", "per"),
        *("rate", "cents", "eur", "gbp", "jpy", "cny", "inr", "max", "limit", "budget", "saved"),
    }
)

# Names that contain one of these words describe the kind of something else, not of the span.
_NO_KIND: Final = frozenset(
    {
        *("tool", "tools", "function", "functions", "format", "content", "message", "messages"),
        *("choices", "request", "response", "input", "output", "inputs", "outputs", "schema"),
        *("mime", "error", "exception", "0"),
    }
)
_KIND_NAMES: Final = frozenset({"kind", "type", "operation", "category"})
_KIND_OF_NAME: Final = {
    **dict.fromkeys(("llm", "model", "chat", "completion", "generation", "inference"), "model"),
    **dict.fromkeys(("embedding", "embeddings", "embed", "embedder"), "embedding"),
    **dict.fromkeys(("agent", "crew", "invoke_agent", "agent_run"), "agent"),
    **dict.fromkeys(("tool", "function", "tool_call", "execute_tool"), "tool"),
    **dict.fromkeys(("retriever", "retrieval"), "retriever"),
    **dict.fromkeys(
        (
            *("chain", "workflow", "pipeline", "task", "graph", "flow", "session", "trace", "step"),
            *("guardrail", "evaluator", "evaluation", "eval", "scorer", "score", "root"),
            *("conversation", "turn", "node"),
        ),
        "chain",
    ),
}


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The names of a span's model, as it was requested and as the provider names it."""

    requested: str
    answered: str
    source: str


@dataclass(slots=True)
class Signs:
    """What was found on a span of an unknown library that suggests a model call.

    Attributes:
        models: The requested model and the model that answered, if their names are known; else
            None.
        unknown_model: A model name that is not known; empty if there is none.
        counts: Token counts, by the field of a run that they fill, such as `input_tokens`.
        usage_source: Attribute or event with the first token count.
        inputs, outputs: Messages, texts or objects; None if there are none.
        has_messages: Whether inputs or outputs are a list of messages with role and content.
        message_sources: Attributes or events with inputs and outputs.
        kind: Kind of the run, such as `model` or `tool`, if the span states it; else empty.
        texts: Other fields of a run: provider, session, user and response ID.
        cost: In US dollars; None if the span states none.
        params: Parameters of the request.
    """

    models: ModelNames | None = None
    unknown_model: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    usage_source: str = ""
    inputs: object = None
    outputs: object = None
    has_messages: bool = False
    message_sources: tuple[str, ...] = ()
    kind: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    cost: float | None = None
    params: dict[str, object] = field(default_factory=dict)

    @property
    def has_pair(self) -> bool:
        """Whether the values look like messages: a list of them, or a question and an answer."""
        return self.has_messages or (self.inputs is not None and self.outputs is not None)


def find_signs(leaves: Leaves, own_models: Collection[str] = ()) -> Signs:
    """Search the values of a span for what a model call has: model name, token counts, messages.

    Args:
        leaves: All values of the span.
        own_models: Names of models for which the user has set a price.
    """
    signs = Signs()
    _find_models(leaves.leaves, own_models, signs)
    _find_counts(leaves, signs)
    _find_messages(leaves, signs)
    for leaf in leaves.leaves:
        _read_other(leaf, signs)
    return signs


def may_be_text(name: str) -> bool:
    """Return whether an attribute may hold inputs or outputs, by its name."""
    words = words_of(name)
    is_side = bool(_side_of_text(words)) or "messages" in words
    return is_side and words[-1] not in _NO_TEXT


def _is_param(name: str, leaf: NamedValue, signs: Signs) -> bool:
    """Return whether a value is a parameter of the model. A temperature of 21 is not."""
    if name == "temperature":
        heat = to_float(leaf.value)
        if heat is None or not 0 <= heat <= _HOTTEST:
            return False
    return _is_related(leaf.source, _sources_of(signs))


def _find_models(leaves: Iterable[NamedValue], own: Collection[str], signs: Signs) -> None:
    named = [
        (name, leaf)
        for leaf in leaves
        if (words := _without_numbers(leaf.words))
        and words[-1] in _MODEL_ENDS
        and not _MODEL_WORDS.isdisjoint(words[-3:])
        and "provider" not in words[-2:]
        and isinstance(name := _first(leaf.value), str)
    ]
    named.sort(key=lambda pair: len(pair[1].words))
    known = [(name, leaf) for name, leaf in named if is_known_model(name, own)]
    if not known:
        signs.unknown_model = next((name for name, _ in named if name), "")
        return

    def first(wanted: Collection[str], unwanted: Collection[str]) -> str:
        return next(
            (
                name
                for name, leaf in known
                if (not wanted or not frozenset(leaf.words).isdisjoint(wanted))
                and frozenset(leaf.words).isdisjoint(unwanted)
            ),
            "",
        )

    neutral = first((), _OF_REQUEST | _OF_ANSWER)
    asked, answered = first(_OF_REQUEST, _OF_ANSWER), first(_OF_ANSWER, _OF_REQUEST)
    anyone, source = known[0][0], known[0][1].source
    signs.models = ModelNames(
        asked or neutral or answered or anyone, answered or neutral or asked or anyone, source
    )


def _find_counts(leaves: Leaves, signs: Signs) -> None:
    """Find the counts of tokens. The shortest name of each count wins."""
    found: dict[str, tuple[int, int]] = {}
    has_tokens = False
    for leaf in leaves.leaves:
        name = count_name(leaf.words) if not isinstance(leaf.value, list | tuple) else ""
        count = whole_number(leaf.value) if name else None
        if count is None:
            continue
        has_tokens = has_tokens or not _TOKEN.isdisjoint(leaf.words)
        if name not in found or len(leaf.words) < found[name][0]:
            found[name] = len(leaf.words), count
            signs.usage_source = signs.usage_source or leaf.source
    counts = {name: count for name, (_, count) in found.items()}
    is_pair = {"input_tokens", "output_tokens"} <= counts.keys()
    if not any(counts.values()) or not (is_pair or has_tokens):
        return
    if "input_tokens" not in counts and {"output_tokens", "total_tokens"} <= counts.keys():
        counts["input_tokens"] = max(counts["total_tokens"] - counts["output_tokens"], 0)
    signs.counts = counts | _anthropic_counts(leaves.objects)


def whole_number(value: Value) -> int | None:
    """Return a count of tokens; None for a fraction, which is a cost or a share."""
    number = None if isinstance(value, bool) else to_float(value)
    return to_token_count(value) if number is not None and number.is_integer() else None


def _anthropic_counts(objects: Iterable[NamedValue]) -> dict[str, int]:
    """Return the counts of Anthropic's own usage object, whose input leaves out cached tokens."""
    usages = (leaf.value for leaf in objects if "usage" in leaf.words)
    is_anthropic = ("cache_read_input_tokens", "cache_creation_input_tokens")
    usage = next(
        (
            usage
            for usage in usages
            if isinstance(usage, Mapping) and any(map(usage.get, is_anthropic))
        ),
        None,
    )
    return read_usage(usage)


def count_name(words: Words) -> str:
    """Return which count of a run a name means, such as ``input_tokens``; empty if none."""
    parts = frozenset(words)
    is_ollama = words[-2:] == ("eval", "count")
    is_usage = "usage" in parts and words[-1] in _COUNT_ENDS
    is_money = not _MONEY.isdisjoint(words[-2:])
    is_later = is_money or any(word.isdigit() and word != "0" for word in words)
    if is_later or not (is_usage or is_ollama or parts & _TOKEN):
        return ""
    is_detail = not parts.isdisjoint(_CACHE | _THOUGHTS | {"audio"})
    if not _NO_COUNT.isdisjoint(parts - {"details"} if is_detail else parts) or _is_of_part(words):
        return ""
    if is_ollama:
        return "input_tokens" if "prompt" in words[-3:] else "output_tokens"
    if parts & _CACHE:
        first = next(at for at, word in enumerate(words) if word in _CACHE)
        if not _OF_CACHE.issuperset(words[first:]) or "audio" in parts:
            return ""
        return "cache_creation_tokens" if parts & _CREATED else "cached_tokens"
    return "reasoning_tokens" if parts & _THOUGHTS else _side_of_count(words)


def _is_of_part(words: Words) -> bool:
    """Return whether a count leaves out all but texts or documents, such as ``text_tokens``."""
    return any(
        first in _PART_WORDS and (second in _TOKEN or second in _CACHE or second in _OF_SIDES)
        for first, second in itertools.pairwise(words)
    )


def _side_of_count(words: Words) -> str:
    """Return the field for a count of all input tokens, all output tokens, or both together."""
    for word in reversed(words):
        if word in _IN:
            return "audio_input_tokens" if "audio" in words else "input_tokens"
        if word in _OUT:
            return "audio_output_tokens" if "audio" in words else "output_tokens"
    is_total = words[-1] in _TOKEN | {"count", "used", "consumed"} or not _TOTAL.isdisjoint(words)
    return "total_tokens" if is_total and "audio" not in words else ""


def _find_messages(leaves: Leaves, signs: Signs) -> None:
    asked, answered, others = list[MessageList](), list[MessageList](), list[MessageList]()
    for chat in leaves.conversations:
        side = _side_of(chat.words)
        (asked if side == "asked" else answered if side == "answered" else others).append(chat)
    for chat in others:
        is_answer = all(message.get("role") == "assistant" for message in chat.messages)
        (answered if is_answer else asked).append(chat)
    inputs = max(asked, key=lambda chat: len(chat.messages), default=None)
    outputs = min(answered, key=lambda chat: len(chat.words), default=None)
    signs.has_messages = bool(inputs or outputs)
    texts = _Texts(leaves, _sources_of(signs))
    sources: list[str] = []
    if inputs is not None:
        signs.inputs = list(inputs.messages)
        sources.append(inputs.source)
        if outputs is None and inputs in others:
            signs.inputs, signs.outputs = part_conversation(inputs.messages)
    if outputs is not None:
        signs.outputs = list(outputs.messages)
        sources.append(outputs.source)
    question, answer = texts.find_pair(
        needs_asked=signs.inputs is None, needs_answered=signs.outputs is None
    )
    if signs.inputs is None and question is not None:
        signs.inputs = _single(question.value)
        sources.append(question.source)
    if signs.outputs is None and answer is not None:
        signs.outputs = _single(answer.value)
        sources.append(answer.source)
    signs.message_sources = tuple(dict.fromkeys(sources))
    if signs.inputs is not None and texts.system is not None:
        signs.inputs = _with_system(signs.inputs, texts.system)


def part_conversation(
    messages: Sequence[Mapping[str, object]],
) -> tuple[list[Mapping[str, object]], list[Mapping[str, object]] | None]:
    """Split a conversation into the input and the answer at its end."""
    at = len(messages)
    while at > 1 and messages[at - 1].get("role") == "assistant":
        at -= 1
    return [*messages[:at]], [*messages[at:]] or None


def _with_system(inputs: object, system: str) -> object:
    first = {"role": "system", "content": system}
    if isinstance(inputs, str):
        return [first, {"role": "user", "content": inputs}]
    if not isinstance(inputs, list) or any(
        isinstance(message, Mapping) and message.get("role") == "system" for message in inputs
    ):
        return inputs
    is_conversation = all(isinstance(message, Mapping) and "role" in message for message in inputs)
    return [first, *inputs] if is_conversation else inputs


def _first(value: Value) -> Value:
    """Return the first item of a list; other values unchanged."""
    return value[0] if isinstance(value, list | tuple) and value else value


def _without_numbers(words: Words) -> Words:
    return tuple(word for word in words if not word.isdigit())


def _single(value: Value) -> Value:
    """Return the item of a list with one item; other values unchanged."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def _side_of(words: Words) -> str:
    """Return whether a name is that of an input (``asked``) or of an output (``answered``).

    The last word that shows it decides: ``llm.request.prompt`` is an input, ``prompt.response`` an
    output. Words such as "arguments" and "result" also belong to functions, so they are tried last.
    Empty if no word shows it.
    """
    sides = [word for word in reversed(words) if word in _SIDES]
    return next((_SIDES[word] for word in sides if word not in _OF_FUNCTIONS), "") or (
        _SIDES[sides[0]] if sides else ""
    )


def _side_of_text(words: Words) -> str:
    return side_of_speaker(words) or _side_of(words) or side_of_end(words)


def side_of_end(words: Words) -> str:
    """Return the side for a name that ends in ``in`` or ``out``: ``x.out`` is ``answered``."""
    ends = words[-2:-1] if words and words[-1] in _TEXT_ENDS else words[-1:]
    return {"in": "asked", "out": "answered"}.get("".join(ends), "")


def side_of_speaker(words: Words) -> str:
    """Return ``asked`` or ``answered`` for names with a speaker, such as ``user_message``."""
    for first, second in itertools.pairwise(words):
        if second in _SPEECH and first in _SPEAKERS and first != words[0]:
            return _SPEAKERS[first]
        if second in _SPEAKERS and first in _BEFORE_SPEAKERS:
            return _SPEAKERS[second]
    return (
        _SPEAKERS[words[0]]
        if len(words) == _TWO_WORDS and words[1] in _SPEECH and words[0] in _SPEAKERS
        else ""
    )


class _Texts:
    """Collects texts that may be a span's question, answer or system instructions."""

    def __init__(self, leaves: Leaves, call_names: Sequence[Collection[str]]) -> None:
        self._call_names = call_names
        self._has_library = all(call_names)
        self.system: str | None = None
        self._sides: dict[str, list[tuple[tuple[int, int, int], NamedValue]]] = {
            "asked": [],
            "answered": [],
        }
        self._plain: NamedValue | None = None  # a text whose name does not show its side
        for leaf in leaves.leaves:
            if isinstance(leaf.value, str | list | tuple):
                self._add(leaf, is_whole=False)
        for leaf in leaves.objects:
            if leaf.words and leaf.words[-1] in _SIDES:
                self._add(leaf, is_whole=True)
        for side in self._sides.values():
            side.sort(key=lambda pair: pair[0])

    def find_pair(
        self, *, needs_asked: bool, needs_answered: bool
    ) -> tuple[NamedValue | None, NamedValue | None]:
        """Return the best question and answer.

        If both are needed, they must share the beginning of their names. If the model and the
        counts have the name of a library and the texts have not, their names must also end alike,
        as ``prompt`` and ``completion`` do: other texts may be those of a form or of an HTTP body.
        """
        asked, answered = (
            [leaf for _, leaf in self._sides[side]] for side in ("asked", "answered")
        )
        if not (needs_asked and needs_answered):
            return next(iter(asked), None), next(iter(answered), self._plain)
        for question in asked:
            for answer in answered:
                if _begin_alike(question.words, answer.words) and self._is_pair(question, answer):
                    return question, answer
        first, plain = next(iter(asked), None), self._plain
        if first and plain and not answered and _begin_alike(first.words, plain.words):
            is_pair = not self._has_library or _has_library_word(plain.source)
            return first, plain if is_pair else None
        return first, None

    def _is_pair(self, question: NamedValue, answer: NamedValue) -> bool:
        if not self._has_library or any(
            _has_library_word(text.source) for text in (question, answer)
        ):
            return True
        return question.words[1:] == answer.words[1:]

    def _add(self, leaf: NamedValue, *, is_whole: bool) -> None:
        words = _without_numbers(leaf.words)
        if not words or (words[-1] in _NO_TEXT and not side_of_speaker(words)):
            return
        if isinstance(leaf.value, str) and _is_system(words):
            self.system = self.system or leaf.value
            return
        side = _side_of_text(words)
        if not _is_related(leaf.source, self._call_names):
            return
        if not side and words[-1] in {"text", "content"} and isinstance(leaf.value, str):
            self._plain = self._plain or leaf
        if side:
            rank = min((_RANKS[word] for word in words if _SIDES.get(word) == side), default=0)
            is_odd = not is_whole and words[-1] not in _TEXT_ENDS
            self._sides[side].append(((2 * is_odd + is_whole, rank, len(words)), leaf))


def _sources_of(signs: Signs) -> list[Collection[str]]:
    """Return the words that identify the library, from the names of model and counts."""
    models = [signs.models.source] if signs.models is not None else []
    return [frozenset(words_of(source)) - _COMMON for source in (*models, signs.usage_source)]


def _has_library_word(source: str) -> bool:
    return not _COMMON.issuperset(words_of(source))


def _is_related(source: str, call_names: Sequence[Collection[str]]) -> bool:
    """Return whether a text is of the same library as the model or the counts.

    Names without a word of the library, such as ``prompt``, are related to everything.
    """
    words = frozenset(words_of(source)) - _COMMON
    return not words or any(not call or not words.isdisjoint(call) for call in call_names)


def _begin_alike(question: Words, answer: Words) -> bool:
    """Return whether the names of a question and an answer belong together.

    They do if they share their first word, or if the first word shows the side, such as ``prompt``.
    """
    if not question or not answer:
        return False
    is_chat = question[0] in _SIDES or question[0] in _SPEAKERS
    return question[0] == answer[0] or is_chat


def _kind_of(name: str) -> str:
    """Convert a library's word for its span, such as ``LLM`` or ``record_root``, to a run kind."""
    whole = name.rpartition(".")[2].strip().lower()
    kinds = [_KIND_OF_NAME.get(whole, ""), *(_KIND_OF_NAME.get(x, "") for x in words_of(whole)[:4])]
    return next((kind for kind in kinds if kind in CALLS), next(filter(None, kinds), ""))


def _is_loop(words: Words) -> bool:
    """Return whether a number counts calls. Its span then contains calls and is not one itself."""
    counts = words[:-1] if words[-1] in {"count", "total", "number"} else words
    return counts[-1:] == ("iterations",) or counts[-2:] in {("llm", "calls"), ("model", "calls")}


def _is_system(words: Words) -> bool:
    if words[-1] == "instructions" or words[-2:] == ("system", "instruction"):
        return True
    return "system" in words and words[-1] in _SYSTEM_TEXT


def _read_other(leaf: NamedValue, signs: Signs) -> None:
    """Read provider, session, user, response ID, cost, parameters and the kind of a span."""
    words, value = leaf.words, leaf.value
    if not words:
        return
    if isinstance(value, str):
        for name, ends in _WHO.items():
            if words[-2:] in ends or words[-1:] in ends:
                signs.texts.setdefault(name, value)
        if words[-1] == "id" and value.startswith(_RESPONSE_IDS):
            signs.texts["response_id"] = value
        if not _PROVIDER.isdisjoint(words[-2:]) and is_provider(value):
            signs.texts.setdefault("provider", provider_of(value))
        if not _KIND_NAMES.isdisjoint(words[-2:]) and _NO_KIND.isdisjoint(words):
            kind = _kind_of(value)
            signs.kind = signs.kind if signs.kind in CALLS else kind or signs.kind
    if isinstance(value, int) and value > 1 and not isinstance(value, bool) and _is_loop(words):
        signs.kind = signs.kind or "chain"
    if not _COST.isdisjoint(words) and _NO_COST.isdisjoint(words):
        cost = None if isinstance(value, bool | list | tuple) else to_float(value)
        if cost is not None and math.isfinite(cost) and cost > 0:
            signs.cost = cost if signs.cost is None else max(cost, signs.cost)
    for size in range(1, 4):
        if (name := "_".join(words[-size:])) in _PARAMS and _is_param(name, leaf, signs):
            signs.params.setdefault(name, cast("object", value))
