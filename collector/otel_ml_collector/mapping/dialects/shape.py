"""Reads model calls from spans of unknown libraries, by what their values look like.

Known libraries are those with a table of attribute names in `tables.py`.

A span is a call in either of two cases:

* It has a known model, counts of tokens, and values that look like messages.
* It failed as a client, and has a known model.

The names of its attributes decide first, once for all spans that have them. So a span without a
model's name costs next to nothing.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, cast

from otel_ml import attributes as names
from otel_ml_collector.mapping.dialects.leaves import open_leaves, words_of
from otel_ml_collector.mapping.dialects.signs import ModelNames, Signs, find_signs, may_be_text
from otel_ml_collector.mapping.dialects.table import CALLS, Dialect
from otel_ml_collector.mapping.dialects.tables import DIALECTS
from otel_ml_collector.mapping.model_names import is_embedding_model, is_known_model, is_model_alone
from otel_ml_collector.mapping.run_columns import RunColumns
from otel_ml_collector.mapping.values import to_json
from otel_ml_collector.price import is_provider, provider_of
from otel_ml_collector.span import STATUS_ERROR, Event, Span, Value

# Value of `dialect` of the runs.
SHAPE: Final = "shape"
_SERVER: Final = 2
_CLIENT: Final = 3
_CONSUMER: Final = 5
# Namespaces of the general conventions. No library writes a call's values there.
# https://opentelemetry.io/docs/specs/semconv/attributes-registry/
_GENERAL: Final = frozenset(
    {
        *("http", "url", "net", "network", "server", "client", "peer", "rpc", "faas", "code"),
        *("thread", "process", "k8s", "cloud", "host", "container", "os", "telemetry", "service"),
        *("exception", "error", "user_agent", "enduser", "user", "session", "dns"),
        *("tls", "geo", "log", "otel", "otel_ml", "device", "browser", "signalr", "aspnetcore"),
        *("dotnet", "jvm", "nodejs", "cpython", "v8js", "webengine", "file", "hw", "heroku", "oci"),
        *("vcs", "cicd", "android", "ios", "elasticsearch", "cassandra", "zos", "system"),
    }
)
# Spans of databases, queues and flags are not calls, even if they contain a model's answer.
_OTHERS: Final = ("db.", "messaging.", "feature_flag.", "graphql.")
_OTHER_EVENTS: Final = frozenset({"feature_flag", "db", "messaging", "graphql"})
# Scope names of known libraries start with one of these. LiteLLM's other spans repeat its calls.
_KNOWN_SCOPES: Final = (
    *("litellm", "otel_ml"),
    *(dialect.scope for dialect in DIALECTS if dialect.scope),
)
_MODEL_PARTS: Final = frozenset({"model", "models", "deployment", "engine", "llm"})
_COUNTING: Final = frozenset({"token", "tokens", "usage", "eval", "toks", "tok"})
_BODIES: Final = ("body", "content", "payload")
# Parts of names and JSON texts, without their first letter: it may be upper or lower case.
_MODEL_TEXT: Final = ("odel", "eployment", "ngine")
_COUNT_TEXT: Final = ("oken", "usage", "Usage", "eval_count")
_GEN_AI: Final = "gen_ai."
# Names of the GenAI conventions that the table reads.
_STANDARD: Final = (
    "llm.usage.total_tokens",
    *(
        f"{_GEN_AI}{name}"
        for name in (
            *("request.", "response.", "usage.", "input.messages", "output.messages"),
            *("prompt", "completion", "system", "operation", "provider", "tool", "token"),
            *("agent", "output.type"),
        )
    ),
)
_MODEL_CHARS: Final = 128
_MOST_WORDS: Final = 8
_OPENING: Final = ("{", "[", '"')
_EXCEPTION: Final = "exception"
# Words in the names of spans around calls, which often repeat the values of the calls.
_AROUND: Final = frozenset(
    {"agent", "workflow", "pipeline", "chain", "crew", "graph", "flow", "session", "task", "tool"}
)
# Errors of providers' clients, by the names of their types.
_CLIENT_ERROR: Final = re.compile(
    r"openai|anthropic|mistral|cohere|genai|generativeai|bedrock|litellm|ratelimit|rate_limit"
    r"|api_?(?:status|connection|timeout)?_?error|overloaded|context_?length",
    re.IGNORECASE,
)
_METHOD: Final = re.compile(r"(?:HTTP )?(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS|HTTP)\b")
_CALLING: Final = frozenset(
    {
        *(
            "chat",
            "llm",
            "completion",
            "completions",
            "generate",
            "generation",
            "complete",
            "model",
        ),
        *("inference", "embed", "embedding", "embeddings", "messages", "response", "responses"),
        *("predict", "invoke", "converse", "call", "ask", "stream", "openai", "anthropic"),
    }
)


@dataclass(frozen=True, slots=True)
class ShapeNames:
    """Attribute names that may show that spans are model calls of an unknown library.

    Attributes:
        models: Attributes that may name a model.
        special: All attributes that OpenTelemetry's general conventions do not define.
        has_counts: Whether one of the names may be a number of tokens.
        spares: Attributes outside the GenAI conventions, if the span also has some of these
            conventions. Missing inputs, outputs or token counts are read from them.
    """

    models: tuple[str, ...]
    special: tuple[str, ...]
    has_counts: bool
    spares: tuple[str, ...] = ()


def find_shape_names(keys: Sequence[str], dialects: Collection[Dialect]) -> ShapeNames | None:
    """Return which attribute names may show that a span is a model call.

    Args:
        keys: Attribute names of the span.
        dialects: Known instrumentations that were recognized by these names.

    Returns:
        The attributes. None if the span cannot be a call, or if its instrumentation is known.
    """
    if dialects or is_other(keys):
        return None
    special = tuple(key for key in keys if not is_general(key))
    return ShapeNames(
        tuple(key for key in special if not _MODEL_PARTS.isdisjoint(words_of(key))),
        special,
        any(map(_may_be_count, special)),
        tuple(
            key
            for key in special
            if not key.startswith(_STANDARD) and (may_be_text(key) or _may_be_count(key))
        )
        if any(key.startswith(_GEN_AI) for key in keys)
        else (),
    )


def _may_be_count(key: str) -> bool:
    return not _COUNTING.isdisjoint(words_of(key))


def read_shapes(
    spans: Sequence[Span],
    shape: ShapeNames,
    run_columns: RunColumns,
    own_models: Collection[str] = (),
) -> None:
    """Read the model calls among spans whose kind is unknown, and fill the fields of their runs.

    A span is a model call if its values look like one; see the module's docstring.

    Args:
        spans: Spans with the same attribute names and scope.
        shape: Which of their attributes may show a model call.
        run_columns: Fields of the runs that are known so far. More are added.
        own_models: Names of models for which the user has set a price.
    """
    if spans[0].scope.name.startswith(_KNOWN_SCOPES):
        return
    if shape.spares and "kind" in run_columns.columns:
        _fill_missing(spans, run_columns)
    for at in run_columns.missing("kind"):
        span = spans[at]
        if not ((shape.special or span.events) and _may_be_call(span, shape, own_models)):
            continue
        signs = _open(span, own_models)
        if _is_call(span, signs):
            for field, value in _fields_of(signs, has_failed=_has_failed(span)).items():
                if value is None:
                    continue
                if field == "dialect" or run_columns.column(field)[at] is None:
                    run_columns.fill(field, [value], [at])


def _fill_missing(spans: Sequence[Span], run_columns: RunColumns) -> None:
    """Fill the inputs, outputs and counts that a known dialect did not find.

    Some libraries use the GenAI conventions for everything else, but not for these.
    """
    kinds = run_columns.column("kind")
    columns = [run_columns.column(name) for name in ("inputs", "outputs")]
    counts = [run_columns.column(name) for name in ("input_tokens", "output_tokens")]
    for at, span in enumerate(spans):
        lacks_texts = [column[at] is None for column in columns]
        lacks_counts = all(column[at] is None for column in counts)
        if kinds[at] not in CALLS or not (any(lacks_texts) or lacks_counts):
            continue
        signs = find_span_signs(span.attributes, span.events)
        fields: dict[str, object] = {**signs.counts} if lacks_counts else {}
        is_whole = all(lacks_texts) and signs.has_pair
        for (name, payload), is_lacking in zip(
            (("inputs", signs.inputs), ("outputs", signs.outputs)), lacks_texts, strict=True
        ):
            is_list = isinstance(payload, list) and signs.has_messages
            if payload is not None and is_lacking and (is_whole or is_list):
                fields[name] = (payload, to_json(cast("Value", payload)))
        for field, value in fields.items():
            run_columns.fill(field, [value], [at])


def _payloads(signs: Signs) -> dict[str, object]:
    pairs = {"inputs": signs.inputs, "outputs": signs.outputs}
    return {name: (value, to_json(value)) for name, value in pairs.items() if value is not None}


def find_span_signs(
    attributes: Mapping[str, Value], events: Sequence[Event], own_models: Collection[str] = ()
) -> Signs:
    """Return the signs of a call in the attributes and events of a span."""
    special = {key: value for key, value in attributes.items() if not is_general(key)}
    return find_signs(open_leaves(special, _special_events(events)), own_models)


def describe(span: Span, own_models: Collection[str] = ()) -> tuple[Sequence[str], Sequence[str]]:
    """Explain why a span was not read as a model call: what suggests one, and what is missing.

    Returns:
        What was found and what is missing, in words such as `token counts`.
    """
    signs = _open(span, own_models)
    found, missing = list[str](), list[str]()
    if signs.models is not None:
        where = f" in {signs.models.source}" if signs.models.source else ""
        found.append(f"a known model ({signs.models.requested}{where})")
    else:
        unknown = f" ({signs.unknown_model} has no price)" if signs.unknown_model else ""
        missing.append(f"a known model{unknown}")
    if signs.counts:
        found.append(f"token counts ({signs.usage_source})")
    else:
        missing.append("token counts")
    if signs.inputs is None and signs.outputs is None:
        missing.append("messages, or a question and an answer")
    else:
        what = "messages" if signs.has_messages else "a text"
        what = "a question and an answer" if not signs.has_messages and signs.has_pair else what
        found.append(f"{what} ({', '.join(signs.message_sources)})")
        if not signs.has_pair:
            missing.append("the question" if signs.inputs is None else "the answer")
    if not missing:
        missing.append(_reason_for_none(span))
    return found, missing


def _reason_for_none(span: Span) -> str:
    """Return why a span is not a call although it has all signs of one."""
    if is_other(span.attributes):
        return "nothing, but it is the span of a database, a queue or a flag"
    if span.kind in {_SERVER, _CONSUMER}:
        return "a list of messages: it handles a request, and its texts may be those of a call"
    return "nothing, but another table knows it"


def is_other(keys: Iterable[str]) -> bool:
    """Return whether attributes are those of a database, a queue or a flag."""
    return any(key.startswith(_OTHERS) for key in keys)


@lru_cache(16_384)
def is_general(key: str) -> bool:
    """Return whether an attribute is one of OpenTelemetry's general conventions."""
    head, dot, rest = key.partition(".")
    if head == "http" and rest.endswith(_BODIES):
        return False
    return bool(dot) and (head in _GENERAL or key.startswith("deployment.environment"))


def _special_events(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.name != _EXCEPTION and event.attributes]


def _may_be_call(span: Span, shape: ShapeNames, own: Collection[str]) -> bool:
    """Return whether a span may be a call: whether it has a model, and counts unless it failed.

    This looks at each value once and parses no JSON. It rules out most spans.
    """
    attributes = span.attributes
    has_model = has_object = False
    models: list[str] = []
    has_counts = shape.has_counts or _has_failed(span)
    for name in shape.special:
        value = attributes[name]
        if not isinstance(value, str):
            has_object = has_object or isinstance(value, Mapping)
            has_model = has_model or (name in shape.models and isinstance(value, list | tuple))
        elif value[:1] in _OPENING:
            has_model = has_model or name in shape.models or _has_any(value, _MODEL_TEXT)
            has_counts = has_counts or _has_any(value, _COUNT_TEXT)
        elif name in shape.models:
            models.append(value)
    for event in span.events:
        if event.name == _EXCEPTION or _is_general_event(event.name):
            continue
        for name, value in event.attributes.items():
            names_model, names_count = _names_facts(name)
            has_model, has_counts = has_model or names_model, has_counts or names_count
            if isinstance(value, str):
                if value[:1] in _OPENING:
                    has_model = has_model or _has_any(value, _MODEL_TEXT)
                    has_counts = has_counts or _has_any(value, _COUNT_TEXT)
            elif isinstance(value, Mapping):
                has_object = True
    if has_object or (has_counts and (has_model or any(is_known_model(m, own) for m in models))):
        return True
    return has_counts and bool(shape.special) and bool(_spare_model(span, shape.special, own))


def _has_any(text: str, parts: Sequence[str]) -> bool:
    return any(part in text for part in parts)


@lru_cache(4_096)
def _names_facts(name: str) -> tuple[bool, bool]:
    """Return whether an event's attribute may name a model, and whether it may count tokens."""
    return _has_any(name, _MODEL_TEXT), _has_any(name, _COUNT_TEXT)


@lru_cache(1_024)
def _is_general_event(name: str) -> bool:
    return name.partition(".")[0] in _GENERAL | _OTHER_EVENTS


def _spare_model(span: Span, names: Sequence[str], own: Collection[str]) -> str:
    """Return a known model from the span's name or from any attribute; empty if there is none."""
    texts = (span.attributes[name] for name in names)
    words = (text for text in texts if isinstance(text, str) and len(text) <= _MODEL_CHARS)
    named = span.name.split()[:_MOST_WORDS]
    return next((word for word in (*named, *words) if is_model_alone(word, own)), "")


def _open(span: Span, own: Collection[str]) -> Signs:
    signs = find_span_signs(span.attributes, span.events, own)
    if signs.models is None and signs.counts:
        special = [key for key in span.attributes if not is_general(key)]
        if name := _spare_model(span, special, own):
            signs.models = ModelNames(name, name, "")
    return signs


def _is_call(span: Span, signs: Signs) -> bool:
    if signs.models is None:
        return False
    if signs.counts and _is_messages(span, signs):
        if not signs.kind and _is_around(span):
            signs.kind = "chain"
        return True
    return (
        _has_failed(span)
        and _is_client(span, signs)
        and not (signs.kind not in {"", *CALLS} or (not signs.kind and _is_around(span)))
    )


def _is_messages(span: Span, signs: Signs) -> bool:
    if span.kind in {_SERVER, _CONSUMER}:
        # A request handler often notes the question and the answer of the call that it makes.
        return signs.has_messages
    if _is_embedding(signs) and not signs.counts.get("output_tokens"):
        return signs.inputs is not None
    return signs.has_pair


def _has_failed(span: Span) -> bool:
    """Return whether a span failed. Some libraries only record the exception, or a flag."""
    has_status = span.status_code == STATUS_ERROR or names.ERROR_TYPE in span.attributes
    return has_status or span.attributes.get("error") is True or _has_client_error(span)


def _is_client(span: Span, signs: Signs) -> bool:
    """Return whether a failed span calls a model itself.

    That is so if its span kind is client, if its error comes from a provider's client library, if
    its name is that of a call, or if it has the parameters or messages of a request.
    """
    if span.kind in {_SERVER, _CONSUMER} or _is_transport(span):
        return False
    if span.kind == _CLIENT:
        return True
    has_request = signs.models is not None and signs.models.source in signs.message_sources
    is_named = not _CALLING.isdisjoint(words_of(span.name))
    return is_named or has_request or bool(signs.params) or _has_client_error(span)


def _is_transport(span: Span) -> bool:
    """Return whether a span is of an HTTP or RPC library. Its model may come from baggage.

    Spec: https://opentelemetry.io/docs/specs/semconv/http/http-spans/#name
    """
    is_http = "http.request.method" in span.attributes or "http.method" in span.attributes
    return "rpc.system" in span.attributes or (is_http and _METHOD.match(span.name) is not None)


def _has_client_error(span: Span) -> bool:
    """Return whether a span's error comes from a provider's client library, by its type name."""
    types = [event.attributes.get("exception.type") for event in span.events]
    if names.ERROR_TYPE in span.attributes:
        types.append(span.attributes[names.ERROR_TYPE])
    return any(isinstance(name, str) and _CLIENT_ERROR.search(name) for name in types)


def _is_around(span: Span) -> bool:
    words = words_of(span.name)
    return not _AROUND.isdisjoint(words) and _CALLING.isdisjoint(words)


def _is_embedding(signs: Signs) -> bool:
    is_its_model = signs.models is not None and is_embedding_model(signs.models.requested)
    return signs.kind == "embedding" or (is_its_model and signs.kind in {"", "model"})


def _fields_of(signs: Signs, *, has_failed: bool) -> dict[str, object]:
    """Return the fields of a call, except those without a value."""
    models = signs.models
    fields: dict[str, object] = {
        "dialect": SHAPE,
        "outcome": "error" if has_failed and signs.outputs is None else None,
        "kind": "embedding" if _is_embedding(signs) else signs.kind or "model",
        **signs.counts,
        **signs.texts,
    }
    if fields["kind"] == "embedding" and "total_tokens" in signs.counts:
        fields.setdefault("input_tokens", signs.counts["total_tokens"])
    if models is not None:
        fields["provider_model"] = models.answered
        if fields["kind"] in {"model", "embedding"}:
            fields["model"] = models.requested
        head = models.requested.partition("/")[0]
        if "provider" not in fields and is_provider(head):
            fields["provider"] = provider_of(head)
    if signs.cost is not None:
        fields["cost"] = signs.cost
    if signs.params:
        fields["params"] = to_json(signs.params)
    fields |= _payloads(signs)
    return fields
