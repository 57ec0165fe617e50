"""One span as a run: what the dialects found on it, field by field, as one record."""

import zlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final, cast

from otel_ml import attributes as names
from otel_ml.records import TOKENS
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
