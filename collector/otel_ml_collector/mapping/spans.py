"""Spans to records: each span is filed under its project, then read by every dialect."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping import gen_ai, own, plain
from otel_ml_collector.mapping.about import NO_TARGET, map_evaluation, map_update, read_keys
from otel_ml_collector.mapping.artifacts import read_artifacts
from otel_ml_collector.mapping.check import Window, reason_to_reject
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.process import NO_PROCESS, SIGNS, hear, process_of
from otel_ml_collector.mapping.run import make_run
from otel_ml_collector.mapping.scores import read_scores
from otel_ml_collector.mapping.start import announced_span
from otel_ml_collector.mapping.values import to_sorted_json, to_text
from otel_ml_collector.owners import TRACE_KEY_CHARS
from otel_ml_collector.records import ModelVersion, ProcessSign, Records, TraceKey
from otel_ml_collector.span import Scope, Span, Value

_OPENINFERENCE_PROJECT: Final = "openinference.project.name"
_ABOUT: Final = {"update": map_update, "evaluation": map_evaluation}


@dataclass(frozen=True, slots=True)
class Filing:
    """What the request says about all of its spans.

    Attributes:
        header_project: The project of spans that name none; None when the request has no say.
        now_ns: Spans that start long before or after this are rejected.
    """

    header_project: str | None
    now_ns: int


def map_spans(spans: Iterable[Span], filing: Filing) -> Records:
    """Map spans to records.

    Args:
        spans: In any order, also twice. Children need not come with their parents.
        filing: What the request says about them.

    Returns:
        The records, and how many spans are rejected for good, by reason. The same span gives
        the same records whatever comes with it.
    """
    batch = _Batch(Window(filing.now_ns))
    records, window = batch.records, batch.window
    for span in spans:
        project = _project(span, filing)
        reason = reason_to_reject(span, project, window)
        if reason is None:
            reason = _map_span(span, project, batch)
        if reason is not None:
            records.rejected[reason] += 1
        else:
            hear(span, project, batch.signs)
    records.trace_keys += batch.keys.values()
    records.signs += batch.signs.values()
    return records


@dataclass(slots=True)
class _Batch:
    """What is gathered over the spans of one request."""

    window: Window
    records: Records = field(default_factory=Records)
    keys: dict[tuple[str, str, bytes], TraceKey] = field(default_factory=dict)
    signs: dict[tuple[str, str], ProcessSign] = field(default_factory=dict)
    scopes: dict[int, tuple[str, str]] = field(default_factory=dict)


def _map_span(span: Span, project: str, batch: _Batch) -> str | None:
    """Add what a span says to its batch; return why it is rejected, if it is."""
    record = to_text(span.attributes.get(names.RECORD, "run"))
    if record == "run":
        _map_run(span, project, batch)
        return None
    if record == "start":
        announced = announced_span(span)
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
            _widen(batch.keys, key)
    return reason


def _map_run(span: Span, project: str, batch: _Batch, *, is_open: bool = False) -> None:
    records = batch.records
    found: Found = {"tags": {}, "logs": [], "used": set()}
    if is_open:
        found["outcome"] = "running"
    own.read_run(span, found)
    gen_ai.read_run(span, found)
    plain.read_run(span, found)
    run = make_run(span, project, found, _scope_texts(span.scope, batch.scopes))
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
    records.artifacts += read_artifacts(span, project, run.run_id)
    scores, judges = read_scores(span, run, found.get("own", {}))
    records.metrics += scores
    records.versions += judges
    for key in (run.trace_id.hex(), *found.get("trace_keys", [])):
        _widen(
            batch.keys,
            TraceKey(key[:TRACE_KEY_CHARS], project, run.trace_id, run.start_ns, run.end_ns),
        )


def _project(span: Span, filing: Filing) -> str:
    scope = span.scope
    for attributes in (span.attributes, scope.attributes, scope.resource):
        for name in (names.PROJECT, _OPENINFERENCE_PROJECT):
            if attributes.get(name):
                return to_text(attributes[name])
    return filing.header_project or names.DEFAULT_PROJECT


def _scope_texts(scope: Scope, texts: dict[int, tuple[str, str]]) -> tuple[str, str]:
    """Write resource and scope as JSON, once for all spans that share them."""
    key = id(scope)
    if key not in texts:
        described: dict[str, Value] = {"name": scope.name, "version": scope.version}
        if scope.attributes:
            described["attributes"] = scope.attributes
        texts[key] = (to_sorted_json(scope.resource), to_sorted_json(described))
    return texts[key]


def _widen(keys: dict[tuple[str, str, bytes], TraceKey], key: TraceKey) -> None:
    known = keys.get((key.key, key.project, key.trace_id))
    if known is not None:
        key = TraceKey(
            key.key,
            key.project,
            key.trace_id,
            min(key.start_ns, known.start_ns),
            max(key.end_ns, known.end_ns),
        )
    keys[key.key, key.project, key.trace_id] = key
