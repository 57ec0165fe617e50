"""Maps spans to records: finds the project of each span, then lets every dialect read it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from operator import attrgetter
from typing import Any, Final
from zlib import crc32

from otel_ml import attributes as names
from otel_ml.records import TOKENS
from otel_ml_collector.mapping.artifacts import is_artifact, read_artifacts
from otel_ml_collector.mapping.chat import line_in, line_of_error, line_out
from otel_ml_collector.mapping.dialects.plan import Plans, read_fields
from otel_ml_collector.mapping.evaluations import add_scores
from otel_ml_collector.mapping.filing import (
    IMPORTED,
    NOT_ALLOWED,
    Filing,
    StartWindow,
    is_project,
    project_of,
    reason_to_reject,
)
from otel_ml_collector.mapping.late_records import (
    NO_TARGET,
    PENDING_PARENT,
    RequestBatch,
    is_pending,
    key_of_words,
    map_item,
    map_late_record,
    read_pending,
    read_start,
)
from otel_ml_collector.mapping.lineage import is_link, read_lineage
from otel_ml_collector.mapping.prices import add_costs
from otel_ml_collector.mapping.run_columns import RunColumns
from otel_ml_collector.mapping.shared_ids import SHARED_ID
from otel_ml_collector.mapping.values import NAN, to_int, to_json, to_sorted_json, to_text
from otel_ml_collector.owners import KEY, TRACE_KEY_CHARS
from otel_ml_collector.price import round_cost
from otel_ml_collector.records import (
    Arrivals,
    ModelVersion,
    ProcessSign,
    Records,
    Run,
    SpanRefusals,
    Tag,
    TraceKey,
)
from otel_ml_collector.span import (
    BINARY,
    OTLP,
    SPAN_KINDS,
    STATUS_CODE,
    STATUS_DESCRIPTION,
    Scope,
    Span,
    Value,
    is_span_id,
    service_of,
)
from otel_ml_collector.times import HOUR_NS, MINUTE_NS

_PLANS: Final = Plans()
_TOOL_CALL: Final = "tools/call "
_UUID: Final = re.compile(r"[ _:-]?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])")
_UUID_CHARS: Final = 36
_NO_PROCESS: Final = "record_without_process"
_SIGNS: Final = frozenset({"heartbeat", "goodbye"})
_PROCESS_CHARS: Final = 64
_LATE_NS: Final = 5 * MINUTE_NS
_HIGHEST: Final = 2**63 - 1
_MESSAGE_CHARS: Final = 1_024
_STATUS_CODES: Final = {1: "OK", 2: "ERROR"}
_UTF8: Final = ("utf-8", "surrogatepass")
_EMPTY_VALUES: Final = (None, "")
# Similar spans are read together. A chunk is small enough to stay in the processor's cache.
_SPANS_AT_ONCE: Final = 512
# A span with one of these attributes is more than an ordinary run, or no run at all.
_SPECIAL: Final = frozenset({names.RECORD, names.PROCESS, PENDING_PARENT})
# The rank of a run (see `_ranks`) is made from these texts and numbers, and from some others that
# are handled separately.
_NOT_RANKED: Final = {
    *("inputs", "outputs", "inputs_preview", "outputs_preview", "response_id"),
    # newer than the formula of the rank
    *("experiment", "dataset", "item", "item_digest", "cost_note"),
}
_TEXT_COLUMNS: Final = [f.name for f in fields(Run) if f.type is str and f.name not in _NOT_RANKED]
_NUMBER_COLUMNS: Final = (
    *("parent_span_id", "start_ns", "end_ns", "seq", "cost"),
    *(name for name in TOKENS if name != "cache_creation_tokens"),  # newer than the formula, too
)
# Fields that are copied to the run unchanged.
_AS_FOUND: Final = frozenset(field_.name for field_ in fields(Run)) - {
    *("model", "inputs", "outputs", "error_message", "tags", "logs", "cost"),
}
_DEFAULTS: Final = {field_.name: field_.default for field_ in fields(Run)}


def map_spans(spans: Iterable[Span], filing: Filing) -> Records:
    """Map spans to records.

    Args:
        spans: Spans in any order. Duplicates are allowed, and parents may arrive in another
            request.
        filing: Project, access, time and prices of the request.

    Returns:
        The records, and the number of spans that can never be stored, by reason. The same span
        always gives the same records. Spans of different senders that share trace id, span id and
        start time count as rejected, because the store keeps only one of them.
    """
    batch = _SpanBatch(
        StartWindow(filing.now_ns),
        sender=filing.access.name,
        filing=filing,
        processes=Processes(filing.now_ns),
        refusals=SpanRefusals(filing.now_ns),
    )
    records = batch.records
    left = iter(spans)
    while chunk := list(islice(left, _SPANS_AT_ONCE)):
        _map_some(chunk, batch)
    records.trace_keys += batch.keys.values()
    records.signs += batch.processes.signs.values()
    records.arrivals += batch.processes.arrivals.values()
    records.refusals += batch.refusals.all()
    return records


class Processes:
    """Heartbeats and sequence numbers of the processes that sent the spans of one request.

    otel-ml's SDK numbers the spans of a process, so that the collector can detect missing ones.

    Attributes:
        signs: What each process reports about itself, by project and process.
        arrivals: Sequence numbers of the received spans, by project, process and hour.
    """

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self.signs: dict[tuple[str, str], ProcessSign] = {}
        self.arrivals: dict[tuple[str, str, int], Arrivals] = {}

    def note(self, span: Span, project: str) -> None:
        """Note that the process that sent a span is alive, and the number that it gave the span."""
        process = _process_of(span)
        if not process:
            return
        arrivals = self._note_number(span, project, process)
        record = span.attributes.get(names.RECORD, "run")
        is_sign = isinstance(record, str) and record in _SIGNS
        key = (project, process)
        if key in self.signs and not is_sign:
            return
        sign = ProcessSign(
            project,
            process,
            heartbeat_ns=span.start_ns if record == "heartbeat" else 0,
            goodbye_ns=span.start_ns if record == "goodbye" else 0,
            seq=_count(span, names.SEQ) if is_sign else 0,
            dropped=_count(span, names.DROPPED) if is_sign else 0,
        )
        self.signs[key] = self.signs[key].join(sign) if key in self.signs else sign
        if arrivals is not None:
            arrivals.dropped = max(arrivals.dropped, sign.dropped)
            if record == "goodbye":  # the last record of a process: nothing can arrive after it
                arrivals.settled = max(arrivals.settled, sign.seq)

    def _note_number(self, span: Span, project: str, process: str) -> Arrivals | None:
        """Add the number of a span, if it has one, to the numbers of its process and hour."""
        number = _number_of(span)
        if not number:
            return None
        key = (project, process, span.end_ns // HOUR_NS)
        arrivals = self.arrivals.get(key)
        if arrivals is None:
            arrivals = self.arrivals[key] = Arrivals(*key, self._now_ns // MINUTE_NS)
        is_late = self._now_ns - span.end_ns > _LATE_NS
        (arrivals.late if is_late else arrivals.timely).append(number)
        return arrivals


@dataclass(slots=True, kw_only=True)
class _SpanBatch(RequestBatch):
    filing: Filing
    processes: Processes
    refusals: SpanRefusals
    scopes: dict[int, tuple[Scope, tuple[str, str]]] = field(default_factory=dict)


class _Alike:
    """Spans of one scope with the same attribute names, and their runs.

    Attributes:
        is_plain: Whether all of them are ordinary runs without process information.
        may_be_judged: Whether their attributes may hold scores.
        spans: The spans that are runs.
        projects: Project of each span.
        places: Index of each span in the chunk that is being mapped.
        runs: Run of each span; empty until they are created.
        definitions: Definition of the model version of each span.
        trace_keys: The user's own trace keys of each span.
    """

    __slots__ = (
        *("definitions", "is_open", "is_plain", "may_be_judged", "places", "plan", "projects"),
        *("runs", "spans", "trace_keys"),
    )

    def __init__(self, attributes: Mapping[str, Value], *, is_open: bool = False) -> None:
        self.plan = _PLANS.find(attributes)
        self.is_open = is_open
        self.is_plain = _SPECIAL.isdisjoint(attributes)
        own = self.plan.own
        self.may_be_judged = (own is not None and own.is_judged) or any(
            present.scores for present in self.plan.dialects
        )
        self.spans: list[Span] = []
        self.projects: list[str] = []
        self.places: list[int] = []
        self.runs: list[Run] = []
        self.definitions: list[str | None] = []
        self.trace_keys: list[list[str] | None] = []

    def add(self, span: Span, project: str, place: int) -> None:
        """Add a span."""
        self.spans.append(span)
        self.projects.append(project)
        self.places.append(place)


class _AlikeSpans:
    """Groups the spans of a chunk by scope and attribute names. Keeps their scopes alive."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, bool, tuple[str, ...]], _Alike] = {}

    def find(self, span: Span, *, is_open: bool = False) -> _Alike:
        """Return the group of a span; create it if needed."""
        key = (id(span.scope), is_open, tuple(span.attributes))
        alike = self._found.get(key)
        if alike is None:
            alike = self._found[key] = _Alike(span.attributes, is_open=is_open)
        return alike

    def all(self) -> Iterable[_Alike]:
        """Return the groups that contain runs."""
        return (alike for alike in self._found.values() if alike.spans)


def _map_some(spans: Sequence[Span], batch: _SpanBatch) -> None:
    """Map a chunk of spans. Runs with the same attribute names are created together."""
    groups, filing, scope = _AlikeSpans(), batch.filing, None
    rejected = batch.records.rejected
    for place, span in enumerate(spans):
        if span.scope is not scope:  # consecutive spans of a library share it
            scope = span.scope
            batch.window = filing.window_of(scope)
        project = project_of(span.attributes, span.scope, filing)
        if project is None:
            rejected[NOT_ALLOWED] += 1
            continue
        alike = groups.find(span)
        reason = reason_to_reject(span, project, batch.window)
        if reason is None and alike.is_plain:
            alike.add(span, project, place)
            continue
        reason = reason or _map_record(span, project, place, groups, batch)
        if reason is None:
            batch.processes.note(span, project)
        else:
            rejected[reason] += 1
            if is_project(project):
                batch.refusals.add(project, reason, _process_of(span), _number_of(span))
    ordered: list[tuple[_Alike, int] | None] = [None] * len(spans)
    for alike in groups.all():
        _make_runs(alike, batch)
        _count_shared(alike, batch)
        for at, place in enumerate(alike.places):
            ordered[place] = alike, at
    for made in filter(None, ordered):
        _add_run(*made, batch)


def _map_record(
    span: Span, project: str, place: int, groups: _AlikeSpans, batch: _SpanBatch
) -> str | None:
    """Add the records of a span, or put its run into a group.

    Return why the span is rejected, or None.
    """
    record = to_text(span.attributes.get(names.RECORD, "run"))
    if record in {"update", "evaluation"}:
        return map_late_record(span, project, batch)
    if record == "item":
        return map_item(span, project, batch.records)
    if record in _SIGNS:  # recorded by `Processes.note`, like every span
        return None if _process_of(span) else _NO_PROCESS
    if record == "start":
        announced = read_start(span)
    elif record != "run":
        return "unknown_record"
    elif is_pending(span):
        announced = read_pending(span)
    else:
        groups.find(span).add(span, project, place)
        return None
    if announced is None:
        return NO_TARGET
    groups.find(announced, is_open=True).add(announced, project, place)
    return None


def _count_shared(alike: _Alike, batch: _SpanBatch) -> None:
    """Count those spans as rejected that share id and start time with another sender's span."""
    if alike.is_open:  # a start record does not conflict with the span it announces
        return
    service = service_of(alike.spans[0].scope.resource)
    for run in batch.filing.owners.find_shared(alike.runs, service):
        batch.records.rejected[SHARED_ID] += 1
        batch.refusals.add(run.project, SHARED_ID, "", 0)


def _add_run(alike: _Alike, at: int, batch: _SpanBatch) -> None:
    """Add a run and the other records on its span: version, artifacts, scores and keys."""
    records, run, span = batch.records, alike.runs[at], alike.spans[at]
    (records.open_runs if alike.is_open else records.runs).append(run)
    if run.digest:
        records.versions.append(
            ModelVersion(
                run.project,
                "model",
                run.model,
                run.digest,
                run.structure,
                alike.definitions[at] or "",
                run.start_ns,
                run.start_ns,
            )
        )
    if span.events:
        records.artifacts += read_artifacts(span, run.project, run.run_id)
        records.lineage += read_lineage(span, run.project, run.run_id)
    if span.events or alike.may_be_judged:
        first = len(records.metrics)
        add_scores(span, run, alike.plan.own, alike.plan.dialects, records)
        for score in records.metrics[first:]:
            if score.owner.startswith(KEY):
                batch.add_key(key_of_words(score.owner, run.project, run.start_ns))
    for key in (run.trace_id.hex(), *(alike.trace_keys[at] or ())):
        batch.add_key(
            TraceKey(key[:TRACE_KEY_CHARS], run.project, run.trace_id, run.start_ns, run.end_ns)
        )


def _make_runs(alike: _Alike, batch: _SpanBatch) -> None:
    """Create the runs of similar spans, column by column."""
    spans = alike.spans
    prices = batch.filing.prices
    own_models = () if prices is None else prices.own_models
    run_columns = read_fields(spans, alike.plan, is_open=alike.is_open, own_models=own_models)
    if prices is not None:
        add_costs(run_columns, prices, spans)
    columns = _columns(alike, run_columns, _scope_texts(spans[0].scope, batch.scopes))
    columns["rank"] = _ranks(columns)
    alike.runs = [
        Run(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]
    alike.definitions, alike.trace_keys = (
        run_columns.column("definition"),
        run_columns.column("trace_keys"),
    )


def _columns(
    alike: _Alike, run_columns: RunColumns, scope_texts: tuple[str, str]
) -> dict[str, list[Any]]:
    """Return the fields of runs, one column each. Fields that no span has are left out.

    Args:
        alike: The spans and their projects.
        run_columns: Fields read by the dialects, with outcome, kind and dialect.
        scope_texts: Resource and scope as JSON text.
    """
    spans, size = alike.spans, len(alike.spans)
    columns = {
        name: run_columns.filled(name, _DEFAULTS[name])
        for name in run_columns.columns
        if name in _AS_FOUND
    }
    columns["project"] = alike.projects
    for name, read in _OF_SPAN.items():
        columns[name] = list(map(read, spans))
    columns["model"] = [
        "" if kind == "span" else _name_run(span.name, kind) if model is None else model
        for kind, model, span in zip(
            columns["kind"], run_columns.column("model"), spans, strict=True
        )
    ]
    for name, line in _LINE_MAKERS.items():
        if name in run_columns.columns:
            payloads = [payload or _EMPTY_VALUES for payload in run_columns.columns[name]]
            columns[name] = [text for _, text in payloads]
            columns[f"{name}_preview"] = [
                line(value, kind)
                for (value, _), kind in zip(payloads, columns["kind"], strict=True)
            ]
    if "error_message" in run_columns.columns:
        messages = run_columns.filled("error_message", "")
        columns["error_message"] = [message[:_MESSAGE_CHARS] for message in messages]
    if "error" in columns["outcome"]:
        _show_errors(columns, size)
    columns["tags"] = [_sorted(tags) if tags else [] for tags in run_columns.column("tags")]
    columns["logs"] = [lines or [] for lines in run_columns.column("logs")]
    if "cost" in run_columns.columns:
        columns["cost"] = [round_cost(cost) for cost in run_columns.columns["cost"]]
    columns["attributes"] = _rest(alike, run_columns, columns)
    columns["resource"], columns["scope"] = [scope_texts[0]] * size, [scope_texts[1]] * size
    if spans[0].scope.resource.get(names.IMPORT) and not alike.is_open:
        columns["process"] = [IMPORTED] * size
    return columns


def _show_errors(columns: dict[str, list[Any]], size: int) -> None:
    """Use the error as preview of the output for runs that failed."""
    blank = [""] * size
    show_errors = (
        columns.get(name, blank) for name in ("error_type", "error_message", "outputs_preview")
    )
    columns["outputs_preview"] = [
        (line_of_error(error_type, message) if outcome == "error" else "") or line
        for outcome, error_type, message, line in zip(columns["outcome"], *show_errors, strict=True)
    ]


def _name_run(name: str, kind: str) -> str:
    """Name a run after its span: MCP's ``tools/call search`` is a run of the tool ``search``."""
    tool = name.rpartition(_TOOL_CALL)[2] if kind == "tool" else ""
    return name_without_id(tool or name)


def name_without_id(name: str) -> str:
    """Remove a UUID from a name, so that ``Crew_…uuid….kickoff`` is always ``Crew.kickoff``."""
    return (_UUID.sub("", name) if len(name) > _UUID_CHARS else name) or name


def _parent(span: Span) -> bytes:
    parent = span.parent_span_id
    return parent if parent and is_span_id(parent) else b""


def _span_kind(span: Span) -> str:
    return SPAN_KINDS[span.kind] if 0 <= span.kind < len(SPAN_KINDS) else ""


_OF_SPAN: Final[Mapping[str, Callable[[Span], object]]] = {
    "trace_id": attrgetter("trace_id"),
    "span_id": attrgetter("span_id"),
    "parent_span_id": _parent,
    "name": attrgetter("name"),
    "span_kind": _span_kind,
    "start_ns": attrgetter("start_ns"),
    "end_ns": lambda span: max(span.end_ns, span.start_ns),
    "events": lambda span: _events(span) if span.events else "",
    "links": lambda span: _links(span) if span.links else "",
}
# Functions that create the previews.
_LINE_MAKERS: Final = {"inputs": line_in, "outputs": line_out}


def _sorted(tags: Mapping[str, Tag]) -> list[Tag]:
    return sorted(tags.values(), key=attrgetter("name")) if len(tags) > 1 else list(tags.values())


def _rest(alike: _Alike, run_columns: RunColumns, columns: Mapping[str, list[Any]]) -> list[str]:
    """Return what is stored in no field as JSON text: other attributes, and the status."""
    texts = []
    messages = columns.get("error_message") or [""] * len(alike.spans)
    for span, left, outcome, message in zip(
        alike.spans,
        run_columns.left_names(alike.plan.rest),
        columns["outcome"],
        messages,
        strict=True,
    ):
        attributes = span.attributes
        kept = {name: attributes[name] for name in left}
        if bytes in map(type, kept.values()):
            kept[BINARY] = sorted(name for name in kept if type(kept[name]) is bytes)
        if span.status_code and not alike.is_open:
            code = _STATUS_CODES.get(span.status_code, "")
            if code and (code == "OK" or outcome != "error"):
                kept[STATUS_CODE] = code
            if code == "ERROR" and span.status_message[:_MESSAGE_CHARS] != message:
                kept[STATUS_DESCRIPTION] = span.status_message[:_MESSAGE_CHARS]
        if span.otlp and not alike.is_open:  # a start record has fields of its own
            kept[OTLP] = span.otlp
        texts.append(to_sorted_json(kept) if kept else "")
    return texts


def _events(span: Span) -> str:
    """Return the events of a span as JSON, without log lines, artifacts and lineage."""
    events = [
        {
            "name": event.name,
            "time_ns": event.time_ns,
            "attributes": event.attributes,
            **_non_empty(dropped_attributes_count=event.dropped_attributes),
        }
        for event in span.events
        if event.name != names.LOG_EVENT and not is_artifact(event) and not is_link(event)
    ]
    return to_json(events, NAN) if events else ""


def _links(span: Span) -> str:
    links = [
        {
            "trace_id": link.trace_id.hex(),
            "span_id": link.span_id.hex(),
            "attributes": link.attributes,
            **_non_empty(
                trace_state=link.trace_state,
                flags=link.flags,
                dropped_attributes_count=link.dropped_attributes,
            ),
        }
        for link in span.links
    ]
    return to_json(links, NAN) if links else ""


def _non_empty(**fields: Value) -> dict[str, Value]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value}


def _ranks(columns: Mapping[str, list[Any]]) -> list[int]:
    """Return the rank of each run. The store keeps the version of a run with the highest rank.

    The longer version wins. A checksum decides between versions of the same length. Do not change
    the formula: stored runs have ranks made with it, and a span that is sent again would look
    newer.
    """
    size = len(columns["kind"])
    blank, zero, none = [""] * size, [0] * size, [None] * size
    inputs, outputs = columns.get("inputs", blank), columns.get("outputs", blank)
    numbers = [columns.get(name, zero if name == "seq" else none) for name in _NUMBER_COLUMNS]
    facts = zip(map(len, inputs), map(len, outputs), *numbers, strict=True)
    ranks = [columns.get(name, blank) for name in _TEXT_COLUMNS]
    texts = zip(*ranks, map(repr, facts), strict=True)
    more = (
        [*map(_tag_text, tags), *map(repr, logs)] if tags or logs else ()
        for tags, logs in zip(columns["tags"], columns["logs"], strict=True)
    )
    return [
        _rank(given.encode(*_UTF8), answered.encode(*_UTF8), "\x1f".join((*ranked, *also)))
        for given, answered, ranked, also in zip(inputs, outputs, texts, more, strict=True)
    ]


def _rank(inputs: bytes, outputs: bytes, text: str) -> int:
    sentence = text.encode(*_UTF8)
    checksum = crc32(sentence, crc32(outputs, crc32(inputs)))
    return min(len(inputs) + len(outputs) + len(sentence), 2**31 - 1) << 32 | checksum


def _tag_text(tag: Tag) -> str:
    return f"{tag.name}={tag.value!r}\x1f{tag.type}\x1f{tag.group}"


def _scope_texts(scope: Scope, texts: dict[int, tuple[Scope, tuple[str, str]]]) -> tuple[str, str]:
    """Return resource and scope as JSON, computed once for all spans that share them.

    The scope is kept with its texts, because the `id()` of a freed object can be reused.
    """
    key = id(scope)
    if key not in texts:
        resource = _non_empty(
            schema_url=scope.resource_schema_url,
            dropped_attributes_count=scope.resource_dropped_attributes,
        )
        described: dict[str, Value] = {"name": scope.name, "version": scope.version}
        described |= _non_empty(
            attributes=scope.attributes,
            schema_url=scope.schema_url,
            dropped_attributes_count=scope.dropped_attributes,
            resource=resource,
        )
        texts[key] = scope, (to_sorted_json(scope.resource), to_sorted_json(described))
    return texts[key][1]


def _process_of(span: Span) -> str:
    """Return the process that sent a span of our own library; empty if it is missing."""
    process = span.attributes.get(names.PROCESS)
    return process if isinstance(process, str) and len(process) <= _PROCESS_CHARS else ""


def _number_of(span: Span) -> int:
    """Return the number that its process gave to a span; 0 if it has none."""
    number = span.attributes.get(names.SEQ)
    return number if type(number) is int and 0 < number <= _HIGHEST else 0


def _count(span: Span, name: str) -> int:
    return min(max(to_int(span.attributes.get(name)) or 0, 0), _HIGHEST)
