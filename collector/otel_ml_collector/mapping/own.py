"""Our own dialect: the ``otel_ml.*`` attributes of a run. Spec: docs/wire.md."""

from collections.abc import Mapping
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.values import parse, to_float, to_int, to_text
from otel_ml_collector.records import LogLine, Tag, TagValue
from otel_ml_collector.span import Event, Span, Value

_PREFIX: Final = "otel_ml."
# No column holds these: they stay among the attributes.
_KEPT: Final = {names.CAPTURE, names.STREAM_CHUNKS, names.STREAM_FIRST_CHUNK_MS}


def read_run(span: Span, found: Found) -> None:
    """Fill the fields that our own attributes name."""
    ours = {key: value for key, value in span.attributes.items() if key.startswith(_PREFIX)}
    if not ours:
        return
    found["own"] = ours
    found["used"].update(ours.keys() - _KEPT)
    if names.MODEL_NAME in ours or names.KIND in ours:
        found["dialect"] = "otel_ml"
        kind = ours.get(names.KIND)
        found["kind"] = to_text(kind) if kind in names.KINDS else "model"
    _read_version(ours, found)
    _read_payload(ours, found)
    outcome = ours.get(names.OUTCOME)
    if outcome in names.OUTCOMES:
        found["outcome"] = to_text(outcome)
    if ours.get(names.TRACE_KEY):
        found["trace_keys"] = [to_text(ours[names.TRACE_KEY])]
    if names.PROCESS in ours:
        found["process"] = to_text(ours[names.PROCESS])
        found["seq"] = to_int(ours.get(names.SEQ)) or 0
    found["tags"].update(read_tags(ours))
    if names.TAGS in ours and not isinstance(parse(ours[names.TAGS]), Mapping):
        found["used"].discard(names.TAGS)  # broken: kept as it came, not lost
    found["logs"] += [line for event in span.events if (line := read_line(event)) is not None]


def read_tags(attributes: Mapping[str, Value]) -> dict[str, Tag]:
    """Read tags, one an attribute, with what ``otel_ml.tags`` adds of type, group and more."""
    tags: dict[str, Tag] = {}
    for key, value in attributes.items():
        if key.startswith(names.TAG_PREFIX):
            name = key.removeprefix(names.TAG_PREFIX)
            tags[name] = Tag(name, _tag(value))
    details = parse(attributes.get(names.TAGS))
    if isinstance(details, Mapping):
        for name, detail in details.items():
            if isinstance(detail, Mapping):
                value = tags[name].value if name in tags else _tag(detail.get("value"))
                kind, group = to_text(detail.get("type")), to_text(detail.get("group"))
                tags[name] = Tag(name, value, kind, group)
    return tags


def read_line(event: Event) -> LogLine | None:
    """Read a line of text from an event, None when the event is another one."""
    if event.name != names.LOG_EVENT:
        return None
    severity = event.attributes.get(names.LOG_SEVERITY)
    return LogLine(
        min(event.time_ns, 2**63 - 1),
        to_text(severity) if severity in names.SEVERITIES else "info",
        to_text(event.attributes.get(names.LOG_MESSAGE)),
    )


def read_judges(ours: Mapping[str, Value]) -> dict[str, Mapping[str, Value]]:
    """Read what is said of each judge: version, label, explanation, error, definition."""
    told = parse(ours.get(names.JUDGES))
    judges: dict[str, Mapping[str, Value]] = {}
    if isinstance(told, Mapping):
        judges = {name: what for name, what in told.items() if isinstance(what, Mapping)}
    for key in ours:
        if key.startswith(names.SCORE_PREFIX):
            judges.setdefault(key.removeprefix(names.SCORE_PREFIX), {})
        elif key.startswith(names.PASSED_PREFIX):
            judges.setdefault(key.removeprefix(names.PASSED_PREFIX), {})
    return judges


def read_score(
    ours: Mapping[str, Value], judge: str, told: Mapping[str, Value]
) -> tuple[float | None, bool | None]:
    """Read score and pass of one judge; where attributes are few they stand in what is `told`."""
    passed = ours.get(names.PASSED_PREFIX + judge, told.get("passed"))
    score = to_float(ours.get(names.SCORE_PREFIX + judge, told.get("score")))
    return score, passed if isinstance(passed, bool) else None


def _read_version(ours: Mapping[str, Value], found: Found) -> None:
    if names.MODEL_NAME in ours:
        found["model"] = to_text(ours[names.MODEL_NAME])
    if names.MODEL_VERSION in ours:
        found["digest"] = to_text(ours[names.MODEL_VERSION])
        found["structure"] = to_text(ours.get(names.MODEL_OUTPUT_SCHEMA))
        found["definition"] = to_text(ours.get(names.MODEL_DEFINITION))


def _read_payload(ours: Mapping[str, Value], found: Found) -> None:
    if names.INPUTS in ours:
        found["inputs"] = parse(ours[names.INPUTS])
    if names.OUTPUTS in ours:
        found["outputs"] = parse(ours[names.OUTPUTS])
    if names.PARAMS in ours:
        found["params"] = parse(ours[names.PARAMS])


def _tag(value: Value) -> TagValue:
    return value if isinstance(value, str | bool | int | float) else to_text(value)
