"""Spans to records: each span is filed under its project, then read by every dialect."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.artifacts import read_artifacts
from otel_ml_collector.mapping.check import Window, reason_to_reject
from otel_ml_collector.mapping.dialects import gen_ai, logfire, own, plain
from otel_ml_collector.mapping.dialects.plan import Plan, Plans
from otel_ml_collector.mapping.filing import NOT_ALLOWED, Filing, project_of
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.late_records import NO_TARGET, map_evaluation, map_update, read_keys
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.process import NO_PROCESS, SIGNS, Heard, hear, process_of
from otel_ml_collector.mapping.run import make_run
from otel_ml_collector.mapping.scores import read_scores
from otel_ml_collector.mapping.start import announced_span
from otel_ml_collector.mapping.trace_keys import TraceKeys, widen
from otel_ml_collector.mapping.usage import add_cost, keep_own_usage
from otel_ml_collector.mapping.values import to_sorted_json, to_text
from otel_ml_collector.owners import TRACE_KEY_CHARS
from otel_ml_collector.records import ModelVersion, Records, Run, TraceKey
from otel_ml_collector.span import Scope, Span, Value

_ABOUT: Final = {"update": map_update, "evaluation": map_evaluation}
_PLANS: Final = Plans()


def map_spans(spans: Iterable[Span], filing: Filing) -> Records:
    """Map spans to records.

    Args:
        spans: In any order, also twice. Children need not come with their parents.
        filing: What the request says about them.

    Returns:
        The records, and how many spans are rejected for good, by reason. The same span gives
        the same records whatever comes with it.
    """
    batch = _Batch(Window(filing.now_ns), Heard(filing.now_ns), filing.prices)
    records, scope = batch.records, None
    for span in spans:
        if span.scope is not scope:  # shared by the spans of a library
            scope = span.scope
            batch.window = filing.window_of(scope)
        project = project_of(span.attributes, span.scope, filing)
        if project is None:
            records.rejected[NOT_ALLOWED] += 1
            continue
        reason = reason_to_reject(span, project, batch.window)
        if reason is None:
            reason = _map_span(span, project, batch)
        if reason is not None:
            records.rejected[reason] += 1
        else:
            hear(span, project, batch.heard)
    records.trace_keys += batch.keys.values()
    records.signs += batch.heard.signs.values()
    records.arrivals += batch.heard.arrivals.values()
    return records


@dataclass(slots=True)
class _Batch:
    """What is gathered over the spans of one request."""

    window: Window
    heard: Heard
    prices: Prices | None
    records: Records = field(default_factory=Records)
    keys: TraceKeys = field(default_factory=dict)
    scopes: dict[int, tuple[Scope, tuple[str, str]]] = field(default_factory=dict)


def _map_span(span: Span, project: str, batch: _Batch) -> str | None:
    """Add what a span says to its batch; return why it is rejected, if it is."""
    record = to_text(span.attributes.get(names.RECORD, "run"))
    is_pending = record == "run" and logfire.is_pending(span)
    if record == "run" and not is_pending:
        _map_run(span, project, batch)
        return None
    if record == "start" or is_pending:
        announced = logfire.announced_span(span) if is_pending else announced_span(span)
        if announced is None:
            return NO_TARGET
        _map_run(announced, project, batch, is_open=True)
        return None
    if record in SIGNS:  # heard as every span is
        return None if process_of(span) else NO_PROCESS
    map_record = _ABOUT.get(record)
    if map_record is None:
        return "unknown_record"
    reason = map_record(span, project, batch.records, batch.window)
    if reason is None:
        for key in read_keys(span, project):
            widen(batch.keys, key)
    return reason


def _map_run(span: Span, project: str, batch: _Batch, *, is_open: bool = False) -> None:
    records = batch.records
    plan = _PLANS.find(span.attributes)
    found: Found = {"used": set()}
    if is_open:
        found["outcome"] = "running"
    _read_fields(span, plan, found)
    if batch.prices is not None:
        add_cost(found, batch.prices, span.start_ns)
    run = make_run(span, project, found, plan.rest, _scope_texts(span.scope, batch.scopes))
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
    _map_scores(span, run, plan, records)
    for key in (run.trace_id.hex(), *found.get("trace_keys", [])):
        widen(
            batch.keys,
            TraceKey(key[:TRACE_KEY_CHARS], project, run.trace_id, run.start_ns, run.end_ns),
        )


def _read_fields(span: Span, plan: Plan, found: Found) -> None:
    """Ask every dialect that is there, the one whose word stands first."""
    if plan.own is not None:
        own.read_run(span, plan.own, found)
    for dialect, present in plan.dialects:
        dialect.read_run(span, present, found)
    if plan.gen_ai is not None:
        gen_ai.read_run(span, plan.gen_ai, found)
    plain.read_run(span, found)
    keep_own_usage(found)


def _map_scores(span: Span, run: Run, plan: Plan, records: Records) -> None:
    if span.events or (plan.own is not None and plan.own.is_judged):
        scores, judges = read_scores(span, run, plan.own.judges if plan.own else ())
        records.metrics += scores
        records.versions += judges
    for dialect, present in plan.dialects:
        if present.scores and dialect.read_scores is not None:
            records.metrics += dialect.read_scores(span, present, run)


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
