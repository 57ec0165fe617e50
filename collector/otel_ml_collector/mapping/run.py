"""One span as a run: what the dialects found on it, field by field, as one record."""

import zlib
from collections.abc import Sequence
from typing import Any, Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.artifacts import is_artifact
from otel_ml_collector.mapping.check import is_span_id
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.values import preview, to_json, to_sorted_json
from otel_ml_collector.records import Run
from otel_ml_collector.span import Span

_MESSAGE_CHARS: Final = 1_024
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


def make_run(span: Span, project: str, found: Found, scope_texts: tuple[str, str]) -> Run:
    """Make the run of a span.

    Args:
        span: The run's span.
        project: Where it is filed.
        found: What the dialects found, the outcome, kind and dialect among it.
        scope_texts: Its resource and its scope as JSON text.
    """
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


def _events(span: Span) -> str:
    """Write the events that are neither text lines nor artifacts of ours."""
    events = [
        {"name": event.name, "time_ns": event.time_ns, "attributes": event.attributes}
        for event in span.events
        if event.name != names.LOG_EVENT and not is_artifact(event)
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


def _rank(texts: Sequence[str]) -> int:
    """Rank a record: the longer one wins, and of equally long ones one is chosen by checksum."""
    content = "\x1f".join(texts).encode("utf-8", "surrogatepass")
    return min(len(content), 2**31 - 1) << 32 | zlib.crc32(content)
