"""Reads fields of runs from attributes, using the tables of dialects. Never raises for any value.

Spans with the same attribute names and scope are read together, one field at a time. So everything
that depends only on the names is computed once. The result for a span does not depend on the other
spans.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeGuard, cast

from otel_ml.records import LABELS, TOKENS
from otel_ml_collector.json_text import spell_numbers
from otel_ml_collector.mapping.dialects.streams import join_pieces
from otel_ml_collector.mapping.dialects.table import (
    CALLS,
    AttributeColumns,
    Dialect,
    Failure,
    FieldSource,
    Form,
    Present,
    Row,
)
from otel_ml_collector.mapping.dialects.usage import read_usage
from otel_ml_collector.mapping.response_ids import find_response_id
from otel_ml_collector.mapping.run_columns import RunColumns
from otel_ml_collector.mapping.values import (
    NAN,
    find_member,
    parse,
    read_payload,
    read_quoted,
    read_structured,
    structured,
    to_float,
    to_int,
    to_json,
    to_text,
    to_token_count,
)
from otel_ml_collector.owners import RESPONSE_CHARS
from otel_ml_collector.price import provider_of
from otel_ml_collector.records import Tag, TagValue
from otel_ml_collector.span import Scope, Span, Value

_MAX_TAGS: Final = 128
_TAG_CHARS: Final = 256
NO_ID: Final = frozenset({"null", "None", "undefined"})
_HALVES: Final = frozenset({"asked", "answered"})
_CHOICE: Final = "gen_ai.choice"
_PAYLOADS: Final = frozenset({"inputs", "outputs"})
# JSON texts of empty inputs and outputs.
_NO_TEXT: Final = '""'
_EMPTY: Final = frozenset({_NO_TEXT, "[]", "{}", "null"})
_NO_PAYLOAD: Final = _EMPTY | {None}
_SPEAKING: Final = CALLS | {"agent"}


def is_sent_by(dialect: Dialect, scope: Scope) -> bool:
    """Return whether spans come from the SDK and the instrumentation that a dialect requires."""
    is_sdk = not dialect.sdk or scope.resource.get("telemetry.sdk.name") == dialect.sdk
    return is_sdk and scope.name.startswith(dialect.scope)


def read_dialect(spans: Sequence[Span], present: Present, values: AttributeColumns) -> None:
    """Fill fields of runs from the attributes of one dialect, if they are not filled yet.

    A dialect is the set of attribute names of one instrumentation, such as OpenInference.

    Args:
        spans: Spans with the same attribute names and scope.
        present: Attributes of the dialect that the spans have.
        values: Attributes of the spans, and the fields filled so far.
    """
    dialect, run_columns = present.dialect, values.run_columns
    if not is_sent_by(dialect, spans[0].scope):
        return
    run_columns.fill_missing("dialect", dialect.name)
    read_rows(present, values)
    if dialect.failure is not None:
        _read_failures(spans, dialect.failure, run_columns)


def read_rows(
    present: Present, values: AttributeColumns, fields: Collection[str] | None = None
) -> None:
    """Fill the fields of runs that a dialect's table provides and that are still empty.

    If `fields` is given, only these fields are filled.
    """
    run_columns = values.run_columns
    kinds = run_columns.column("kind")
    kinds_there = set(kinds)
    for row, sources, form in present.rows:
        name = row.field
        if name == "usage":
            _read_usage(sources, values)
            continue
        if fields is not None and name not in fields:
            continue
        is_new = name == "tags" or name not in run_columns.columns
        places = run_columns.every if is_new else run_columns.missing(name)
        if row.on and not kinds_there <= row.on:
            places = [at for at in places if kinds[at] in row.on]
        if not places:
            continue
        if name == "tags":
            _add_tags(sources, form, values, places)
        elif name == "params":
            _read_params(sources, form, values, places)
        else:
            _read_field(row, sources, form, values, places)


def read_words(
    present: Present, values: AttributeColumns, places: Sequence[int], unknown: set[int]
) -> list[str | None]:
    """Read the kind of each run from the attributes of an instrumentation such as OpenInference.

    For example, a span that states ``LLM`` is a run of kind ``model``.

    Args:
        present: Which attributes of that instrumentation the spans have.
        values: Attributes of the spans.
        places: Indexes of the spans to read.
        unknown: Receives the indexes of spans that state an unknown kind.

    Returns:
        The kind of run for each index; None if the span states none or an unknown one.
    """
    dialect = present.dialect
    every = values.run_columns.every
    words = [values.read(source, every) for source in present.kind_sources]
    counted = dialect.counted if present.is_counted else frozenset[str]()

    def read(place: int) -> str | None:
        for column in words:
            word = column[place]
            if not counted and isinstance(word, str) and word in dialect.kinds:
                return dialect.kinds[word]
            if word := to_text(_unquote(word)).strip().lower():
                if word in counted:
                    return "model"
                ended = (ending for end, ending in dialect.endings.items() if word.endswith(end))
                if kind := dialect.kinds.get(word) or next(ended, dialect.other_kind):
                    return kind
                unknown.add(place)
        return present.kind or None

    return [read(place) for place in places]


def _read_field(
    row: Row,
    sources: Sequence[FieldSource],
    form: Form,
    values: AttributeColumns,
    places: Sequence[int],
) -> None:
    """Fill a field from the first source with a readable value.

    An empty value is used only if all sources are empty.
    """
    read, is_payload = _READERS[row.field], row.field in _PAYLOADS
    # Spans with only empty values so far, and the first of these values.
    spare: dict[int, tuple[FieldSource, tuple[object, str]]] = {}
    for source in sources:
        values_read = values.read(source, places)
        if source.text_if and source.text_if in values.names:
            are_texts = values.column(source.text_if)
            got = [
                (value, to_json(value))
                if isinstance(value, str) and are_texts[at] == "text/plain"
                else read(value, form)
                for at, value in zip(places, values_read, strict=True)
            ]
        else:
            got = [read(value, form) for value in values_read]
        if is_payload:
            places = _take_payloads(row, source, got, values, places, spare=spare)
        else:
            values.run_columns.fill(row.field, got, places)
            places = [at for at, value in zip(places, got, strict=True) if value is None]
        if not places:
            return
    # For calls and agents, no messages mean that none were recorded. Others may have no arguments,
    # or find nothing.
    is_event = "kind" not in values.run_columns.columns
    kinds = values.run_columns.column("kind")
    for at in places:
        is_unknown = is_event or kinds[at] in _SPEAKING
        if at in spare and (not is_unknown or spare[at][1][1] == _NO_TEXT):
            source, payload = spare[at]
            values.run_columns.fill(row.field, [payload], [at])
            _note_payload(row, source, values, [at])


def _take_payloads(
    row: Row,
    source: FieldSource,
    got: list[Any],
    values: AttributeColumns,
    places: Sequence[int],
    *,
    spare: dict[int, tuple[FieldSource, tuple[object, str]]],
) -> Sequence[int]:
    """Fill inputs or outputs from one source. Return the indexes of spans where it has none."""
    there, left = places, list[int]()
    if not _NO_PAYLOAD.isdisjoint([payload and payload[1] for payload in got]):
        pairs = list(zip(places, got, strict=True))
        there = [at for at, payload in pairs if payload and payload[1] not in _EMPTY]
        left = [at for at, payload in pairs if not payload or payload[1] in _EMPTY]
        for at, payload in pairs:
            if payload and payload[1] in _EMPTY:
                spare.setdefault(at, (source, payload))
        got = [payload for payload in got if payload and payload[1] not in _EMPTY]
    if there:
        values.run_columns.fill(row.field, got, there)
        _note_payload(row, source, values, there)
    return left


def _note_payload(
    row: Row,
    source: FieldSource,
    values: AttributeColumns,
    places: Sequence[int],
) -> None:
    """Mark the source of inputs or outputs as used, so that it is not stored again.

    Also put system instructions before the messages.
    """
    run_columns = values.run_columns
    column = run_columns.columns[row.field]
    # Keep the attribute if its other members, or the other half of its messages, may be stored
    # nowhere else.
    if source.member or row.form in _HALVES:
        pass
    elif source.names:
        run_columns.use(source.names, places)
    else:
        for at in places:
            run_columns.use(column[at][0], [at])
    if row.system and row.system in values.names:
        for at in places:
            column[at] = _with_system(row.system, column[at], values, at)


def _with_system(
    name: str, inputs: tuple[object, str], values: AttributeColumns, place: int
) -> tuple[object, str]:
    """Put system instructions before messages that have none yet."""
    messages, system = inputs[0], read_quoted(values.column(name)[place])
    if system is None or not isinstance(messages, list) or any(map(_is_system, messages)):
        return inputs
    values.run_columns.use([name], [place])
    joined = [{"role": "system", "parts": system}, *messages]
    return joined, to_json(joined)


def _is_system(message: object) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "system"


def _read_usage(sources: Sequence[FieldSource], values: AttributeColumns) -> None:
    """Fill the token counts that are not filled yet from objects that hold all of them."""
    run_columns = values.run_columns
    for source in sources:
        usages = [read_usage(read_structured(v)) for v in values.read(source, run_columns.every)]
        for name in {name for usage in usages for name in usage}:
            places = run_columns.missing(name)
            run_columns.fill(name, [usages[at].get(name) for at in places], places)


def _read_params(
    sources: Sequence[FieldSource],
    form: Form,
    values: AttributeColumns,
    places: Sequence[int],
) -> None:
    """Merge the params of all sources. For a parameter in several sources, the first one wins."""
    all_params: list[dict[str, object]] = [{} for _ in places]
    for source in sources:
        alone = "" if source.prefix or len(source.names) != 1 else source.names[0]
        name = alone.partition(".")[2] if form == "named" else alone.rpartition(".")[2]
        for params, value in zip(all_params, values.read(source, places), strict=True):
            document = read_structured(value)
            if isinstance(document, Mapping):
                params.update({**document, **params} if params else document)
            elif document is not None and alone:
                params.setdefault(name, document)
    values.run_columns.fill(
        "params", [to_json(params) if params else None for params in all_params], places
    )


def _add_tags(
    sources: Sequence[FieldSource],
    form: Form,
    values: AttributeColumns,
    places: Sequence[int],
) -> None:
    """Add the tags that are not set yet."""
    run_columns = values.run_columns
    missing = run_columns.missing("tags")
    run_columns.fill("tags", [{} for _ in missing], missing)
    column = run_columns.columns["tags"]
    for source in sources:
        for at, value in zip(places, values.read(source, places), strict=True):
            _add_members(value, form, column[at])


def _add_members(value: Value, form: Form, tags: dict[str, Tag]) -> None:
    """Add the members of an object as tags. A list of names becomes tags with the value true.

    Nested values do not become tags and stay in the attributes.
    """
    document = read_structured(value)
    if isinstance(document, Mapping):
        pairs = [(str(name), item) for name, item in document.items()]
        if form == "quoted":
            pairs = [(name, read_quoted(cast("Value", item))) for name, item in pairs]
    elif isinstance(document, list | tuple):
        pairs = [(name, True) for name in document if isinstance(name, str)]
    else:
        pairs = [(document, True)] if isinstance(document, str) else []
    for name, item in sorted(pairs, key=lambda pair: pair[0]):
        is_tag = isinstance(item, str | bool | int | float) and 0 < len(name) <= _TAG_CHARS
        if is_tag and name not in tags and len(tags) < _MAX_TAGS:
            tags[name] = Tag(name, cast("TagValue", spell_numbers(item, NAN)))


def _read_failures(spans: Sequence[Span], failure: Failure, run_columns: RunColumns) -> None:
    """Mark runs as failed and set their error message, unless they have another outcome."""
    outcomes, messages = run_columns.column("outcome"), run_columns.column("error_message")
    for at, span in enumerate(spans):
        if not has_failed(span, failure) or outcomes[at] not in (None, "error"):
            continue
        outcomes[at] = "error"
        has_better = failure.is_spare and (span.events or span.status_message)
        message = "" if has_better else read_message(span, failure)
        if message and messages[at] is None:
            messages[at] = message
    run_columns.fill("outcome", outcomes)
    run_columns.fill("error_message", messages)


def has_failed(span: Span, failure: Failure) -> bool:
    """Return whether the attributes of a span mark a failure."""
    attribute = span.attributes.get(failure.level)
    if isinstance(failure.at, str | bool):
        return attribute == failure.at
    return (to_int(attribute) or 0) >= failure.at


def read_message(span: Span, failure: Failure) -> str:
    """Return the error message of a failed span, from an attribute or a member of its JSON."""
    name, _, member = failure.message.rstrip("}").partition("{")
    value = span.attributes.get(name)
    if not member:
        return to_text(value)
    return to_text(cast("Value", find_member(read_structured(value), member.split("."))))


def _unquote(value: Value) -> Value:
    """Remove the quotes from a text that was written as JSON."""
    if isinstance(value, str) and value[:1] == '"':
        document = parse(value)
        return document if isinstance(document, str) else value
    return value


def _read_text(value: Value, form: Form) -> str | None:
    if form == "quoted":
        value = _unquote(value)
    return (value if isinstance(value, str) else to_text(value)) or None


def _read_id(value: Value, form: Form) -> str | None:
    """Return a session or a user as text; None for a word that means a missing value."""
    text = _read_text(value, form)
    return None if text in NO_ID else text


def _read_provider(value: Value, form: Form) -> str | None:
    text = _read_text(value, form) or ""
    if form == "head":
        text = text.partition("/")[0] if "/" in text else ""
    return provider_of(text) if text else None


def _read_response(value: Value, form: Form) -> str | None:
    text = find_response_id(read_structured(value)) if form == "held" else _read_text(value, form)
    return text[:RESPONSE_CHARS] if text else None


def _read_count(value: Value, form: Form) -> int | None:
    return to_token_count(_unquote(value) if form == "quoted" else value)


def _read_cost(value: Value, form: Form) -> float | None:
    cost = to_float(_unquote(value) if form == "quoted" else value)
    return cost if cost is not None and math.isfinite(cost) and cost >= 0 else None


def _read_payload(value: Value, form: Form) -> tuple[object, str] | None:
    if value is None:
        return None
    if form in {"json", "messages"}:
        document, text = read_payload(value)
        if isinstance(document, str):  # perhaps JSON that was encoded twice
            inner = structured(document)
            document, text = (document, text) if isinstance(inner, str) else (inner, to_json(inner))
        joined = join_pieces(document) if form == "messages" else document
        return (document, text) if joined is document else (joined, to_json(joined))
    if form in _HALVES:
        halves = _split_conversation(read_structured(value))
        half = halves[form == "answered"]
        return (half, to_json(half)) if half else None
    quoted = read_quoted(value) if form == "quoted" else read_structured(value)
    if form == "members" and isinstance(quoted, Mapping):
        quoted = {name: read_structured(item) for name, item in quoted.items()}
    return quoted, to_json(quoted)


def _split_conversation(events: object) -> tuple[list[object], list[object]]:
    """Split the messages of a call, written as one list of events, into question and answer.

    The answer consists of choices, and of the assistant's messages after all others.
    """
    items = [event for event in events if isinstance(event, dict)] if _is_list(events) else []
    messages = [
        {name: item for name, item in event.items() if name != "event.name"} for event in items
    ]
    first = len(items)
    while first and _is_answer(items[first - 1]):
        first -= 1
    answers = [
        {"role": "assistant", **message["message"]}
        if isinstance(message.get("message"), dict)
        else message
        for message in messages[first:]
    ]
    return [*messages[:first]], [*answers]


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _is_answer(event: Mapping[str, object]) -> bool:
    return event.get("event.name") == _CHOICE or event.get("role") == "assistant"


_READERS: Final[Mapping[str, Callable[[Value, Form], object]]] = {
    **dict.fromkeys(LABELS, _read_text),
    "model": _read_text,
    "provider": _read_provider,
    "inputs": _read_payload,
    "outputs": _read_payload,
    **dict.fromkeys(
        (*TOKENS, "total_tokens", "audio_input_tokens", "audio_output_tokens"), _read_count
    ),
    "cost": _read_cost,
    "response_id": _read_response,
    "session": _read_id,
    "user": _read_id,
}
