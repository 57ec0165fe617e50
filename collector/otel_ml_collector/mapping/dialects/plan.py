"""Decides how a span is read: the names of its attributes select the sources of each field.

A sender uses the same attribute names on many spans. Looking for every name of every dialect on
each span would cost more than reading the values. So this is done once per set of names.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from otel_ml import attributes as names
from otel_ml.records import RESOURCE_ATTRIBUTES, TOKENS
from otel_ml_collector.mapping.dialects import own
from otel_ml_collector.mapping.dialects.evaluator import (
    NO_ID,
    has_failed,
    is_sent_by,
    read_dialect,
    read_words,
)
from otel_ml_collector.mapping.dialects.gen_ai_events import (
    CONTENT_EVENTS,
    EXCEPTION,
    read_event_dialect,
    read_span_events,
)
from otel_ml_collector.mapping.dialects.leaves import words_of
from otel_ml_collector.mapping.dialects.shape import (
    SHAPE,
    ShapeNames,
    find_shape_names,
    is_general,
    is_other,
    read_shapes,
)
from otel_ml_collector.mapping.dialects.spares import (
    EMPTY,
    NO_SPARES,
    SpareNames,
    StatedKind,
    find_spare_names,
    is_call,
    read_kinds,
    read_spares,
)
from otel_ml_collector.mapping.dialects.streams import (
    find_first_token_ms,
    find_stream_chunks,
    is_streamed,
    join_pieces,
)
from otel_ml_collector.mapping.dialects.table import (
    CALLS,
    AttributeColumns,
    Dialect,
    Evidence,
    Failure,
    FieldSource,
    Present,
    find_evidence,
    find_present,
)
from otel_ml_collector.mapping.dialects.tables import (
    COUNTED_INPUT,
    DIALECTS,
    EVENT_DIALECTS,
    GEN_AI,
    OPENLLMETRY,
    PROVIDER_WORDS,
    VERCEL,
)
from otel_ml_collector.mapping.dialects.usage import include_cached
from otel_ml_collector.mapping.response_ids import find_response_id
from otel_ml_collector.mapping.run_columns import RunColumns
from otel_ml_collector.mapping.values import read_structured, to_json, to_text, to_type_name
from otel_ml_collector.owners import RESPONSE_CHARS
from otel_ml_collector.price import bare_model, without_interface
from otel_ml_collector.records import Tag
from otel_ml_collector.span import Event, Span, Value

_PLANS: Final = 1_000
# Instrumentations that record each chunk of a streamed answer as a message.
_A_MESSAGE_A_PIECE: Final = frozenset({"opentelemetry.instrumentation.google_genai"})
_CHOICES: Final = "gen_ai.request.choice.count"
# Providers that do not include cached tokens in input tokens, by their names in the AI SDK.
_LEAVE_OUT_CACHED: Final = frozenset({"anthropic", "bedrock"})
_MAX_NAMES: Final = 128
_MAX_CHARS: Final = 8_192
_STATUS_ERROR: Final = 2
_SERVER: Final = 2
_CLIENT: Final = 3
_EXECUTE_TOOL: Final = "execute_tool"
# Kinds that a word for a span means whatever else the span has.
_ACTING: Final = frozenset({"agent", "retriever", "tool"})
# Kinds of runs that may report usage which no other run reports.
_REPORTING: Final = CALLS | {"agent"}
# Fields with standard attributes, current name first.
_OF_SPAN: Final = {
    "session": (names.SESSION_ID,),
    "user": (names.USER_ID, "enduser.id"),
    "environment": (names.ENVIRONMENT, "deployment.environment"),
}
_EXCEPTIONS: Final = ("exception", EXCEPTION)
# Senders' own names of the session and the user end like this, preferred ones first. Members of
# metadata are read, too.
_IDS: Final = {
    "session": ("session", "conversation", "thread", "chat"),
    "user": ("user", "end_user", "enduser"),
}
_METADATA: Final = "metadata"
# These attributes end like a session but identify a connection, or a project of LangSmith.
_NO_SESSION: Final = frozenset({"mcp.session.id", "langsmith.trace.session_id"})
# The ID of a thread is that of a conversation. A number is that of an operating system's thread.
_THREAD: Final = ("thread", "id")
# Standard attributes that always fill a field of a run.
_FIELD_NAMES: Final = frozenset({names.SESSION_ID, names.USER_ID})


@dataclass(frozen=True, slots=True)
class Plan:
    """How to read all spans that have a certain set of attribute names.

    Attributes:
        own: otel-ml's own attributes (``otel_ml.*``); None if there are none.
        dialects: Present attributes of other instrumentations, in order of precedence.
        evidence: Attributes that show the kind of run, for spans that do not state it.
        identity: Attributes with the session and the user, if the sender configured their names.
        rest: All other attribute names, sorted. These attributes are stored unchanged. Attributes
            that fill a field of the run are not stored again.
        shape: Attributes that may show that the span is a model call of an unknown library. None if
            the library is known (`tables.py`), or if the span cannot be a call.
        spare: Attributes that no table lists, and what their names tell that they hold.
        is_streamed: Whether an attribute may hold the time to the first token.
    """

    own: own.OwnNames | None
    dialects: tuple[Present, ...]
    evidence: Evidence
    identity: Mapping[str, Sequence[FieldSource]]
    rest: tuple[str, ...]
    shape: ShapeNames | None = None
    spare: SpareNames = NO_SPARES
    is_streamed: bool = False


class Plans:
    """A cache of plans by attribute names. Safe to use from any thread."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, ...], Plan] = {}

    def __len__(self) -> int:
        """Return the number of cached plans."""
        return len(self._plans)

    def find(self, attributes: Mapping[str, Value]) -> Plan:
        """Return the plan of a span; create it if needed.

        Plans with more than 128 names, or very long ones, are not cached.
        """
        keys = tuple(attributes)
        plan = self._plans.get(keys)
        if plan is None:
            plan = _make_plan(keys)
            if len(keys) <= _MAX_NAMES and sum(map(len, keys)) <= _MAX_CHARS:
                if len(self._plans) >= _PLANS:
                    self._plans.clear()
                self._plans[keys] = plan
        return plan


def _make_plan(keys: Sequence[str]) -> Plan:
    own_names = own.find_names(keys)
    stored = own.stored_names(keys) | _FIELD_NAMES
    presents = (find_present(dialect, keys) for dialect in DIALECTS)
    dialects = tuple(present for present in presents if present is not None)
    specific = [present.dialect for present in dialects if is_specific(present.dialect, keys)]
    # What a library's own table leaves out is left out on purpose.
    left_out = tuple(mark for dialect in specific for mark in dialect.marks if mark.endswith("."))
    unlisted = [key for key in keys if not is_general(key) and not key.startswith(left_out)]
    return Plan(
        own_names,
        dialects,
        find_evidence((present.dialect for present in dialects), keys),
        find_identity(keys),
        tuple(sorted(key for key in keys if key not in stored)),
        find_shape_names(keys, specific),
        find_spare_names(unlisted, dialects)
        if own_names is None and not is_other(keys)
        else NO_SPARES,
        is_streamed(keys),
    )


def find_identity(keys: Sequence[str]) -> dict[str, Sequence[FieldSource]]:
    """Find attributes that hold the session or the user under names that the sender chose.

    These are attributes whose last words are those of an ID, such as ``conversation.id``,
    ``acme.threadId`` and ``x.association.properties.user_id``, and the members of ``metadata`` and
    ``*.metadata``. The preferred noun comes first, and then the shortest name.
    """
    found = [(key, ids) for key in keys if (ids := _ids_of(key))]
    found.sort(key=lambda pair: (len(words_of(pair[0])), pair[0]))
    identity: dict[str, Sequence[FieldSource]] = {}
    for field, nouns in _IDS.items():
        sources = []
        for noun in nouns:
            camel = "".join(word.title() if at else word for at, word in enumerate(noun.split("_")))
            for key, ids in found:
                if ids == _METADATA:
                    members = (f"{noun}_id", f"{camel}Id")
                    sources += [FieldSource((key,), member=(member,)) for member in members]
                elif ids == noun:
                    sources.append(FieldSource((key,), key))
        if sources:
            identity[field] = sources
    return identity


@lru_cache(16_384)
def _ids_of(key: str) -> str:
    """Return whose ID an attribute holds, or ``metadata`` if IDs are members of it; else empty."""
    if key == _METADATA or key.endswith(f".{_METADATA}"):
        return _METADATA
    *words, last = words_of(key) or ("",)
    if last != "id" or key in _NO_SESSION or is_general(key) or is_other((key,)):
        return ""
    nouns = (noun for nouns in _IDS.values() for noun in nouns)
    fitting = (noun for noun in nouns if words[-noun.count("_") - 1 :] == noun.split("_"))
    return max(fitting, key=len, default="")


def is_specific(dialect: Dialect, keys: Sequence[str]) -> bool:
    """Return whether attribute names show that spans come from one specific library.

    False for names that many libraries share. OpenLLMetry is recognized by ``traceloop.*`` only,
    because many libraries use OpenLLMetry's attribute for the total number of tokens.
    """
    if dialect.name == OPENLLMETRY:
        return any(key.startswith("traceloop.") for key in keys)
    return dialect is not GEN_AI and not (dialect.sdk or dialect.scope)


def read_fields(
    spans: Sequence[Span],
    plan: Plan,
    *,
    is_open: bool = False,
    own_models: Collection[str] = (),
) -> RunColumns:
    """Read the fields of runs from the attributes of their spans.

    otel-ml's own attributes come first, then those of other instrumentations, then standard ones.

    Args:
        spans: At least one span. All have the same scope and the attribute names of `plan`.
        plan: Which attributes fill which fields.
        is_open: Whether the spans have started but not ended.
        own_models: Names of models for which the user has set a price.

    Returns:
        The fields, one column each.
    """
    run_columns = RunColumns(len(spans))
    if is_open:
        run_columns.fill("outcome", ["running"] * len(spans))
    values = AttributeColumns([span.attributes for span in spans], run_columns)
    if plan.own is not None:
        own.read_runs(spans, plan.own, values)
    for dialect in EVENT_DIALECTS:
        if is_sent_by(dialect, spans[0].scope):
            read_event_dialect(spans, dialect, run_columns)
    unnamed = [*run_columns.missing("kind")]
    stated = _read_kinds(spans, plan, values)
    if any(present.is_request for present in plan.dialects):
        _part_requests(spans, run_columns, unnamed)
    for present in plan.dialects:
        read_dialect(spans, present, values)
        if present.dialect is GEN_AI:
            read_span_events(spans, run_columns)
        elif present.dialect is VERCEL:
            _count_cached_input(values)
    if plan.shape is not None:
        read_shapes(spans, plan.shape, run_columns, own_models)
    if plan.spare is not NO_SPARES:
        _read_stated(spans, plan, values, stated)
        read_spares(plan.spare, values)
    include_cached(run_columns, spans[0].scope.name)
    _read_response_ids(run_columns)
    _read_streams(spans, plan, values)
    if spans[0].scope.name in _A_MESSAGE_A_PIECE and _CHOICES not in values.names:
        _join_cut_answers(run_columns)
    _read_general(spans, plan, values)
    _name_models(run_columns)
    _keep_own_usage(run_columns)
    _mark_judges(run_columns, values)
    return run_columns


def _read_response_ids(run_columns: RunColumns) -> None:
    """Fill the response IDs of calls whose output is or holds the provider's response."""
    outputs = run_columns.columns.get("outputs")
    if outputs is None:
        return
    kinds, places = run_columns.column("kind"), run_columns.missing("response_id")
    response_ids = [
        find_response_id(outputs[at][0])[:RESPONSE_CHARS]
        if kinds[at] in CALLS and outputs[at] is not None
        else ""
        for at in places
    ]
    if any(response_ids):
        run_columns.fill(
            "response_id", [response_id or None for response_id in response_ids], places
        )


def _read_streams(spans: Sequence[Span], plan: Plan, values: AttributeColumns) -> None:
    """Fill the time to the first token and the number of chunks of streamed answers."""
    if not plan.is_streamed and not any(span.events for span in spans):
        return
    events = [[(event.name, event.time_ns) for event in span.events] for span in spans]
    pairs = list(zip(spans, events, strict=True))
    first = [
        find_first_token_ms(span.attributes, value, span.start_ns, span.end_ns)
        for span, value in pairs
    ]
    values.run_columns.fill("first_token_ms", first)
    chunks = [find_stream_chunks(span.attributes, value) for span, value in pairs]
    values.run_columns.fill("stream_chunks", chunks)


def _join_cut_answers(run_columns: RunColumns) -> None:
    """Join the chunks of interrupted streams into their answers."""
    for at, answer in enumerate(run_columns.column("outputs")):
        if answer is not None and (joined := join_pieces(answer[0], is_cut=True)) is not answer[0]:
            run_columns.fill("outputs", [(joined, to_json(joined))], [at])


def _read_kinds(
    spans: Sequence[Span], plan: Plan, values: AttributeColumns
) -> Mapping[int, StatedKind]:
    """Find the kinds of runs: by an attribute that states the kind, else by other attributes.

    The rules are in docs/dialects.md, Kinds.

    Returns:
        By index: the kinds that attributes state which no table lists.
    """
    run_columns, unknown = values.run_columns, set[int]()
    for present in plan.dialects:
        if not (present.kind or present.kind_sources) or not is_sent_by(
            present.dialect, spans[0].scope
        ):
            continue
        places = run_columns.missing("kind")
        if not places:
            return {}
        if present.dialect is not GEN_AI and names.GEN_AI_OPERATION in values.names:
            places = _part_tools(values, places)
        kinds = read_words(present, values, places, unknown)
        if present.needed is not None:
            kinds = [
                "span" if kind == "model" and not has_needed(spans[at], present.needed) else kind
                for at, kind in zip(places, kinds, strict=True)
            ]
        run_columns.fill("kind", kinds, places)
    places = run_columns.missing("kind")
    stated = read_kinds(plan.spare, values, places) if places and plan.spare.kinds else {}
    if places and plan.dialects:
        failures = [
            present.dialect.failure
            for present in plan.dialects
            if present.dialect.failure and is_sent_by(present.dialect, spans[0].scope)
        ]
        kinds = [
            _choose(spans[at], plan, failures, stated.get(at), is_step=at in unknown)
            for at in places
        ]
        run_columns.fill("kind", kinds, places)
    return stated


def _choose(
    span: Span,
    plan: Plan,
    failures: Sequence[Failure],
    stated: StatedKind | None,
    *,
    is_step: bool,
) -> str | None:
    """Return the kind of a span with known attributes that state no known kind."""
    if stated is not None and stated.kind in _ACTING:
        return stated.kind
    kind = _weigh(span, plan.evidence, failures, is_step=is_step)
    if stated is None or kind not in {None, "chain"}:
        return kind
    if stated.kind not in CALLS:
        return stated.kind
    return stated.kind if is_call(span, plan.spare, plan.evidence.models, stated) else kind


def _read_stated(
    spans: Sequence[Span],
    plan: Plan,
    values: AttributeColumns,
    stated: Mapping[int, StatedKind],
) -> None:
    """Set the kinds that spans of unknown libraries state.

    A span that states to be a call without a sign of one is a step around calls.
    """
    run_columns = values.run_columns
    for at in run_columns.missing("kind") if stated else ():
        if at not in stated:
            continue
        kind = stated[at].kind
        if kind in CALLS and not is_call(spans[at], plan.spare, plan.spare.models, stated[at]):
            if not stated[at].is_clear:
                continue
            kind = "chain"
        run_columns.fill("kind", [kind], [at])
        run_columns.fill("dialect", [run_columns.column("dialect")[at] or SHAPE], [at])


def _part_tools(values: AttributeColumns, places: Sequence[int]) -> Sequence[int]:
    """Set the kind of spans whose operation executes a tool. Return the indexes of all others.

    Frameworks around a tool call it a task or a step, so the operation is preferred.
    """
    operations = values.column(names.GEN_AI_OPERATION)
    tools = [at for at in places if operations[at] == _EXECUTE_TOOL]
    if not tools:
        return places
    values.run_columns.fill("kind", ["tool"] * len(tools), tools)
    return values.run_columns.missing("kind")


def has_needed(span: Span, needed: Sequence[str]) -> bool:
    """Return whether a span failed, or has a value in an attribute that a model call needs."""
    has_evidence = any(span.attributes[name] not in EMPTY for name in needed)
    return has_evidence or span.status_code == _STATUS_ERROR


def _part_requests(spans: Sequence[Span], run_columns: RunColumns, places: Sequence[int]) -> None:
    """Set the kind to ``chain`` for spans with only the request of a call and no answer."""
    kinds, outcomes = run_columns.column("kind"), run_columns.column("outcome")
    asked = [
        at
        for at in places
        if kinds[at] in CALLS and outcomes[at] is None and spans[at].status_code != _STATUS_ERROR
    ]
    run_columns.fill("kind", ["chain"] * len(asked), asked)


def _weigh(
    span: Span, evidence: Evidence, failures: Sequence[Failure], *, is_step: bool
) -> str | None:
    """Return the kind that the attributes of a span show; None if they show none.

    Args:
        span: A span that does not state a known kind.
        evidence: Attributes that show a tool, an agent or a model call.
        failures: How its dialects mark a failure.
        is_step: Whether the span states an unknown kind. It is a ``chain`` if nothing else is
            shown.
    """
    attributes = span.attributes

    def has(those: Sequence[str]) -> bool:
        return any(attributes[name] not in EMPTY for name in those)

    if has(evidence.tools):
        return "tool"
    if has(evidence.agents):
        return "agent"
    if has(evidence.models) and (
        has(evidence.answers)
        or any(event.name in CONTENT_EVENTS for event in span.events)
        or _is_failed_call(span, failures, is_step=is_step)
    ):
        return "model"
    return "chain" if is_step else None


def _is_failed_call(span: Span, failures: Iterable[Failure], *, is_step: bool) -> bool:
    """Return whether a span that names a model is a call that failed before any answer.

    A step or a route around a call fails with it. A step is a call itself only if it is a client's
    request.
    """
    is_around = span.kind == _SERVER or (is_step and span.kind != _CLIENT)
    return not is_around and (
        span.status_code == _STATUS_ERROR
        or names.ERROR_TYPE in span.attributes
        or any(has_failed(span, failure) for failure in failures)
    )


def _name_models(run_columns: RunColumns) -> None:
    """Remove provider and interface from model names, except for models of our own SDK."""
    if "provider" not in run_columns.columns:
        return
    providers, named = run_columns.columns["provider"], run_columns.column("model")
    called, dialects = run_columns.column("provider_model"), run_columns.columns["dialect"]
    for at, (provider, model) in enumerate(zip(providers, called, strict=True)):
        if provider and model and "/" in model:
            called[at] = without_interface(bare_model(provider, model))
        name = named[at]
        if provider and name and "/" in name and dialects[at] != "otel_ml":
            named[at] = without_interface(bare_model(provider, name))


def _mark_judges(run_columns: RunColumns, values: AttributeColumns) -> None:
    """Mark model calls made by judges, to separate them from the calls of the product.

    Their tokens and cost belong to the judge. Tags name the judge and the judged model.
    """
    if names.JUDGING not in values.names:
        return
    kinds = run_columns.columns["kind"]
    places = [at for at, kind in enumerate(kinds) if kind != "span"]
    run_columns.fill("kind", [names.JUDGE_KIND] * len(places), places)
    untagged = run_columns.missing("tags")
    run_columns.fill("tags", [{} for _ in untagged], untagged)
    for name in (names.JUDGING, names.JUDGING_RUN, names.JUDGING_VERSION):
        if name in values.names:
            column = values.column(name)
            for at in places:
                run_columns.columns["tags"][at][name] = Tag(name, to_text(column[at]))


def _read_general(spans: Sequence[Span], plan: Plan, values: AttributeColumns) -> None:
    """Fill fields that any OpenTelemetry span can have: status, exception, session, user."""
    run_columns = values.run_columns
    run_columns.fill_missing("dialect", "opentelemetry")
    run_columns.fill_missing("kind", "span")
    is_error = names.ERROR_TYPE in values.names
    places = run_columns.missing("outcome")
    if places:
        outcomes = [
            "error" if is_error or spans[at].status_code == _STATUS_ERROR else "ok" for at in places
        ]
        run_columns.fill("outcome", outcomes, places)
    failed = [at for at, outcome in enumerate(run_columns.columns["outcome"]) if outcome != "ok"]
    if failed:
        _read_errors(spans, failed, run_columns)
    for field, sources in _OF_SPAN.items():
        for name in sources:
            if name in values.names and (places := run_columns.missing(field)):
                column = values.column(name)
                run_columns.fill(field, [to_text(column[at]) or None for at in places], places)
    for field, identity in plan.identity.items():
        for source in identity:
            if places := run_columns.missing(field):
                ids = [to_text(value) for value in values.read(source, places)]
                is_thread = words_of(source.name)[-2:] == _THREAD
                ids_known = [
                    None if text in NO_ID or (is_thread and text.isdigit()) else text or None
                    for text in ids
                ]
                run_columns.fill(field, ids_known, places)
    resource = spans[0].scope.resource
    for field, carrying in RESOURCE_ATTRIBUTES.items():
        match = next((resource[name] for name in carrying if resource.get(name) is not None), None)
        if match is not None:
            run_columns.fill_missing(field, to_text(match))


def _read_errors(spans: Sequence[Span], places: Sequence[int], run_columns: RunColumns) -> None:
    types, messages = run_columns.column("error_type"), run_columns.column("error_message")
    for at in places:
        span = spans[at]
        if names.ERROR_TYPE in span.attributes:
            run_columns.use([names.ERROR_TYPE], [at])
            if types[at] is None:
                types[at] = to_type_name(span.attributes[names.ERROR_TYPE])
        exception = _last_exception(span)
        if exception is not None:
            if types[at] is None:
                types[at] = to_type_name(exception.attributes.get("exception.type"))
            if messages[at] is None:
                messages[at] = to_text(exception.attributes.get("exception.message")) or None
        if messages[at] is None:
            messages[at] = span.status_message
    run_columns.fill("error_type", types)
    run_columns.fill("error_message", messages)


def _last_exception(span: Span) -> Event | None:
    exceptions = [event for event in span.events if event.name in _EXCEPTIONS]
    return max(exceptions, key=lambda event: event.time_ns, default=None)


def _count_cached_input(values: AttributeColumns) -> None:
    """Add cached tokens to the input tokens, for providers that do not include them.

    Such providers write metadata of their own. From version 6 on, the AI SDK includes cached
    tokens; its spans then also state the uncached ones.
    """
    if PROVIDER_WORDS not in values.names or not COUNTED_INPUT.isdisjoint(values.names):
        return
    run_columns = values.run_columns
    given, cached, created = map(
        run_columns.column, ("input_tokens", "cached_tokens", "cache_creation_tokens")
    )
    totals = [*given]
    for at, structured in enumerate(map(read_structured, values.column(PROVIDER_WORDS))):
        if (
            isinstance(structured, dict)
            and not _LEAVE_OUT_CACHED.isdisjoint(structured)
            and given[at]
        ):
            totals[at] = given[at] + (cached[at] or 0) + (created[at] or 0)
    run_columns.fill("input_tokens", totals)


def _keep_own_usage(run_columns: RunColumns) -> None:
    """Remove tokens and cost from runs that are neither model calls nor agents.

    Chains and tools around a call repeat the sum of the calls inside them. The sum stays in their
    attributes. An agent may be the only one that reports usage, so its numbers are kept: they count
    if nothing inside the agent reports any (`same_calls.find_shares`). Spans of otel-ml's own SDK
    do not repeat such sums.
    """
    kinds, dialects = run_columns.columns["kind"], run_columns.columns["dialect"]
    if _REPORTING.issuperset(kinds):
        return
    around = {
        at
        for at, (kind, dialect) in enumerate(zip(kinds, dialects, strict=True))
        if kind not in _REPORTING and dialect != "otel_ml"
    }
    for name in ("cost", *TOKENS) if around else ():
        run_columns.drop(name, around)
