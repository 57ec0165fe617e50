"""Spans to records: each span is filed under its project, then read by every dialect."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from otel_ml import attributes as names
from otel_ml_collector.mapping import gen_ai, own, plain
from otel_ml_collector.mapping.about import map_evaluation, map_update
from otel_ml_collector.mapping.check import Window, is_span_id, reason_to_reject
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.scores import read_scores
from otel_ml_collector.mapping.values import (
    preview,
    to_json,
    to_sorted_json,
    to_text,
)
from otel_ml_collector.records import ModelVersion, Records, Run, TraceKey
from otel_ml_collector.span import Scope, Span, Value

_OPENINFERENCE_PROJECT: Final = "openinference.project.name"
_MESSAGE_CHARS: Final = 1_024
_TRACE_KEY_CHARS: Final = 256
_INT64: Final = 2**63
_SPAN_KINDS: Final = ("", "internal", "server", "client", "producer", "consumer")
_TEXT_FIELDS: Final = (
    "digest",
    "structure",
    "error_type",
    "session",
    "user",
    "environment",
    "release",
    "provider",
    "provider_model",
    "process",
)
_NUMBER_FIELDS: Final = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost",
)
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
    records.trace_keys += batch.keys.values()
    return records


@dataclass(slots=True)
class _Batch:
    """What is gathered over the spans of one request."""

    window: Window
    records: Records = field(default_factory=Records)
    keys: dict[tuple[str, str, bytes], TraceKey] = field(default_factory=dict)
    scopes: dict[int, tuple[str, str]] = field(default_factory=dict)


def _map_span(span: Span, project: str, batch: _Batch) -> str | None:
    records = batch.records
    record = span.attributes.get(names.RECORD, "run")
    if record != "run":
        map_record = _ABOUT.get(to_text(record))
        if map_record is None:
            return "unknown_record"
        return map_record(span, project, records, batch.window)
    found: Found = {"tags": {}, "logs": [], "used": set()}
    own.read_run(span, found)
    gen_ai.read_run(span, found)
    plain.read_run(span, found)
    run = _run(span, project, found, _scope_texts(span.scope, batch.scopes))
    records.runs.append(run)
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
    scores, judges = read_scores(span, run, found.get("own", {}))
    records.metrics += scores
    records.versions += judges
    for key in (run.trace_id.hex(), *found.get("trace_keys", [])):
        _widen(
            batch.keys,
            TraceKey(key[:_TRACE_KEY_CHARS], project, run.trace_id, run.start_ns, run.end_ns),
        )
    return None


def _run(span: Span, project: str, found: Found, scope_texts: tuple[str, str]) -> Run:
    kind = found["kind"]
    inputs, outputs = found.get("inputs"), found.get("outputs")
    rest = {key: value for key, value in span.attributes.items() if key not in found["used"]}
    texts: dict[str, Any] = {
        "inputs": to_json(inputs) if "inputs" in found else "",
        "outputs": to_json(outputs) if "outputs" in found else "",
        "params": to_json(found["params"]) if "params" in found else "",
        "attributes": to_sorted_json(rest) if rest else "",
        "events": _events(span),
        "links": _links(span),
        "resource": scope_texts[0],
        "scope": scope_texts[1],
    }
    facts: dict[str, Any] = {
        "project": project,
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id if is_span_id(span.parent_span_id) else b"",
        "kind": kind,
        "name": span.name,
        "span_kind": _SPAN_KINDS[span.kind] if 0 <= span.kind < len(_SPAN_KINDS) else "",
        "model": "" if kind == "span" else found.get("model", span.name),
        "start_ns": span.start_ns,
        "end_ns": max(span.end_ns, span.start_ns),
        "outcome": found["outcome"],
        "error_message": found.get("error_message", "")[:_MESSAGE_CHARS],
        "tags": sorted(found["tags"].values(), key=lambda tag: tag.name),
        "logs": found["logs"],
        "dialect": found["dialect"],
        "seq": found.get("seq", 0),
        **{name: found.get(name, "") for name in _TEXT_FIELDS},
        **{name: found.get(name) for name in _NUMBER_FIELDS},
    }
    return Run(
        **facts,
        **texts,
        inputs_preview=preview(inputs),
        outputs_preview=preview(outputs),
        rank=_rank([*texts.values(), repr(list(facts.values()))]),
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


def _events(span: Span) -> str:
    """Write the events that are no text lines of ours."""
    events = [
        {"name": event.name, "time_ns": event.time_ns, "attributes": event.attributes}
        for event in span.events
        if event.name != names.LOG_EVENT
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


def _rank(texts: Sequence[str]) -> int:
    """Rank a record: the longer one wins, and of equally long ones one is chosen by checksum."""
    content = "\x1f".join(texts).encode("utf-8", "surrogatepass")
    return min(len(content), 2**31 - 1) << 32 | zlib.crc32(content)
