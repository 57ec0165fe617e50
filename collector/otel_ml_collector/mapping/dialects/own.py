"""Our own dialect: reads the ``otel_ml.*`` attributes of a run. Spec: docs/wire.md."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from otel_ml import attributes as names
from otel_ml_collector.json_text import spell_numbers
from otel_ml_collector.mapping.chat import NOT_FOLLOWED
from otel_ml_collector.mapping.dialects.table import AttributeColumns
from otel_ml_collector.mapping.values import NAN, parse, read_payload, to_float, to_int, to_text
from otel_ml_collector.records import LineRecord, Tag, TagValue
from otel_ml_collector.span import Event, Span, Value
from otel_ml_collector.times import LATEST_NS

_PREFIX: Final = "otel_ml."
# These are in no column and are stored as attributes, like tags that cannot be parsed.
_KEPT: Final = {
    *(names.CAPTURE, names.OUTPUTS_CHUNKS, names.STREAM_CHUNKS, names.STREAM_FIRST_CHUNK_MS),
    *(names.TAGS, names.REUSED_FROM, names.STUBBED_FROM),
    *(names.JUDGING, names.JUDGING_RUN, names.JUDGING_VERSION),
    *(names.EXPERIMENT_NAME, names.EXPERIMENT_DATASET_VERSION, names.EXPERIMENT_ITEMS),
    *(names.EXPERIMENT_REPEATS, names.EXPERIMENT_BASELINE, names.EXPERIMENT_SOURCE),
    names.EXPERIMENT_COMPARISON,
}
_OF_ITEMS: Final = {
    "experiment": names.EXPERIMENT,
    "dataset": names.EXPERIMENT_DATASET,
    "item": names.ITEM_ID,
    "item_digest": names.ITEM_DIGEST,
}
_ITEM_CHARS: Final = 1_024
_MOST_REPEATS: Final = 2**32 - 1
_NOT_FOLLOWED: Final = '"not_followed"'  # part of the list of what was not captured


@dataclass(frozen=True, slots=True)
class OwnNames:
    """Attributes of a span whose names end with a name that the user chose: tags and judges.

    Attributes:
        tags: Pairs of an attribute such as ``otel_ml.tag.client`` and the tag's name, ``client``.
        judges: Names of judges for which the span has an attribute.
        is_judged: Whether any attribute may hold a score.
    """

    tags: Sequence[tuple[str, str]]
    judges: Sequence[str]
    is_judged: bool


def find_names(keys: Iterable[str]) -> OwnNames | None:
    """Find the names of otel-ml's own attributes (``otel_ml.*``); None if there are none."""
    items = [key for key in keys if key.startswith(_PREFIX)]
    if not items:
        return None
    judges = [
        key.removeprefix(prefix)
        for key in items
        for prefix in (names.SCORE_PREFIX, names.PASSED_PREFIX)
        if key.startswith(prefix)
    ]
    return OwnNames(_tag_names(items), judges, bool(judges) or names.JUDGES in items)


def stored_names(keys: Iterable[str]) -> set[str]:
    """Return the ``otel_ml.*`` attributes that are always stored in a field of a run."""
    return {key for key in keys if key.startswith(_PREFIX)} - _KEPT


def read_runs(spans: Sequence[Span], present: OwnNames, values: AttributeColumns) -> None:
    """Fill fields of runs from ``otel_ml.*`` attributes, which take precedence over all others."""
    there, run_columns = values.names, values.run_columns
    if names.MODEL_NAME in there or names.KIND in there:
        run_columns.fill("dialect", ["otel_ml"] * len(spans))
        texts = _texts(values, names.KIND)
        run_columns.fill("kind", [kind if kind in names.KINDS else "model" for kind in texts])
    if names.MODEL_NAME in there:
        run_columns.fill("model", _texts(values, names.MODEL_NAME))
    if names.MODEL_VERSION in there:
        run_columns.fill("digest", _texts(values, names.MODEL_VERSION))
        run_columns.fill("structure", _texts(values, names.MODEL_OUTPUT_SCHEMA))
        run_columns.fill("definition", _texts(values, names.MODEL_DEFINITION))
    _read_payloads(values)
    if names.OUTCOME in there:
        texts = _texts(values, names.OUTCOME)
        known = [at for at, outcome in enumerate(texts) if outcome in names.OUTCOMES]
        run_columns.fill("outcome", [texts[at] for at in known], known)
    if names.TRACE_KEY in there:
        keys = [[to_text(key)] if key else None for key in values.column(names.TRACE_KEY)]
        run_columns.fill("trace_keys", keys)
    if names.PROCESS in there:
        run_columns.fill("process", _texts(values, names.PROCESS))
        numbers = values.column(names.SEQ) if names.SEQ in there else [0] * len(spans)
        run_columns.fill("seq", [to_int(number) or 0 for number in numbers])
    _read_items(values)
    _read_own_tags(present, values)
    if any(span.events for span in spans):
        run_columns.fill("logs", [_lines(span) for span in spans])


def _texts(values: AttributeColumns, name: str) -> list[str]:
    """Return a column of texts; empty texts if the attribute is missing."""
    if name not in values.names:
        return [""] * len(values.spans)
    return [to_text(value) for value in values.column(name)]


def _read_payloads(values: AttributeColumns) -> None:
    there, run_columns = values.names, values.run_columns
    if names.INPUTS in there:
        run_columns.fill("inputs", [read_payload(value) for value in values.column(names.INPUTS)])
    if names.OUTPUTS in there:
        outputs = [read_payload(value) for value in values.column(names.OUTPUTS)]
        for at, text in enumerate(_texts(values, names.CAPTURE)):
            if _NOT_FOLLOWED in text:
                outputs[at] = NOT_FOLLOWED, outputs[at][1]
        run_columns.fill("outputs", outputs)
    if names.PARAMS in there:
        run_columns.fill(
            "params", [read_payload(value)[1] for value in values.column(names.PARAMS)]
        )


def _read_items(values: AttributeColumns) -> None:
    """Fill experiment, data set, item and repeat of runs."""
    for field, name in _OF_ITEMS.items():
        if name in values.names:
            texts = [text[:_ITEM_CHARS] for text in _texts(values, name)]
            values.run_columns.fill(field, texts)
    if names.ITEM_REPEAT in values.names:
        repeats = [to_int(value) or 0 for value in values.column(names.ITEM_REPEAT)]
        values.run_columns.fill(
            "repeat", [min(max(repeat, 0), _MOST_REPEATS) for repeat in repeats]
        )


def _read_own_tags(present: OwnNames, values: AttributeColumns) -> None:
    run_columns = values.run_columns
    columns = [(name, values.column(key)) for key, name in present.tags]
    tags = [
        {name: Tag(name, _tag(column[at])) for name, column in columns} for at in run_columns.every
    ]
    if names.TAGS in values.names:
        texts = values.column(names.TAGS)
        read = [at for at in run_columns.every if _add_details(texts[at], tags[at])]
        run_columns.use([names.TAGS], read)
    run_columns.fill("tags", tags)


def _lines(span: Span) -> list[LineRecord]:
    return [line for event in span.events if (line := read_line(event)) is not None]


def read_tags(attributes: Mapping[str, Value]) -> dict[str, Tag]:
    """Return tags by name, with types, groups and further tags from ``otel_ml.tags``."""
    tags = {name: Tag(name, _tag(attributes[key])) for key, name in _tag_names(attributes)}
    _add_details(attributes.get(names.TAGS), tags)
    return tags


def read_line(event: Event) -> LineRecord | None:
    """Return the log line of an event; None if the event is not a log line."""
    if event.name != names.LOG_EVENT:
        return None
    severity = event.attributes.get(names.LOG_SEVERITY)
    return LineRecord(
        min(event.time_ns, LATEST_NS),
        to_text(severity) if severity in names.SEVERITIES else "info",
        to_text(event.attributes.get(names.LOG_MESSAGE)),
    )


def read_judges(
    attributes: Mapping[str, Value], judged: Iterable[str]
) -> dict[str, Mapping[str, Value]]:
    """Return what each judge reported: version, label, explanation, error, definition."""
    document = parse(attributes.get(names.JUDGES))
    judges: dict[str, Mapping[str, Value]] = {}
    if isinstance(document, Mapping):
        judges = {name: what for name, what in document.items() if isinstance(what, Mapping)}
    for judge in judged:
        judges.setdefault(judge, {})
    return judges


def read_score(
    attributes: Mapping[str, Value], judge: str, facts: Mapping[str, Value]
) -> tuple[float | None, bool | None]:
    """Return the score of a judge, and whether the run passed it.

    Args:
        attributes: Attributes of the span.
        judge: Name of the judge.
        facts: JSON in one attribute of the span. The SDK writes the score there if the span limits
            of OpenTelemetry leave no room for more attributes.
    """
    passed = attributes.get(names.PASSED_PREFIX + judge, facts.get("passed"))
    score = to_float(attributes.get(names.SCORE_PREFIX + judge, facts.get("score")))
    return score, passed if isinstance(passed, bool) else None


def _tag_names(keys: Iterable[str]) -> list[tuple[str, str]]:
    return [
        (key, key.removeprefix(names.TAG_PREFIX))
        for key in keys
        if key.startswith(names.TAG_PREFIX)
    ]


def _add_details(value: Value, tags: dict[str, Tag]) -> bool:
    """Add types, groups and further tags from ``otel_ml.tags``; return False if it is invalid."""
    details = parse(value)
    if not isinstance(details, Mapping):
        return False
    for name, detail in details.items():
        if isinstance(detail, Mapping):
            value = tags[name].value if name in tags else _tag(detail.get("value"))
            kind, group = to_text(detail.get("type")), to_text(detail.get("group"))
            tags[name] = Tag(name, value, kind, group)
    return True


def _tag(value: Value) -> TagValue:
    if isinstance(value, float):
        return cast("TagValue", spell_numbers(value, NAN))
    return value if isinstance(value, str | bool | int) else to_text(value)
