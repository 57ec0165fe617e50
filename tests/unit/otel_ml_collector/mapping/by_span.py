"""Runs of spans, span by span: what reading spans by columns is compared with.

Slow and plain: each span is read by itself, into a dict of what was found. The tables and the
readers of single values are the collector's own.
"""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final, cast

from otel_ml import attributes as names
from otel_ml.records import RESOURCE_ATTRIBUTES, TOKENS, Tokens
from otel_ml_collector.mapping import spans
from otel_ml_collector.mapping.chat import NOT_FOLLOWED, line_in, line_of_error, line_out
from otel_ml_collector.mapping.dialects import evaluator, gen_ai_events, own, plan
from otel_ml_collector.mapping.dialects.evaluator import is_spoken
from otel_ml_collector.mapping.dialects.gen_ai_events import CallEvent
from otel_ml_collector.mapping.dialects.table import (
    CALLS,
    Failure,
    FieldSource,
    Form,
    Present,
    Row,
    fill,
    find_present,
)
from otel_ml_collector.mapping.dialects.tables import GEN_AI
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.streams import find_first_token_ms, find_stream_chunks
from otel_ml_collector.mapping.values import (
    find_member,
    read_payload,
    read_quoted,
    read_structured,
    to_int,
    to_json,
    to_sorted_json,
    to_text,
    to_type_name,
)
from otel_ml_collector.price import bare_model, round_cost
from otel_ml_collector.records import Run, Tag
from otel_ml_collector.span import Event, Span, Value, is_span_id

Found = dict[str, Any]
_NOTHING: Final = (None, "")
_ERROR: Final = 2  # of a status
_EMPTY: Final = ("", '""')
_PLANS: Final = plan.Plans()
# What a record says, for its rank: its texts but for those that stand apart, and the rest.
_APART: Final = {
    *("inputs", "outputs", "inputs_preview", "outputs_preview", "response_id"),
    *("experiment", "dataset", "item", "item_digest"),
}
_TEXTS: Final = attrgetter(*(f.name for f in fields(Run) if f.type is str and f.name not in _APART))
_OTHERS: Final = attrgetter(
    *("parent_span_id", "start_ns", "end_ns", "seq", "cost"),
    *TOKENS[:4],
)


def map_run(span: Span, project: str, prices: Prices | None, *, is_open: bool = False) -> Run:
    """Map a span that is a run to it, without its rank."""
    its_plan = _PLANS.find(span.attributes)
    found = read_fields(span, its_plan, is_open=is_open)
    if prices is not None:
        add_cost(found, prices, span.start_ns)
    return _make_run(span, project, found, its_plan.rest)


def read_fields(span: Span, plan: plan.Plan, *, is_open: bool = False) -> Found:
    """Read the fields of a run: ours first, then each dialect, then the general conventions."""
    found: Found = {"used": set()}
    if is_open:
        found["outcome"] = "running"
    if plan.own is not None:
        _read_own(span, plan.own, found)
    values = SpanValues(span.attributes, found["used"])
    if "kind" not in found and (kind := _read_kind(span, plan)):
        has_failed = span.status_code == _ERROR or "outcome" in found
        is_request = kind in CALLS and any(one.is_request for one in plan.dialects)
        found["kind"] = "chain" if is_request and not has_failed else kind
    for present in plan.dialects:
        read_dialect(span, present, values, found)
        if span.events and present.dialect is GEN_AI:
            _read_span_events(span.events, found)
    _read_stream(span, found)
    _read_general(span, found)
    provider = found.get("provider", "")
    if found.get("provider_model"):
        found["provider_model"] = bare_model(provider, found["provider_model"])
    if found.get("model") and found["dialect"] != "otel_ml":
        found["model"] = bare_model(provider, found["model"])
    _keep_own_usage(found)
    if names.JUDGING in span.attributes and found["kind"] != "span":
        found["kind"] = "judge"
        marks = ("otel_ml.judging", "otel_ml.judging.run", "otel_ml.judging.version")
        told = {name: to_text(span.attributes[name]) for name in marks if name in span.attributes}
        tags = {name: Tag(name, text) for name, text in told.items()}
        found["tags"] = {**found.get("tags", {}), **tags}
    return found


def _read_stream(span: Span, found: Found) -> None:
    events = [(event.name, event.time_ns) for event in span.events]
    found["first_token_ms"] = find_first_token_ms(
        span.attributes, events, span.start_ns, span.end_ns
    )
    found["stream_chunks"] = find_stream_chunks(span.attributes, events)


def _read_general(span: Span, found: Found) -> None:
    """Fill the fields that every OpenTelemetry span names: status, exception, session, user."""
    attributes, resource = span.attributes, span.scope.resource
    found.setdefault("dialect", "opentelemetry")
    found.setdefault("kind", "span")
    failed = span.status_code == plan._STATUS_ERROR or names.ERROR_TYPE in attributes
    if found.setdefault("outcome", "error" if failed else "ok") != "ok":
        _read_error(span, found)
    fields = found
    for field, sources in plan._OF_SPAN.items():
        for name in sources:
            if text := to_text(attributes.get(name)):
                fields.setdefault(field, text)
    for field, carrying in RESOURCE_ATTRIBUTES.items():
        told = next((resource[name] for name in carrying if resource.get(name) is not None), None)
        if told is not None:
            fields.setdefault(field, to_text(told))


def _read_error(span: Span, found: Found) -> None:
    if names.ERROR_TYPE in span.attributes:
        found["used"].add(names.ERROR_TYPE)
        found.setdefault("error_type", to_type_name(span.attributes[names.ERROR_TYPE]))
    exception = _last_exception(span)
    if exception is not None:
        found.setdefault("error_type", to_type_name(exception.attributes.get("exception.type")))
        message = to_text(exception.attributes.get("exception.message"))
        if message:
            found.setdefault("error_message", message)
    found.setdefault("error_message", span.status_message)


def _last_exception(span: Span) -> Event | None:
    exceptions = [event for event in span.events if event.name in plan._EXCEPTIONS]
    return max(exceptions, key=lambda event: event.time_ns, default=None)


def _keep_own_usage(found: Found) -> None:
    """Take tokens and cost from a run that is no call of a model; its attributes keep them.

    Spans around a call repeat the sum of what is inside them, and it is counted once. Which one is
    the call is told by the span alone, so that it does not depend on what else arrived, or when.
    What our own SDK writes it counted itself.
    """
    if found["kind"] not in CALLS and found["dialect"] != "otel_ml":
        for name in ("cost", *TOKENS):
            found.pop(name, None)


def _read_own(span: Span, present: own.OwnNames, found: Found) -> None:
    """Fill the fields that our own attributes name."""
    ours = span.attributes
    if names.MODEL_NAME in ours or names.KIND in ours:
        found["dialect"] = "otel_ml"
        kind = to_text(ours.get(names.KIND))
        found["kind"] = kind if kind in names.KINDS else "model"
    _read_version(ours, found)
    _read_own_payload(ours, found)
    outcome = to_text(ours.get(names.OUTCOME))
    if outcome in names.OUTCOMES:
        found["outcome"] = outcome
    if ours.get(names.TRACE_KEY):
        found["trace_keys"] = [to_text(ours[names.TRACE_KEY])]
    if names.PROCESS in ours:
        found["process"] = to_text(ours[names.PROCESS])
        found["seq"] = to_int(ours.get(names.SEQ)) or 0
    tags = found["tags"] = {name: Tag(name, own._tag(ours[key])) for key, name in present.tags}
    if names.TAGS in ours and own._add_details(ours[names.TAGS], tags):
        found["used"].add(names.TAGS)
    if span.events:
        found["logs"] = [
            line for event in span.events if (line := own.read_line(event)) is not None
        ]


def _read_version(ours: Mapping[str, Value], found: Found) -> None:
    if names.MODEL_NAME in ours:
        found["model"] = to_text(ours[names.MODEL_NAME])
    if names.MODEL_VERSION in ours:
        found["digest"] = to_text(ours[names.MODEL_VERSION])
        found["structure"] = to_text(ours.get(names.MODEL_OUTPUT_SCHEMA))
        found["definition"] = to_text(ours.get(names.MODEL_DEFINITION))


def _read_own_payload(ours: Mapping[str, Value], found: Found) -> None:
    if names.INPUTS in ours:
        found["inputs"] = read_payload(ours[names.INPUTS])
    if names.OUTPUTS in ours:
        found["outputs"] = read_payload(ours[names.OUTPUTS])
        if names.CAPTURE in ours and own._NOT_FOLLOWED in to_text(ours[names.CAPTURE]):
            found["outputs"] = NOT_FOLLOWED, found["outputs"][1]
    if names.PARAMS in ours:
        found["params"] = read_payload(ours[names.PARAMS])[1]


def _read_span_events(events: Iterable[Event], found: Found) -> None:
    """Fill the fields that events of a call's own span name and nobody named before."""
    _read_events(
        [
            CallEvent(event.name, event.time_ns, None, event.attributes)
            for event in events
            if event.name in gen_ai_events.CONTENT_EVENTS
        ],
        found,
    )


def _read_events(events: Sequence[CallEvent], found: Found) -> None:
    """Fill the fields that events of a call name and nobody named before."""
    if not events:
        return
    details = gen_ai_events._join_details(events)
    present = find_present(GEN_AI, list(details))
    if present is not None:
        read_rows(present, SpanValues(details, found["used"]), found, gen_ai_events._TOLD)
    inputs, outputs = gen_ai_events._read_inputs(events), gen_ai_events._read_outputs(events)
    if inputs:
        found.setdefault("inputs", (inputs, to_json(inputs)))
    if outputs:
        found.setdefault("outputs", (outputs, to_json(outputs)))
    for event, (field, name) in gen_ai_events._WHOLE_MESSAGES.items():
        content = gen_ai_events._read_whole(events, event, name)
        if content is not None:
            found.update({field: found.get(field) or (content, to_json(content))})


class SpanValues:
    """The attributes of one span while its dialects are read.

    Args:
        attributes: As they came.
        used: Names whose values fill a field, and stay no attributes.
    """

    __slots__ = ("_opened", "attributes", "used")

    def __init__(self, attributes: Mapping[str, Value], used: set[str]) -> None:
        self.attributes = attributes
        self.used = used
        # What was read of JSON so far: several sources are members of one.
        self._opened: dict[str, object] = {}

    def read(self, source: FieldSource) -> Value:
        """Read the value of a source; None when it has none."""
        attributes = self.attributes
        if source.name:
            return attributes[source.name]
        if source.shape is not None:
            return fill(source.shape, attributes)
        if source.prefix:
            return {name.removeprefix(source.prefix): attributes[name] for name in source.names}
        if source.schema:
            return self._read_listed(source.schema)
        return cast("Value", find_member(self._open(source.names[0]), source.member))

    def _open(self, name: str) -> object:
        if name not in self._opened:
            self._opened[name] = read_structured(self.attributes[name])
        return self._opened[name]

    def _read_listed(self, schema: str) -> Value:
        """Read the attributes that a JSON schema lists and that fill no field yet."""
        told = self._open(schema)
        properties = told.get("properties") if isinstance(told, Mapping) else None
        listed = properties if isinstance(properties, Mapping) else ()
        names = [name for name in listed if name in self.attributes and name not in self.used]
        arguments = {name: read_structured(self.attributes[name]) for name in names}
        return cast("Value", arguments or None)


def read_dialect(span: Span, present: Present, values: SpanValues, found: Found) -> None:
    """Fill the fields that a dialect names and nobody named before."""
    dialect = present.dialect
    if not is_spoken(dialect, span.scope):
        return
    found.setdefault("dialect", dialect.name)
    read_rows(present, values, found)
    if dialect.failure is not None:
        _read_failure(span, dialect.failure, found)


def read_rows(
    present: Present, values: SpanValues, found: Found, fields: Collection[str] | None = None
) -> None:
    """Fill the fields of a table's rows, or of some of them, that nobody named before."""
    filled = found
    for row, sources, form in present.rows:
        name = row.field
        if row.on and found.get("kind") not in row.on:
            continue
        if fields is not None and name not in fields:
            continue
        if name == "tags":
            for source in sources:
                _add_tags(values.read(source), form, found)
        elif name in filled:
            continue
        elif name == "params":
            _read_params(sources, values, found)
        else:
            _read_field(row, sources, form, values, filled)


def _read_kind(span: Span, its_plan: plan.Plan) -> str:
    """Read one of our kinds: by the first word that its dialect knows, else by what is there."""
    attributes, is_worded = span.attributes, False
    for present in its_plan.dialects:
        if not is_spoken(present.dialect, span.scope):
            continue
        kinds = present.dialect.kinds
        for name in present.kind_sources:
            word = to_text(evaluator._unquote(attributes[name])).strip().lower()
            ends = [its for end, its in present.dialect.endings.items() if word.endswith(end)]
            kind = kinds.get(word) or (*ends, present.dialect.other_kind)[0] if word else ""
            if kind == "model" and present.needed is not None:
                return kind if plan.has_needed(span, present.needed) else "span"
            if kind:
                return kind
            is_worded = is_worded or bool(word)
        if present.kind:
            return present.kind
    told = {key for key in attributes if attributes[key] not in (None, "", "[]", "{}", [], {})}
    evidence = its_plan.evidence
    if told.intersection(evidence.tools):
        return "tool"
    if told.intersection(evidence.agents):
        return "agent"
    events = {event.name for event in span.events} & gen_ai_events.CONTENT_EVENTS
    if told.intersection(evidence.models) and (events or told.intersection(evidence.answers)):
        return "model"
    return "chain" if is_worded else ""


def _read_field(
    row: Row, sources: Sequence[FieldSource], form: Form, values: SpanValues, fields: dict[str, Any]
) -> None:
    """Fill a field from the first source that can be read; an empty one counts when all are."""
    read, attributes = evaluator._READERS[row.field], values.attributes
    chosen: Any = None
    of: FieldSource | None = None
    for source in sources:
        told = attributes[source.name] if source.name else values.read(source)
        if source.text_if and isinstance(told, str) and _is_text(source, attributes):
            value: object = (told, to_json(told))
        else:
            value = read(told, form)
        if value is not None and (of is None or value != _EMPTY):
            chosen, of = value, source
            if value != _EMPTY:
                break
    if of is None:
        return
    if row.field in evaluator._PAYLOADS:
        if not of.member:
            values.used.update(of.names or chosen[0])
        if row.system and row.system in attributes:
            chosen = _with_system(row.system, chosen, values)
    fields[row.field] = chosen


def _is_text(source: FieldSource, attributes: Mapping[str, Value]) -> bool:
    return attributes.get(source.text_if) == "text/plain"


def _with_system(name: str, inputs: tuple[object, str], values: SpanValues) -> tuple[object, str]:
    """Put instructions before messages, unless they have some."""
    messages, system = inputs[0], read_quoted(values.attributes.get(name))
    if system is None or not isinstance(messages, list) or any(map(evaluator._is_system, messages)):
        return inputs
    values.used.add(name)
    joined = [{"role": "system", "parts": system}, *messages]
    return joined, to_json(joined)


def _read_params(sources: Sequence[FieldSource], values: SpanValues, found: Found) -> None:
    params: dict[str, object] = {}
    for source in sources:
        told = read_structured(values.read(source))
        if isinstance(told, Mapping):
            for name, value in told.items():
                params.setdefault(name, value)
        elif told is not None and len(source.names) == 1 and not source.prefix:
            params.setdefault(source.names[0].rpartition(".")[2], told)
    if params:
        found["params"] = to_json(params)


def _add_tags(value: Value, form: Form, found: Found) -> None:
    """Add tags that nobody named before: a mapping's members, or names alone, which are true.

    What is nested is no tag, and stays among the attributes.
    """
    told = read_structured(value)
    if isinstance(told, Mapping):
        pairs = [(str(name), item) for name, item in told.items()]
        if form == "quoted":
            pairs = [(name, read_quoted(cast("Value", item))) for name, item in pairs]
    elif isinstance(told, list | tuple):
        pairs = [(name, True) for name in told if isinstance(name, str)]
    else:
        pairs = [(told, True)] if isinstance(told, str) else []
    tags = found.setdefault("tags", {})
    for name, item in sorted(pairs, key=lambda pair: pair[0]):
        is_tag = (
            isinstance(item, str | bool | int | float) and 0 < len(name) <= evaluator._TAG_CHARS
        )
        if is_tag and name not in tags and len(tags) < evaluator._MAX_TAGS:
            tags[name] = Tag(name, cast("str | bool | int | float", item))


def _read_failure(span: Span, failure: Failure, found: Found) -> None:
    """Tell that a run failed and why, unless what was found says that it did not."""
    told = span.attributes.get(failure.level)
    if isinstance(failure.at, str | bool):
        has_failed = told == failure.at
    else:
        has_failed = (to_int(told) or 0) >= failure.at
    if not has_failed or found.setdefault("outcome", "error") != "error":
        return
    has_better = failure.is_spare and (span.events or span.status_message)
    message = "" if has_better else evaluator.read_message(span, failure)
    if message:
        found.setdefault("error_message", message)


def add_cost(found: Found, prices: Prices, start_ns: int) -> None:
    """Work out what a call cost, where its span does not say it."""
    counts = cast("Mapping[str, int]", found)
    tokens = Tokens(*[counts.get(name) for name in TOKENS])
    if "cost" in found or (tokens.input is None and tokens.output is None):
        return
    provider, model = found.get("provider", ""), found.get("provider_model")
    if not model:
        return
    cost = prices.cost(provider, model, tokens, start_ns)
    if cost is not None:
        found["cost"] = cost


def _make_run(span: Span, project: str, found: Found, rest: Sequence[str]) -> Run:
    """Make the run of a span.

    Args:
        span: The run's span.
        project: Where it is filed.
        found: What the dialects found, the outcome, kind and dialect among it.
        rest: Names of attributes that stay attributes unless they are used.
    """
    kind = found["kind"]
    inputs, inputs_text = found.get("inputs", _NOTHING)
    outputs, outputs_text = found.get("outputs", _NOTHING)
    tags = found.get("tags")
    parent = span.parent_span_id
    left = {name: span.attributes[name] for name in rest if name not in found["used"]}
    scope = span.scope
    of_resource = {
        "schema_url": scope.resource_schema_url,
        "dropped_attributes_count": scope.resource_dropped_attributes,
    }
    more = {
        "attributes": scope.attributes,
        "schema_url": scope.schema_url,
        "dropped_attributes_count": scope.dropped_attributes,
        "resource": {name: value for name, value in of_resource.items() if value},
    }
    message = found.get("error_message", "")[: spans._MESSAGE_CHARS]
    has_failed = found["outcome"] == "error"
    failure = line_of_error(found.get("error_type", ""), message) if has_failed else ""
    if names_of_bytes := [name for name, value in left.items() if isinstance(value, bytes)]:
        left["otel_ml.binary"] = sorted(names_of_bytes)
    if span.status_code == 1 and found["outcome"] != "running":
        left["otel.status_code"] = "OK"
    if span.status_code == 2 and found["outcome"] != "running":
        if not has_failed:
            left["otel.status_code"] = "ERROR"
        if span.status_message[: spans._MESSAGE_CHARS] != message:
            left["otel.status_description"] = span.status_message[: spans._MESSAGE_CHARS]
    if span.otlp and found["outcome"] != "running":
        left["otel_ml.otlp"] = span.otlp
    run = Run(
        project=project,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=parent if parent and is_span_id(parent) else b"",
        name=span.name,
        span_kind=spans._SPAN_KINDS[span.kind] if 0 <= span.kind < len(spans._SPAN_KINDS) else "",
        model="" if kind == "span" else found.get("model", spans.name_without_id(span.name)),
        start_ns=span.start_ns,
        end_ns=max(span.end_ns, span.start_ns),
        error_message=message,
        inputs=inputs_text,
        outputs=outputs_text,
        inputs_preview=line_in(inputs, kind),
        outputs_preview=failure or line_out(outputs, kind),
        tags=sorted(tags.values(), key=attrgetter("name")) if tags else [],
        cost=round_cost(found.get("cost")),
        logs=found.get("logs", []),
        events=spans._events(span) if span.events else "",
        links=spans._links(span) if span.links else "",
        attributes=to_sorted_json(left) if left else "",
        resource=to_sorted_json(scope.resource),
        scope=to_sorted_json(
            {"name": scope.name, "version": scope.version}
            | {name: value for name, value in more.items() if value}
        ),
        **{name: value for name, value in found.items() if name in spans._AS_FOUND},
    )
    run.rank = _rank(run)
    return run


def _tag_text(tag: Tag) -> str:
    return f"{tag.name}={tag.value!r}\x1f{tag.type}\x1f{tag.group}"


def _rank(run: Run) -> int:
    """Rank a record as stores have it: another rank would turn a redelivery into a newer word."""
    inputs, outputs = (
        run.inputs.encode("utf-8", "surrogatepass"),
        run.outputs.encode("utf-8", "surrogatepass"),
    )
    facts = repr((len(run.inputs), len(run.outputs), *_OTHERS(run)))
    texts = [*_TEXTS(run), facts]
    if run.tags:
        texts += map(_tag_text, run.tags)
    if run.logs:
        texts += map(repr, run.logs)
    told = "\x1f".join(texts).encode("utf-8", "surrogatepass")
    checksum = zlib.crc32(told, zlib.crc32(outputs, zlib.crc32(inputs)))
    return min(len(inputs) + len(outputs) + len(told), 2**31 - 1) << 32 | checksum
