"""Reads inputs and outputs of a generative call from GenAI events instead of attributes.

These events are log records about the span of the call; in older versions they are events of the
span. Rules: docs/design/010-log-records.md. Spec:
https://github.com/open-telemetry/semantic-conventions-genai
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.records import TOKENS
from otel_ml_collector.mapping.dialects.evaluator import read_rows
from otel_ml_collector.mapping.dialects.table import (
    AttributeColumns,
    Dialect,
    Present,
    find_present,
)
from otel_ml_collector.mapping.dialects.tables import EVENT_DIALECTS, GEN_AI
from otel_ml_collector.mapping.run_columns import RunColumns
from otel_ml_collector.mapping.values import (
    read_quoted,
    read_structured,
    structured,
    to_int,
    to_json,
    to_sorted_json,
    to_text,
)
from otel_ml_collector.span import Span, Value

DETAILS: Final = "gen_ai.client.inference.operation.details"
EXCEPTION: Final = "gen_ai.client.operation.exception"
# A result of a guardrail, as an event of its span or as a log record.
GUARDRAIL: Final = "gen_ai.guardrail.result"
_RESULT_PREFIXES: Final = (f"{GUARDRAIL}.", "gen_ai.guardrail.risk.")
_CHOICE: Final = "gen_ai.choice"
_TOOL_MESSAGE: Final = "gen_ai.tool.message"
# Roles by event name. Messages of the same time are sorted in this order.
_ROLES: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    _TOOL_MESSAGE: "tool",
}
_ROLE_PLACES: Final = {name: place for place, name in enumerate(_ROLES)}
# Older events have all messages in one attribute. For each: the field to fill, and the names of
# that attribute. Some emitters call it `content`.
_WHOLE_MESSAGES: Final = {
    "gen_ai.content.prompt": ("inputs", ("gen_ai.prompt", "content")),
    "gen_ai.content.completion": ("outputs", ("gen_ai.completion", "content")),
}
CONTENT_EVENTS: Final = frozenset({DETAILS, _CHOICE, *_ROLES, *_WHOLE_MESSAGES})
# Attribute that holds the body as JSON text, for events that cannot have a body.
_BODY: Final = "gen_ai.event.content"

# Names of the session and the user that events of a call may have.
_NAMES: Final = {
    "session": (names.SESSION_ID, "gen_ai.conversation.id"),
    "user": (names.USER_ID, "enduser.id"),
}

# Fields that are read from the details event.
_DETAILS_FIELDS: Final = frozenset({"inputs", "outputs", "cost", *TOKENS})

_Content = dict[str, object]


@dataclass(frozen=True, slots=True)
class CallEvent:
    """One event of a call, from a log record or a span. Events of a span have no body."""

    name: str
    time_ns: int
    body: Value
    attributes: Mapping[str, Value]


def read_span_events(spans: Sequence[Span], run_columns: RunColumns) -> None:
    """Fill in missing inputs, outputs, tokens and cost from the events of spans."""
    kinds = run_columns.column("kind")
    for place, span in enumerate(spans):
        if span.events and span.attributes.get(names.GEN_AI_OPERATION) in GEN_AI.counted:
            _read_guardrail(span, place, run_columns)
        events = [
            CallEvent(event.name, event.time_ns, None, event.attributes)
            for event in span.events
            if event.name in CONTENT_EVENTS
        ]
        if events:
            single = RunColumns(1)
            for field in _DETAILS_FIELDS & run_columns.columns.keys():
                single.fill(field, [run_columns.columns[field][place]])
            if kinds[place] == "tool":
                _read_tool(events, single)
            read_events(events, single)
            run_columns.take(single, place)


def _read_guardrail(span: Span, place: int, run_columns: RunColumns) -> None:
    """Fill in the result of a guardrail from its events, in order of time: one result or a list."""
    events = sorted(
        (event for event in span.events if event.name == GUARDRAIL), key=lambda event: event.time_ns
    )
    results = [
        {
            key.removeprefix(prefix): value
            for key, value in event.attributes.items()
            for prefix in _RESULT_PREFIXES
            if key.startswith(prefix)
        }
        for event in events
    ]
    found = [result for result in results if result]
    if found and run_columns.column("outputs")[place] is None:
        outputs = found if len(found) > 1 else found[0]
        run_columns.fill("outputs", [(outputs, to_json(outputs))], [place])


def _read_tool(events: Iterable[CallEvent], run_columns: RunColumns) -> None:
    """Fill in the arguments and the result of a tool from the messages before and after it ran."""
    for event in sorted(events, key=lambda event: event.time_ns):
        content = _content(event)
        if event.name == _TOOL_MESSAGE and "content" in content:
            arguments = content["content"]
            run_columns.fill_missing("inputs", (arguments, to_json(arguments)))
        elif event.name == _CHOICE and "message" in content:
            result = content["message"]
            run_columns.fill_missing("outputs", (result, to_json(result)))


def read_event_dialect(spans: Sequence[Span], dialect: Dialect, run_columns: RunColumns) -> None:
    """Fill the fields of runs from span events, for a library that writes everything there."""
    for place, span in enumerate(spans):
        attributes: dict[str, Value] = {}
        for event in span.events:
            if event.name in dialect.events:
                attributes[event.name] = True
                attributes |= {f"{event.name}:{key}": v for key, v in event.attributes.items()}
        present = _find_present(dialect.name, tuple(attributes)) if attributes else None
        if present is not None:
            single = RunColumns(1)
            single.fill("dialect", [dialect.name])
            single.fill("kind", [present.kind or None])
            read_rows(present, AttributeColumns([attributes], single))
            run_columns.take(single, place)


@lru_cache(256)
def _find_present(name: str, keys: tuple[str, ...]) -> Present | None:
    (dialect,) = (dialect for dialect in EVENT_DIALECTS if dialect.name == name)
    return find_present(dialect, keys)


def read_events(events: Sequence[CallEvent], run_columns: RunColumns) -> None:
    """Fill in missing inputs, outputs, tokens and cost of one call from its events."""
    if not events:
        return
    details = _join_details(events)
    present = find_present(GEN_AI, list(details))
    if present is not None:
        read_rows(present, AttributeColumns([details], run_columns), _DETAILS_FIELDS)
    inputs, outputs = _read_inputs(events), _read_outputs(events)
    if inputs:
        run_columns.fill_missing("inputs", (inputs, to_json(inputs)))
    if outputs:
        run_columns.fill_missing("outputs", (outputs, to_json(outputs)))
    for event, (field, sources) in _WHOLE_MESSAGES.items():
        content = _read_whole(events, event, sources)
        if content is not None:
            run_columns.fill_missing(field, (content, to_json(content)))


def event_of(name: str, time_ns: int, message: str, attributes: str) -> CallEvent:
    """Make the event of a log record, from its message and its attributes as JSON text."""
    values = orjson.loads(attributes) if attributes else {}
    return CallEvent(name, time_ns, structured(message) or None, values)


def read_content(events: Iterable[CallEvent]) -> dict[str, Any]:
    """Return the fields of a call that its events name; inputs and outputs with their JSON."""
    columns = RunColumns(1)
    read_events([event for event in events if event.name in CONTENT_EVENTS], columns)
    return columns.row(0)


def read_error(events: Iterable[CallEvent]) -> tuple[str, str]:
    """Return type and message of the exception that came last; empty if there is none."""
    errors = [event.attributes for event in events if event.name == EXCEPTION]
    last = errors[-1] if errors else {}
    return to_text(last.get("exception.type")), to_text(last.get("exception.message"))


def read_names(events: Iterable[CallEvent]) -> dict[str, str]:
    """Return the `session` and the `user` that events of a call name; the newest event wins."""
    ordered = sorted(events, key=lambda event: (-event.time_ns, to_sorted_json(event.attributes)))
    values = {
        field: (to_text(_first(event.attributes, sources)) for event in ordered)
        for field, sources in _NAMES.items()
    }
    found = {field: next(filter(None, texts), "") for field, texts in values.items()}
    return {field: text for field, text in found.items() if text}


def _join_details(events: Iterable[CallEvent]) -> dict[str, Value]:
    """Merge the attributes and bodies of a call's details events. The newest value wins."""
    details = [
        (event.time_ns, {**event.attributes, **_mapping(event.body)})
        for event in events
        if event.name == DETAILS
    ]
    details.sort(key=lambda detail: (detail[0], to_sorted_json(detail[1])))
    return {key: value for _, entry in details for key, value in entry.items()}


def _read_inputs(events: Iterable[CallEvent]) -> list[_Content]:
    """Return the messages of a call's input in order of time."""
    asked = [(event, _content(event)) for event in events if event.name in _ROLES]
    asked.sort(
        key=lambda entry: (entry[0].time_ns, _ROLE_PLACES[entry[0].name], to_sorted_json(entry[1]))
    )
    return [{"role": _ROLES[event.name], **content} for event, content in asked]


def _read_outputs(events: Iterable[CallEvent]) -> list[_Content]:
    """Return the choices of a call's output in order of their index."""
    outputs = [(event, _content(event)) for event in events if event.name == _CHOICE]
    outputs.sort(key=lambda entry: (_number(entry[1]), entry[0].time_ns, to_sorted_json(entry[1])))
    return [_answer(content) for _, content in outputs]


def _read_whole(events: Iterable[CallEvent], event: str, sources: Sequence[str]) -> object:
    """Return the contents of all events of one type, oldest first; None if there are none."""
    ordered = sorted(
        (item for item in events if item.name == event), key=lambda event: event.time_ns
    )
    whole = [read_structured(_first(item.attributes, sources)) for item in ordered]
    contents = [content for content in whole if content not in (None, "")]
    if len(contents) <= 1:
        return contents[0] if contents else None
    return [item for content in contents for item in _items(content)]


def _first(attributes: Mapping[str, Value], sources: Sequence[str]) -> Value:
    return next((attributes[name] for name in sources if name in attributes), None)


def _items(content: object) -> Sequence[object]:
    return content if isinstance(content, list | tuple) else [content]


def _content(event: CallEvent) -> _Content:
    """Return the fields of an event: its body, or the attributes that replace a body."""
    for body in (read_structured(event.body), read_quoted(event.attributes.get(_BODY))):
        if isinstance(body, Mapping):
            return dict(body)
        if body is not None:
            return {"content": body}
    # Names with a dot come from the conventions and describe the call. The others belong to the
    # message.
    return {
        key: read_structured(value) for key, value in event.attributes.items() if "." not in key
    }


def _mapping(value: Value) -> Mapping[str, Value]:
    return value if isinstance(value, Mapping) else {}


def _answer(content: _Content) -> _Content:
    message = content.pop("message", None)
    content.pop("index", None)
    facts = message if isinstance(message, Mapping) else {}
    if message is not None and not facts:
        facts = {"content": message}
    return {"role": "assistant", **facts, **content}


def _number(content: _Content) -> int:
    index = content.get("index")
    return (to_int(index) if isinstance(index, int | float | str) else None) or 0
