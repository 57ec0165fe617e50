"""Reads links between records: aliases of model versions, and inputs and outputs of runs."""

import re
import zlib
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.values import to_text
from otel_ml_collector.owners import is_run, own_model
from otel_ml_collector.records import AliasMove, LineageLink
from otel_ml_collector.span import Event, Span
from otel_ml_collector.times import LATEST_NS

BAD_ALIAS: Final = "invalid_alias"
BAD_LINEAGE: Final = "invalid_lineage"
_ALIAS: Final = re.compile(r"(?!v?[0-9]+\Z)\w[\w.-]{0,127}")
_WORD_CHARS: Final = 256
_NAME_CHARS: Final = 1_024


def is_alias(text: str) -> bool:
    """Return whether an alias is valid: a word of at most 128 characters, no version number."""
    return _ALIAS.fullmatch(text) is not None


def has_bad_alias(span: Span, owner: str) -> bool:
    """Return whether a record sets an invalid alias, or one for something other than a version."""
    if names.ALIAS not in span.attributes:
        return False
    alias = span.attributes[names.ALIAS]
    model, version = (
        to_text(span.attributes.get(name)) for name in (names.TARGET_MODEL, names.TARGET_VERSION)
    )
    return not (isinstance(alias, str) and is_alias(alias) and owner == own_model(model, version))


def read_alias(span: Span, project: str, owner: str, sender: str) -> list[AliasMove]:
    """Read a change of an alias, such as `champion`, which names a version of a model.

    Args:
        span: The span that carries the record.
        project: Project of the record.
        owner: The model version that gets the alias, or loses it.
        sender: Name of the API key that sent the record.

    Returns:
        A list with the change; empty if the record does not change an alias.
    """
    attributes = span.attributes
    if names.ALIAS not in attributes:
        return []
    is_removed = attributes.get(names.ALIAS_REMOVED) is True
    by = (to_text(attributes.get(names.ALIAS_BY)) or sender)[:_WORD_CHARS]
    source = to_text(attributes.get(names.ALIAS_SOURCE))[:_WORD_CHARS]
    alias, digest = to_text(attributes[names.ALIAS]), to_text(attributes[names.TARGET_VERSION])
    time_ns = min(span.start_ns, LATEST_NS)
    return [
        AliasMove(
            project=project,
            model=to_text(attributes[names.TARGET_MODEL]),
            alias=alias,
            record_id=span.span_id.hex(),
            owner=owner,
            digest=digest,
            is_removed=is_removed,
            by=by,
            source=source,
            time_ns=time_ns,
            rank=_rank(digest, is_removed, by, source, time_ns),
        )
    ]


def is_link(event: Event) -> bool:
    """Return whether an event is a valid lineage link, with known role and kind and a name."""
    attributes = event.attributes
    name = attributes.get(names.LINEAGE_NAME)
    return (
        event.name == names.LINEAGE_EVENT
        and to_text(attributes.get(names.LINEAGE_ROLE)) in names.ROLES
        and to_text(attributes.get(names.LINEAGE_KIND)) in names.LINEAGE_KINDS
        and isinstance(name, str)
        and 0 < len(name) <= _NAME_CHARS
    )


def has_bad_lineage(span: Span, owner: str) -> bool:
    """Return whether a lineage event of a span is invalid or not about a run."""
    events = [event for event in span.events if event.name == names.LINEAGE_EVENT]
    return bool(events) and not (is_run(owner) and all(map(is_link, events)))


def read_lineage(span: Span, project: str, owner: str) -> list[LineageLink]:
    """Return the lineage links in the events of a span: inputs and outputs of a run.

    Other events are skipped.
    """
    events = [event for event in span.events if event.name == names.LINEAGE_EVENT]
    return [
        _link(event, project, owner, span.span_id.hex(), position)
        for position, event in enumerate(events)
        if is_link(event)
    ]


def _link(event: Event, project: str, owner: str, record_id: str, position: int) -> LineageLink:
    attributes = event.attributes
    role, kind = to_text(attributes[names.LINEAGE_ROLE]), to_text(attributes[names.LINEAGE_KIND])
    name = to_text(attributes[names.LINEAGE_NAME])
    version = to_text(attributes.get(names.LINEAGE_VERSION))[:_WORD_CHARS]
    run_id = to_text(attributes.get(names.LINEAGE_RUN))
    run_id = run_id if names.RUN_ID.fullmatch(run_id) else ""
    time_ns = min(event.time_ns, LATEST_NS)
    return LineageLink(
        project=project,
        owner=owner,
        record_id=record_id,
        position=position,
        role=role,
        kind=kind,
        name=name,
        version=version,
        run_id=run_id,
        time_ns=time_ns,
        rank=_rank(role, kind, name, version, run_id, time_ns),
    )


def _rank(*value: object) -> int:
    """Return a rank computed from the content. Of two duplicates, the same one always wins."""
    raw = repr(value).encode("utf-8", "surrogatepass")
    return min(len(raw), 2**31 - 1) << 32 | zlib.crc32(raw)
