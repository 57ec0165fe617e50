"""What a span said, put together again from where the store keeps it; both APIs are made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.records import Run, attributes_of
from otel_ml_collector.span import BINARY, STATUS_CODE, STATUS_DESCRIPTION
from otel_ml_collector.store.reader import Row, is_open, load_json, run_id_of

# Columns of a run as the attributes by which they came. Those of a version carry no name of theirs
# where they are declared: other dialects have none of them.
FIELDS: Final = {
    **attributes_of(Run),
    "digest": names.MODEL_VERSION,
    "structure": names.MODEL_OUTPUT_SCHEMA,
}
# Columns beside a run's light row, the same way.
PAYLOADS: Final = {"inputs": names.INPUTS, "outputs": names.OUTPUTS, "params": names.PARAMS}
# How much of one of them is shown, and of all in one answer.
VALUE_CHARS: Final = 65_536
ANSWER_BYTES: Final = 16 * 2**20
MS_NS: Final = 1_000_000
# Beyond it a number has an exponent, as Go writes it; the same below a millionth.
_LARGE: Final = 1e21
_SMALL: Final = 1e-6
# Said of runs over items of data sets alone.
_OF_ITEMS: Final = frozenset({"repeat"})


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """What is told of the runs of traces beside their rows.

    Attributes:
        payloads: Rows by project and run id.
        scores: What judges and people said, by run id, oldest first.
        keys: The user's own key of a trace, by project and trace id.
    """

    payloads: Mapping[tuple[str, str], Row] = field(default_factory=dict)
    scores: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    keys: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """A span with all that it said.

    Attributes:
        row: Its light row.
        attributes: In the order of their names.
        binary: Names of those that are bytes; their values are text in base64.
        resource: Of its sender. `scope`: name, version and attributes.
        events: In the order of time, each with name, time_ns and attributes.
        links: Each with trace_id, span_id and attributes.
        status: ``OK``, ``ERROR`` or empty, with what it says.
        warnings: What of it is not as it was sent.
    """

    row: Row
    attributes: Mapping[str, Any]
    binary: frozenset[str]
    resource: str
    scope: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    links: Sequence[Mapping[str, Any]]
    status: tuple[str, str]
    warnings: Sequence[str]


def read_facts(row: Row, told: TraceFacts) -> SpanFacts:
    """Put together what a span said."""
    payload = told.payloads.get((row["project"], run_id_of(row)), {})
    said = load_object(payload.get("attributes", ""))
    binary = frozenset(map(str, said.pop(BINARY, ())))
    failed = row["outcome"] == "error"
    code = to_text(said.pop(STATUS_CODE, "ERROR" if failed else ""))
    message = to_text(said.pop(STATUS_DESCRIPTION, row["error_message"] if failed else ""))
    warnings = [f"The span has no end: it is {row['outcome']}"] if is_open(row) else []
    attributes = {**_of_fields(row), **_of_payload(payload, warnings), **_of_run(row, told), **said}
    return SpanFacts(
        row=row,
        attributes=dict(sorted(attributes.items())),
        binary=binary,
        resource=payload.get("resource", ""),
        scope=load_object(payload.get("scope", "")),
        events=_events(payload),
        links=_load_list(payload.get("links", "")),
        status=(code, message),
        warnings=warnings,
    )


def load_object(text: str) -> dict[str, Any]:
    """Read a column of attributes; what was nested too deep to be kept as such is none."""
    found = load_json(text, {})
    return found if isinstance(found, dict) else {}


def _load_list(text: str) -> list[Any]:
    found = load_json(text, [])
    return found if isinstance(found, list) else []


def _of_fields(row: Row) -> dict[str, Any]:
    """Return the fields of its row that say something."""
    return {
        name: row[field]
        for field, name in FIELDS.items()
        if row.get(field) not in (None, "") and (field not in _OF_ITEMS or row["item"])
    }


def _of_payload(payload: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    """Return inputs, outputs and parameters; warn of each that is not whole."""
    found = {}
    for column, name in PAYLOADS.items():
        chars = payload.get(f"{column}_chars", 0)
        text = payload.get(column, "")
        if len(text) < chars:
            warnings.append(f"{name} is cut: {len(text)} of {chars} characters are shown")
        if text:
            found[name] = text
    return found


def _of_run(row: Row, told: TraceFacts) -> dict[str, Any]:
    """Return what is said of a run and not of other spans: tags, latency, scores, keys."""
    found = {f"{names.TAG_PREFIX}{name}": load_json(text) for name, text in row["tags"].items()}
    if row["kind"] == "span":
        return found
    if not is_open(row):
        found[names.LATENCY_MS] = row["latency_ns"] / MS_NS
    if row.get("process"):  # that of a run without an end is no part of its row
        found |= {names.PROCESS: row["process"], names.SEQ: row["seq"]}
    if key := told.keys.get((row["project"], row["trace_id"])):
        found[names.TRACE_KEY] = key
    return found | _of_judges(told.scores.get(run_id_of(row), ()))


def _of_judges(scores: Sequence[Row]) -> dict[str, Any]:
    """Return scores, passes and details, of each judge what it said last."""
    found: dict[str, Any] = {}
    details: dict[str, dict[str, str]] = {}
    for score in scores:
        judge = score["judge"]
        if score["score"] is not None:
            found[f"{names.SCORE_PREFIX}{judge}"] = score["score"]
        if score["passed"] is not None:
            found[f"{names.PASSED_PREFIX}{judge}"] = score["passed"]
        said = {key: score[key] for key in ("version", "label", "explanation", "error")}
        details[judge] = {key: value for key, value in said.items() if value}
    if any(details.values()):
        found[names.JUDGES] = orjson.dumps(details).decode()
    return found


def _events(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return events and lines of text in the order of time."""
    lines = [
        {
            "name": names.LOG_EVENT,
            "time_ns": line["time_ns"],
            "attributes": {
                names.LOG_SEVERITY: line["severity"],
                names.LOG_MESSAGE: line["message"],
            },
        }
        for line in _load_list(payload.get("logs", ""))
    ]
    events = [*lines, *_load_list(payload.get("events", ""))]
    return sorted(events, key=lambda event: int(event["time_ns"]))


def to_text(value: object) -> str:
    """Write a value as Jaeger does, which is as Go does: ``2`` for 2.0, ``2.5e+21``, lists as JSON.

    Spec: https://pkg.go.dev/go.opentelemetry.io/collector/pdata/pcommon#Value.AsString
    """
    if isinstance(value, str):
        return value
    return "" if value is None else _to_json(value)


def _to_json(value: object) -> str:
    match value:
        case dict():
            pairs = (f"{_to_json(name)}:{_to_json(one)}" for name, one in sorted(value.items()))
            return "{" + ",".join(pairs) + "}"
        case list():
            return "[" + ",".join(map(_to_json, value)) + "]"
        case float():
            return _write_float(value)
        case _:
            return orjson.dumps(value).decode()


def _write_float(value: float) -> str:
    digits, _, exponent = repr(value).partition("e")
    if value == 0 or _SMALL <= abs(value) < _LARGE:
        written = format(Decimal(repr(value)), "f")
        return written.removesuffix(".0")
    return f"{digits}e{int(exponent):+d}" if exponent else digits


def readings(text: str) -> list[Any]:
    """Return the values other than text that Jaeger would write as some text."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    if isinstance(value, str):
        return []
    same = [one for one in (value, _with_floats(value)) if to_text(one) == text]
    return [one for at, one in enumerate(same) if at == 0 or repr(one) != repr(same[0])]


def _with_floats(value: Any) -> Any:
    """Make floats of the integers in a value: both are written alike."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case list():
            return [_with_floats(one) for one in value]
        case dict():
            return {name: _with_floats(one) for name, one in value.items()}
        case _:
            return value
