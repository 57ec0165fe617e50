"""One span as a run: what the dialects found on it, field by field, as one record."""

import zlib
from collections.abc import Sequence, Set
from operator import attrgetter
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.artifacts import is_artifact
from otel_ml_collector.mapping.chat import line_in, line_out
from otel_ml_collector.mapping.filing import is_span_id
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.values import to_json, to_sorted_json
from otel_ml_collector.price import round_cost
from otel_ml_collector.records import Run, Tag
from otel_ml_collector.span import Span

_MESSAGE_CHARS: Final = 1_024
_SPAN_KINDS: Final = ("", "internal", "server", "client", "producer", "consumer")
_NOTHING: Final = (None, "")
# What a record says, but for its ids, payload, tags and lines.
_TEXTS: Final = attrgetter(
    *("params", "attributes", "events", "links", "resource", "scope"),
    *("project", "kind", "name", "span_kind", "model", "digest", "structure"),
    *("outcome", "error_type", "error_message", "session", "user", "environment", "release"),
    *("provider", "provider_model", "dialect", "process"),
)
_OTHERS: Final = attrgetter(
    *("parent_span_id", "start_ns", "end_ns", "seq", "cost"),
    *("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
)


def make_run(
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
    run = Run(
        project=project,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=parent if parent and is_span_id(parent) else b"",
        kind=kind,
        name=span.name,
        span_kind=_SPAN_KINDS[span.kind] if 0 <= span.kind < len(_SPAN_KINDS) else "",
        model="" if kind == "span" else found.get("model", span.name),
        digest=found.get("digest", ""),
        structure=found.get("structure", ""),
        start_ns=span.start_ns,
        end_ns=max(span.end_ns, span.start_ns),
        outcome=found["outcome"],
        error_type=found.get("error_type", ""),
        error_message=found.get("error_message", "")[:_MESSAGE_CHARS],
        inputs=inputs_text,
        outputs=outputs_text,
        inputs_preview=line_in(inputs),
        outputs_preview=line_out(outputs),
        tags=sorted(tags.values(), key=attrgetter("name")) if tags else [],
        session=found.get("session", ""),
        user=found.get("user", ""),
        environment=found.get("environment", ""),
        release=found.get("release", ""),
        provider=found.get("provider", ""),
        provider_model=found.get("provider_model", ""),
        response_id=found.get("response_id", ""),
        input_tokens=found.get("input_tokens"),
        output_tokens=found.get("output_tokens"),
        cached_tokens=found.get("cached_tokens"),
        reasoning_tokens=found.get("reasoning_tokens"),
        cost=round_cost(found.get("cost")),
        params=found.get("params", ""),
        logs=found.get("logs", []),
        events=_events(span) if span.events else "",
        links=_links(span) if span.links else "",
        attributes=_rest(span, rest, found["used"]),
        resource=scope_texts[0],
        scope=scope_texts[1],
        dialect=found["dialect"],
        process=found.get("process", ""),
        seq=found.get("seq", 0),
        rank=0,
    )
    run.rank = _rank(run)
    return run


def _rest(span: Span, names_left: Sequence[str], used: Set[str]) -> str:
    rest = {name: span.attributes[name] for name in names_left if name not in used}
    return to_sorted_json(rest) if rest else ""


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


def _tag_text(tag: Tag) -> str:
    return f"{tag.name}={tag.value!r}\x1f{tag.type}\x1f{tag.group}"


def _rank(run: Run) -> int:
    """Rank a record: the longer one wins, and of equally long ones one is chosen by checksum."""
    facts = repr((len(run.inputs), len(run.outputs), *_OTHERS(run)))
    told = "\x1f".join((*_TEXTS(run), facts, *map(_tag_text, run.tags), *map(repr, run.logs)))
    size = checksum = 0
    for text in (run.inputs, run.outputs, told):
        raw = text.encode("utf-8", "surrogatepass")
        size += len(raw)
        checksum = zlib.crc32(raw, checksum)
    return min(size, 2**31 - 1) << 32 | checksum
