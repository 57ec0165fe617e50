"""Spans to records: each span is filed under its project, then read by every dialect."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Final, cast
from zlib import crc32

from otel_ml import attributes as names
from otel_ml.records import TOKENS
from otel_ml_collector.mapping.artifacts import is_artifact, read_artifacts
from otel_ml_collector.mapping.chat import line_in, line_out
from otel_ml_collector.mapping.dialects.plan import Plans, read_fields
from otel_ml_collector.mapping.evaluations import add_scores
from otel_ml_collector.mapping.filing import (
    NOT_ALLOWED,
    Filing,
    StartWindow,
    project_of,
    reason_to_reject,
)
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.late_records import (
    NO_TARGET,
    RequestBatch,
    is_pending,
    map_late_record,
    read_pending,
    read_start,
)
from otel_ml_collector.mapping.lineage import is_link, read_lineage
from otel_ml_collector.mapping.prices import Prices, add_cost
from otel_ml_collector.mapping.values import to_int, to_json, to_sorted_json, to_text
from otel_ml_collector.owners import TRACE_KEY_CHARS
from otel_ml_collector.price import round_cost
from otel_ml_collector.records import (
    Arrivals,
    ModelVersion,
    ProcessSign,
    Records,
    Run,
    Tag,
    TraceKey,
)
from otel_ml_collector.span import Scope, Span, Value, is_span_id
from otel_ml_collector.times import HOUR_NS, MINUTE_NS

_PLANS: Final = Plans()
_NO_PROCESS: Final = "record_without_process"
_SIGNS: Final = frozenset({"heartbeat", "goodbye"})
_PROCESS_CHARS: Final = 64
_LATE_NS: Final = 5 * MINUTE_NS
_HIGHEST: Final = 2**63 - 1
_MESSAGE_CHARS: Final = 1_024
_SPAN_KINDS: Final = ("", "internal", "server", "client", "producer", "consumer")
_UTF8: Final = ("utf-8", "surrogatepass")
_NOTHING: Final = (None, "")
# What a record says, for its rank: its texts but for those that stand apart, and the rest.
_APART: Final = {"inputs", "outputs", "inputs_preview", "outputs_preview", "response_id"}
_TEXTS: Final = attrgetter(*(f.name for f in fields(Run) if f.type is str and f.name not in _APART))
_OTHERS: Final = attrgetter(
    *("parent_span_id", "start_ns", "end_ns", "seq", "cost"),
    *TOKENS,
)
# What goes to the run as it was found.
_AS_FOUND: Final = frozenset(one.name for one in fields(Run)) - {
    *("model", "inputs", "outputs", "error_message", "tags", "logs", "cost"),
}


def map_spans(spans: Iterable[Span], filing: Filing) -> Records:
    """Map spans to records.

    Args:
        spans: In any order, also twice. Children need not come with their parents.
        filing: What the request says about them.

    Returns:
        The records, and how many spans are rejected for good, by reason. The same span gives
        the same records whatever comes with it.
    """
    window = StartWindow(filing.now_ns)
    batch = _SpanBatch(window, sender=filing.access.name, prices=filing.prices)
    processes = Processes(filing.now_ns)
    records, scope = batch.records, None
    for span in spans:
        if span.scope is not scope:  # shared by the spans of a library
            scope = span.scope
            batch.window = filing.window_of(scope)
        project = project_of(span.attributes, span.scope, filing)
        if project is None:
            records.rejected[NOT_ALLOWED] += 1
            continue
        reason = reason_to_reject(span, project, batch.window) or _map_span(span, project, batch)
        if reason is None:
            processes.note(span, project)
        else:
            records.rejected[reason] += 1
    records.trace_keys += batch.keys.values()
    records.signs += processes.signs.values()
    records.arrivals += processes.arrivals.values()
    return records


class Processes:
    """What the spans of one request say of the processes that sent them.

    Attributes:
        signs: That they live, by project and process.
        arrivals: The numbers of their spans, by project, process and hour.
    """

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self.signs: dict[tuple[str, str], ProcessSign] = {}
        self.arrivals: dict[tuple[str, str, int], Arrivals] = {}

    def note(self, span: Span, project: str) -> None:
        """Add that the process of a span lives, its number, and what it tells of itself."""
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
            if record == "goodbye":  # the last that it sends: nothing is on its way after it
                arrivals.settled = max(arrivals.settled, sign.seq)

    def _note_number(self, span: Span, project: str, process: str) -> Arrivals | None:
        """Add the number of a span, if it has one, to those of its process and hour."""
        number = span.attributes.get(names.SEQ)
        if type(number) is not int or not 0 < number <= _HIGHEST:
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
    prices: Prices | None
    scopes: dict[int, tuple[Scope, tuple[str, str]]] = field(default_factory=dict)


def _map_span(span: Span, project: str, batch: _SpanBatch) -> str | None:
    """Add what a span says to its batch; return why it is rejected, if it is."""
    record = to_text(span.attributes.get(names.RECORD, "run"))
    if record in {"update", "evaluation"}:
        return map_late_record(span, project, batch)
    if record in _SIGNS:  # noted as every span is
        return None if _process_of(span) else _NO_PROCESS
    if record == "start":
        announced = read_start(span)
    elif record != "run":
        return "unknown_record"
    elif is_pending(span):
        announced = read_pending(span)
    else:
        _map_run(span, project, batch)
        return None
    if announced is None:
        return NO_TARGET
    _map_run(announced, project, batch, is_open=True)
    return None


def _map_run(span: Span, project: str, batch: _SpanBatch, *, is_open: bool = False) -> None:
    records = batch.records
    plan = _PLANS.find(span.attributes)
    found = read_fields(span, plan, is_open=is_open)
    if batch.prices is not None:
        add_cost(found, batch.prices, span.start_ns)
    run = _make_run(span, project, found, plan.rest, _scope_texts(span.scope, batch.scopes))
    (records.open_runs if is_open else records.runs).append(run)
    if run.digest:
        records.versions.append(
            ModelVersion(
                project,
                "model",
                run.model,
                run.digest,
                run.structure,
                found.get("definition", ""),
                run.start_ns,
                run.start_ns,
            )
        )
    if span.events:
        records.artifacts += read_artifacts(span, project, run.run_id)
        records.lineage += read_lineage(span, project, run.run_id)
    add_scores(span, run, plan.own, plan.dialects, records)
    for key in (run.trace_id.hex(), *found.get("trace_keys", [])):
        batch.add_key(
            TraceKey(key[:TRACE_KEY_CHARS], project, run.trace_id, run.start_ns, run.end_ns)
        )


def _make_run(
    span: Span, project: str, found: Found, rest: Sequence[str], scope_texts: tuple[str, str]
) -> Run:
    """Make the run of a span.

    Args:
        span: The run's span.
        project: Where it is filed.
        found: What the dialects found, the outcome, kind and dialect among it.
        rest: Names of attributes that stay attributes unless they are used.
        scope_texts: Its resource and its scope as JSON text.
    """
    kind = found["kind"]
    inputs, inputs_text = found.get("inputs", _NOTHING)
    outputs, outputs_text = found.get("outputs", _NOTHING)
    tags = found.get("tags")
    parent = span.parent_span_id
    fields_found = cast("Mapping[str, Any]", found)
    run = Run(
        project=project,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=parent if parent and is_span_id(parent) else b"",
        name=span.name,
        span_kind=_SPAN_KINDS[span.kind] if 0 <= span.kind < len(_SPAN_KINDS) else "",
        model="" if kind == "span" else found.get("model", span.name),
        start_ns=span.start_ns,
        end_ns=max(span.end_ns, span.start_ns),
        error_message=found.get("error_message", "")[:_MESSAGE_CHARS],
        inputs=inputs_text,
        outputs=outputs_text,
        inputs_preview=line_in(inputs),
        outputs_preview=line_out(outputs),
        tags=sorted(tags.values(), key=attrgetter("name")) if tags else [],
        cost=round_cost(found.get("cost")),
        logs=found.get("logs", []),
        events=_events(span) if span.events else "",
        links=_links(span) if span.links else "",
        attributes=_rest(span, rest, found["used"]),
        resource=scope_texts[0],
        scope=scope_texts[1],
        **{name: value for name, value in fields_found.items() if name in _AS_FOUND},
    )
    run.rank = _rank(run)
    return run


def _rest(span: Span, names_left: Sequence[str], used: Set[str]) -> str:
    rest = {name: span.attributes[name] for name in names_left if name not in used}
    return to_sorted_json(rest) if rest else ""


def _events(span: Span) -> str:
    """Write the events that are neither text lines, artifacts nor lineage of ours."""
    events = [
        {"name": event.name, "time_ns": event.time_ns, "attributes": event.attributes}
        for event in span.events
        if event.name != names.LOG_EVENT and not is_artifact(event) and not is_link(event)
    ]
    return to_json(events) if events else ""


def _links(span: Span) -> str:
    links = [
        {
            "trace_id": link.trace_id.hex(),
            "span_id": link.span_id.hex(),
            "attributes": link.attributes,
        }
        for link in span.links
    ]
    return to_json(links) if links else ""


def _tag_text(tag: Tag) -> str:
    return f"{tag.name}={tag.value!r}\x1f{tag.type}\x1f{tag.group}"


def _rank(run: Run) -> int:
    """Rank a record: the longer one wins, and of equally long ones one is chosen by checksum."""
    inputs, outputs = run.inputs.encode(*_UTF8), run.outputs.encode(*_UTF8)
    facts = repr((len(run.inputs), len(run.outputs), *_OTHERS(run)))
    texts = [*_TEXTS(run), facts]
    if run.tags:
        texts += map(_tag_text, run.tags)
    if run.logs:
        texts += map(repr, run.logs)
    told = "\x1f".join(texts).encode(*_UTF8)
    checksum = crc32(told, crc32(outputs, crc32(inputs)))
    return min(len(inputs) + len(outputs) + len(told), 2**31 - 1) << 32 | checksum


def _scope_texts(scope: Scope, texts: dict[int, tuple[Scope, tuple[str, str]]]) -> tuple[str, str]:
    """Write resource and scope as JSON, once for all spans that share them.

    The scope is kept with its texts: another one could get its identity else.
    """
    key = id(scope)
    if key not in texts:
        described: dict[str, Value] = {"name": scope.name, "version": scope.version}
        if scope.attributes:
            described["attributes"] = scope.attributes
        texts[key] = scope, (to_sorted_json(scope.resource), to_sorted_json(described))
    return texts[key][1]


def _process_of(span: Span) -> str:
    """Name the process that sent a span of ours; empty when it is not told."""
    process = span.attributes.get(names.PROCESS)
    return process if isinstance(process, str) and len(process) <= _PROCESS_CHARS else ""


def _count(span: Span, name: str) -> int:
    return min(max(to_int(span.attributes.get(name)) or 0, 0), _HIGHEST)
