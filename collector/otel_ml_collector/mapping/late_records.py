"""Maps late-arriving records: records about a run that arrive as spans of their own.

An `update` or `evaluation` is about a subject: a run, a trace key, a tag or a model version. An
`evaluation` can also be about a session. A `start` record announces the run it is about. A Logfire
placeholder announces its parent span.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from otel_ml import attributes as names
from otel_ml.items import canonical_json, digest_item
from otel_ml_collector.mapping.artifacts import BAD_ARTIFACT, has_bad_artifact, read_artifacts
from otel_ml_collector.mapping.dialects.own import read_line, read_tags
from otel_ml_collector.mapping.evaluations import map_evaluation
from otel_ml_collector.mapping.filing import StartWindow
from otel_ml_collector.mapping.lineage import (
    BAD_ALIAS,
    BAD_LINEAGE,
    has_bad_alias,
    has_bad_lineage,
    read_alias,
    read_lineage,
)
from otel_ml_collector.mapping.values import to_float, to_int, to_text
from otel_ml_collector.owners import (
    KEY,
    SESSION_OWNER,
    TRACE_KEY_CHARS,
    is_run,
    own_dataset,
    own_item,
    own_key,
    own_model,
    own_session,
    own_tag,
)
from otel_ml_collector.records import (
    ItemContent,
    LateLog,
    LateTag,
    Metric,
    ModelVersion,
    Records,
    TraceKey,
    run_id,
)
from otel_ml_collector.span import Span, Value, is_span_id

NO_TARGET: Final = "record_without_target"
BAD_ITEM: Final = "invalid_item"
_BAD_METRICS: Final = "invalid_metric_lists"
_TRACE_CHARS: Final = 32
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_SPAN_ID: Final = re.compile("[0-9a-f]{16}")
_TARGET_CHARS: Final = 1_024
# Attributes of the `start` record itself, or that a run only has at its end.
_NOT_AT_START: Final = frozenset(
    {names.RECORD, names.TARGET_RUN, names.PARENT_SPAN_ID, names.OUTCOME, names.OUTPUTS}
)
_SPAN_TYPE: Final = "logfire.span_type"
PENDING_PARENT: Final = "logfire.pending_parent_id"
# Trace id of records about a key itself, regardless of which traces have that key.
NO_TRACE_ID: Final = bytes(16)


@dataclass(slots=True)
class RequestBatch:
    """Records collected from the spans or log records of one request.

    Attributes:
        window: Start times that are accepted now.
        records: Records collected so far.
        keys: Entries of the index of trace keys, which finds traces by their keys. Maps key,
            project and trace ID to the entry.
        sender: Name of the API key that sent the request; empty without a key.
    """

    window: StartWindow
    records: Records = field(default_factory=Records)
    keys: dict[tuple[str, str, bytes], TraceKey] = field(default_factory=dict)
    sender: str = ""

    def add_key(self, key: TraceKey) -> None:
        """Add an index entry of a trace. If it exists already, extend its time range."""
        place = (key.key, key.project, key.trace_id)
        known = self.keys.get(place)
        self.keys[place] = key if known is None else known.join(key)


def map_late_record(span: Span, project: str, batch: RequestBatch) -> str | None:
    """Read a span of type `update` or `evaluation`, which carries tags, metrics or scores for runs.

    Its records are added to the batch, with the index entries that are needed to find them.

    Returns:
        Why the record is rejected; None if it is valid.
    """
    if span.attributes.get(names.TARGET_KIND, "model") != "model":
        return _map_version(span, project, batch.records)
    owner = _target_of(span)
    if owner is None:
        return NO_TARGET
    named_start_ns = to_int(span.attributes.get(names.TARGET_START_NS)) or 0
    start_ns = named_start_ns if named_start_ns in batch.window else 0
    is_update = span.attributes[names.RECORD] == "update"
    if is_update and owner.startswith(SESSION_OWNER):  # sessions have no updates, only evaluations
        return NO_TARGET
    map_one = _map_update if is_update else map_evaluation
    reason = map_one(span, project, owner, start_ns, batch.records)
    if is_update and reason is None:
        batch.records.aliases += read_alias(span, project, owner, batch.sender)
    if reason is None:
        _note_keys(span, project, owner, batch)
    return reason


def is_pending(span: Span) -> bool:
    """Return whether a span is Logfire's placeholder for a span that has started."""
    attributes = span.attributes
    return PENDING_PARENT in attributes and attributes.get(_SPAN_TYPE) == "pending_span"


def read_pending(span: Span) -> Span | None:
    """Return the span that a placeholder announces; None if it names no parent."""
    if not is_span_id(span.parent_span_id):
        return None
    left_out = {_SPAN_TYPE, PENDING_PARENT}
    return replace(
        span,
        span_id=span.parent_span_id,
        parent_span_id=_read_span_id(span.attributes[PENDING_PARENT]),
        end_ns=span.start_ns,
        attributes={
            key: attribute for key, attribute in span.attributes.items() if key not in left_out
        },
    )


def read_start(span: Span) -> Span | None:
    """Make a span for the run that a `start` record announces; None if the record names no run.

    The span starts and ends at the time of the record. If the record has a preview of the inputs,
    it becomes the inputs of the span.
    """
    owner = _run_of(span)
    if owner is None:
        return None
    trace_id = bytes.fromhex(owner[:_TRACE_CHARS])
    span_id = bytes.fromhex(owner[_TRACE_CHARS + 1 :])
    if not any(trace_id) or not any(span_id):
        return None
    facts = span.attributes
    attributes: dict[str, Value] = {
        names.KIND: "model",
        **{key: value for key, value in facts.items() if key not in _NOT_AT_START},
    }
    if names.INPUTS_PREVIEW in facts:
        attributes.setdefault(names.INPUTS, facts[names.INPUTS_PREVIEW])
    return replace(
        span,
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=_read_span_id(facts.get(names.PARENT_SPAN_ID)),
        name=to_text(facts.get(names.MODEL_NAME)) or span.name,
        end_ns=span.start_ns,
        attributes=attributes,
    )


def _read_span_id(value: Value) -> bytes:
    is_id = isinstance(value, str) and _SPAN_ID.fullmatch(value)
    return bytes.fromhex(to_text(value)) if is_id else b""


def _run_of(span: Span) -> str | None:
    """Return the id of the run that a record is about; None if it is missing or invalid."""
    target = span.attributes.get(names.TARGET_RUN)
    if target is not None:
        return target if isinstance(target, str) and names.RUN_ID.fullmatch(target) else None
    if not is_span_id(span.parent_span_id):
        return None
    return run_id(span.trace_id, span.parent_span_id)


def _target_of(span: Span) -> str | None:
    """Return the subject of a record: a run, trace key, tag, session or model version.

    Returns:
        The owner of its records; None if the subject is missing or invalid.
    """
    attributes = span.attributes
    if names.TARGET_RUN in attributes:
        return _run_of(span)
    if names.TARGET_TRACE_KEY in attributes:
        key = _target_text(attributes[names.TARGET_TRACE_KEY])
        return own_key(key) if key else None
    if names.TARGET_TAG in attributes:
        tag = _target_text(attributes[names.TARGET_TAG])
        return own_tag(tag) if tag.find("=") > 0 else None
    if names.TARGET_SESSION in attributes:
        session = _target_text(attributes[names.TARGET_SESSION])
        return own_session(session) if session else None
    if names.TARGET_MODEL in attributes:
        model = _target_text(attributes[names.TARGET_MODEL])
        version = _target_text(attributes.get(names.TARGET_VERSION))
        return own_model(model, version) if model and version else None
    return _run_of(span)


def _target_text(value: Value) -> str:
    """Return the text that identifies a subject; empty if it is not a text or too long."""
    return value if isinstance(value, str) and len(value) <= _TARGET_CHARS else ""


def _note_keys(span: Span, project: str, owner: str, batch: RequestBatch) -> None:
    """Add index entries, so that records about a run or a trace key are found."""
    at_ns = span.start_ns
    if owner.startswith(KEY):
        batch.add_key(key_of_words(owner, project, at_ns))
        return
    own = to_text(span.attributes.get(names.TRACE_KEY))
    if own and is_run(owner):
        trace_id = bytes.fromhex(owner[:_TRACE_CHARS])
        for text in (trace_id.hex(), own[:TRACE_KEY_CHARS]):
            batch.add_key(TraceKey(text, project, trace_id, at_ns, at_ns))


def key_of_words(owner: str, project: str, at_ns: int) -> TraceKey:
    """Make an index entry for a trace key for which records such as feedback have arrived.

    A trace with this key may arrive before or after them. The entry connects both.

    Args:
        owner: The key, as it is stored in the field `owner` of a record.
        project: Project of the late-arriving record.
        at_ns: Time of that record, in nanoseconds since the epoch.
    """
    return TraceKey(owner.removeprefix(KEY), project, NO_TRACE_ID, at_ns, at_ns)


def _map_version(span: Span, project: str, records: Records) -> str | None:
    """Add a version of a judge (with its definition) or of a data set."""
    attributes = span.attributes
    kind = to_text(attributes[names.TARGET_KIND])
    name = _target_text(attributes.get(names.TARGET_MODEL))
    digest = _target_text(attributes.get(names.TARGET_VERSION))
    if kind not in names.TARGET_KINDS or not name or not digest:
        return NO_TARGET
    if has_bad_artifact(span):
        return BAD_ARTIFACT
    if kind == "dataset":  # its manifest, and metrics computed from its items
        owner = own_dataset(name, digest)
        points = _points(span, project, owner, 0)
        if points is None:
            return _BAD_METRICS
        records.artifacts += read_artifacts(span, project, owner)
        records.metrics += points
    definition, at_ns = to_text(attributes.get(names.MODEL_DEFINITION)), span.start_ns
    records.versions.append(ModelVersion(project, kind, name, digest, "", definition, at_ns, at_ns))
    return None


def map_item(span: Span, project: str, records: Records) -> str | None:
    """Add a data set item. Its digest is its only identity.

    Returns:
        Why the record is rejected; None if it is valid.
    """
    attributes = span.attributes
    digest = to_text(attributes.get(names.ITEM_DIGEST))
    inputs, expected = (
        to_text(attributes.get(names.INPUTS)),
        to_text(attributes.get(names.ITEM_EXPECTED)),
    )
    source_run = to_text(attributes.get(names.ITEM_SOURCE_RUN))
    source_session = to_text(attributes.get(names.ITEM_SOURCE_SESSION))
    if not _DIGEST.fullmatch(digest) or has_bad_artifact(span):
        return BAD_ITEM
    if source_run and not names.RUN_ID.fullmatch(source_run):
        return BAD_ITEM
    try:
        parts = [orjson.loads(text or "null") for text in (inputs, expected)]
    except orjson.JSONDecodeError:
        return BAD_ITEM
    tags = {tag.name: tag.value for tag in read_tags(attributes).values()}
    capture = to_text(attributes.get(names.CAPTURE))
    is_whole = not capture and digest_item(parts[0], parts[1], tags) == digest
    tag_text = canonical_json(tags).decode() if tags else ""
    # A record with a session has more information, so it is stored next to one without.
    sentence = "\x1f".join((inputs, expected, tag_text, source_run, capture, source_session))
    checksum = zlib.crc32(sentence.encode("utf-8", "surrogatepass"))
    records.items.append(
        ItemContent(
            project=project,
            digest=digest,
            inputs=inputs,
            expected="" if expected == "null" else expected,
            tags=tag_text,
            source_run=source_run,
            source_session=source_session,
            capture=capture,
            is_whole=is_whole,
            time_ns=span.start_ns,
            rank=is_whole << 63 | min(len(sentence), 2**31 - 1) << 32 | checksum,
        )
    )
    records.artifacts += read_artifacts(span, project, own_item(digest))
    return None


def _map_update(
    span: Span, project: str, owner: str, owner_start_ns: int, records: Records
) -> str | None:
    """Add the records of an `update`: metrics, tags, log lines, artifacts and a version."""
    if has_bad_artifact(span):
        return BAD_ARTIFACT
    if has_bad_alias(span, owner):
        return BAD_ALIAS
    if has_bad_lineage(span, owner):
        return BAD_LINEAGE
    points = _points(span, project, owner, owner_start_ns)
    if points is None:
        return _BAD_METRICS
    record_id, at_ns = span.span_id.hex(), span.start_ns
    records.metrics += points
    records.tags += [
        LateTag(project, owner, tag, at_ns, record_id)
        for tag in read_tags(span.attributes).values()
    ]
    lines = [line for event in span.events if (line := read_line(event)) is not None]
    records.logs += [
        LateLog(project, owner, line, record_id, position) for position, line in enumerate(lines)
    ]
    records.artifacts += read_artifacts(span, project, owner)
    records.lineage += read_lineage(span, project, owner)
    attributes = span.attributes
    name, digest = (
        to_text(attributes.get(names.TARGET_MODEL)),
        to_text(attributes.get(names.TARGET_VERSION)),
    )
    if owner == own_model(name, digest):  # a version can exist before its first run
        definition = to_text(attributes.get(names.MODEL_DEFINITION))
        version = ModelVersion(project, "model", name, digest, "", definition, at_ns, at_ns)
        records.versions.append(version)
    return None


def _points(span: Span, project: str, owner: str, owner_start_ns: int) -> list[Metric] | None:
    """Read metrics from parallel lists; None if the lists are invalid."""
    attributes = span.attributes
    keys = _list(attributes.get(names.METRIC_NAMES))
    values = [to_float(value) for value in _list(attributes.get(names.METRIC_VALUES))]
    steps = _list(attributes.get(names.METRIC_STEPS)) or [-1] * len(keys)
    times = _list(attributes.get(names.METRIC_TIMES)) or [span.start_ns] * len(keys)
    modes = _list(attributes.get(names.METRIC_MODES)) or ["append"] * len(keys)
    sources = _list(attributes.get(names.METRIC_SOURCES)) or ["logged"] * len(keys)
    lists = (values, steps, times, modes, sources)
    if {*map(len, lists)} != {len(keys)} or None in values:
        return None
    if not (
        names.METRIC_MODES_KNOWN.issuperset(modes)
        and names.METRIC_SOURCES_KNOWN.issuperset(sources)
    ):
        return None
    return [
        Metric(
            project=project,
            owner=owner,
            owner_start_ns=owner_start_ns,
            name=to_text(key),
            value=value,
            step=-1 if (step := to_int(steps[position])) is None else step,
            time_ns=max(to_int(times[position]) or 0, 0) or span.start_ns,
            mode=to_text(modes[position]),
            source=to_text(sources[position]),
            record_id=span.span_id.hex(),
            position=position,
        )
        for position, (key, value) in enumerate(zip(keys, values, strict=True))
    ]


def _list(value: Value) -> Sequence[Value]:
    return value if isinstance(value, list | tuple) else []
