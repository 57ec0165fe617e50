"""Rebuilds spans as they were sent, from the store, and searches spans by tag.

Both versions of the API show spans in this form, and the search matches everything that is shown.
The store holds values as JSON text written by a single encoder. So the search looks for the texts
``"name":value,`` and ``"name":value}``. Every subquery is limited to the time range of the request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.records import Run, attributes_of
from otel_ml_collector.mapping.values import read_payload
from otel_ml_collector.records import text_of
from otel_ml_collector.span import BINARY, OTLP, STATUS_CODE, STATUS_DESCRIPTION
from otel_ml_collector.store.reader import READABLE, Row, is_open, load_json, run_id_of, span_of
from otel_ml_collector.store.scores import with_score
from otel_ml_collector.store.sql import Condition, Sql, identifier, join_sql, parameter
from otel_ml_collector.store.tables import PAYLOADS as PAYLOAD_TABLE
from otel_ml_collector.store.tables import RUNS

# Columns of a run and the attributes from which they are filled. The columns of a model version are
# added here, because only our own dialect has attributes for them.
FIELDS: Final = {
    **attributes_of(Run),
    "digest": names.MODEL_VERSION,
    "structure": names.MODEL_OUTPUT_SCHEMA,
}
# Columns of the payloads table and their attributes.
PAYLOADS: Final = {"inputs": names.INPUTS, "outputs": names.OUTPUTS, "params": names.PARAMS}
# Limits: characters per value, and bytes of all values in one answer.
VALUE_CHARS: Final = 65_536
ANSWER_BYTES: Final = 16 * 2**20
MS_NS: Final = 1_000_000
# Numbers from this size on, or below a millionth, are written with an exponent, as in Go.
_LARGE: Final = 1e21
_SMALL: Final = 1e-6
# Only shown for runs of experiments.
_OF_ITEMS: Final = frozenset({"repeat"})
# The key of a span in each table, and the time range of a request.
SPAN_KEY: Final = Sql("project, start_ns, trace_id, span_id")
WITHIN: Final = Sql("{readable} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}").fill(
    readable=READABLE
)
# Texts that Go parses as a bool.
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
# Conditions that find an attribute in the JSON text of a span, its resource, scope, events or
# links.
_ATTRIBUTE_TESTS: Final = (
    Sql("(multiSearchAny(attributes, {pieces}) AND JSONHas(attributes, {name}))"),
    Sql("(multiSearchAny(resource, {pieces}) AND JSONHas(resource, {name}))"),
    Sql("(multiSearchAny(scope, {pieces}) AND JSONHas(scope, 'attributes', {name}))"),
    Sql("""(multiSearchAny(events, {pieces}) AND arrayExists(
      event -> JSONHas(event, 'attributes', {name})
        AND multiSearchAny(JSONExtractRaw(event, 'attributes'), {pieces}),
      JSONExtractArrayRaw(events)))"""),
    Sql("""(multiSearchAny(links, {pieces}) AND arrayExists(
      link -> JSONHas(link, 'attributes', {name})
        AND multiSearchAny(JSONExtractRaw(link, 'attributes'), {pieces}),
      JSONExtractArrayRaw(links)))"""),
)
_OF_SCOPE: Final = {"otel.scope.name": Sql("'name'"), "otel.scope.version": Sql("'version'")}
# Jaeger's tag for the trace state.
TRACE_STATE: Final = "w3c.tracestate"
_LINES: Final = {names.LOG_SEVERITY: "severity", names.LOG_MESSAGE: "message"}
_SIZES: Final = 2**62


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """Data of the spans of some traces that is not stored in the table of runs.

    Attributes:
        payloads: Inputs, outputs and other large columns of each span, as a row. The key is the
            project and `span_of` (run ID and start time).
        scores: Scores of judges and reviewers, by ID of the run, oldest first.
        keys: The user's own trace key, by project and trace ID.
    """

    payloads: Mapping[tuple[str, tuple[str, int]], Row] = field(default_factory=dict)
    scores: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    keys: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """A span with all of its fields and attributes.

    Attributes:
        row: The row of the span in the table of runs, which has no inputs and outputs.
        attributes: Attributes, sorted by name.
        binary: Names of attributes that are bytes. Their values are base64 text.
        resource: Attributes of the resource, as JSON text.
        scope: Name, version and attributes of the scope.
        events: Events in order of time, each with name, time_ns and attributes.
        links: Links, each with trace_id, span_id and attributes.
        otlp: Trace state, flags and dropped counts, as in `Span.otlp`.
        status: ``OK``, ``ERROR`` or empty, and the status message.
        warnings: Notes about parts that differ from what was sent.
    """

    row: Row
    attributes: Mapping[str, Any]
    binary: frozenset[str]
    resource: str
    scope: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    links: Sequence[Mapping[str, Any]]
    otlp: Mapping[str, Any]
    status: tuple[str, str]
    warnings: Sequence[str]


def read_facts(row: Row, trace_facts: TraceFacts) -> SpanFacts:
    """Return a span with its fields and attributes as they were sent."""
    payload = trace_facts.payloads.get((row["project"], span_of(row)), {})
    document = load_object(payload.get("attributes", ""))
    binary = frozenset(map(str, document.pop(BINARY, ())))
    otlp = document.pop(OTLP, {})
    failed = row["outcome"] == "error"
    code = to_text(document.pop(STATUS_CODE, "ERROR" if failed else ""))
    message = to_text(document.pop(STATUS_DESCRIPTION, row["error_message"] if failed else ""))
    warnings = [f"The span has not ended: it is {row['outcome']}"] if is_open(row) else []
    attributes = {
        **_of_fields(row),
        **_of_payload(payload, warnings),
        **_of_run(row, trace_facts),
        **document,
    }
    return SpanFacts(
        row=row,
        attributes=dict(sorted(attributes.items())),
        binary=binary,
        resource=payload.get("resource", ""),
        scope=load_object(payload.get("scope", "")),
        events=_events(payload),
        links=_load_list(payload.get("links", "")),
        otlp=otlp if isinstance(otlp, dict) else {},
        status=(code, message),
        warnings=warnings,
    )


def load_object(text: str) -> dict[str, Any]:
    """Return a column of attributes as a dictionary; empty if it was too deeply nested to store."""
    document = load_json(text, {})
    return document if isinstance(document, dict) else {}


def _load_list(text: str) -> list[Any]:
    document = load_json(text, [])
    return document if isinstance(document, list) else []


def _of_fields(row: Row) -> dict[str, Any]:
    """Return the columns of a row that have a value, by attribute name."""
    return {
        name: row[field]
        for field, name in FIELDS.items()
        if row.get(field) not in (None, "") and (field not in _OF_ITEMS or row["item"])
    }


def _of_payload(payload: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    """Return inputs, outputs and parameters. Add a warning for each that is cut."""
    entries = {}
    for column, name in PAYLOADS.items():
        chars = payload.get(f"{column}_chars", 0)
        text = payload.get(column, "")
        if len(text) < chars:
            warnings.append(f"{name} is cut: {len(text)} of {chars} characters are shown")
        if text:
            entries[name] = text
    return entries


def _of_run(row: Row, trace_facts: TraceFacts) -> dict[str, Any]:
    """Return the tags of a span, and for runs also latency, scores and keys."""
    facts = {f"{names.TAG_PREFIX}{name}": load_json(text) for name, text in row["tags"].items()}
    if row["kind"] == "span":
        return facts
    if not is_open(row):
        facts[names.LATENCY_MS] = row["latency_ns"] / MS_NS
    if row.get("process"):  # runs without an end have none in their row
        facts |= {names.PROCESS: row["process"], names.SEQ: row["seq"]}
    if key := trace_facts.keys.get((row["project"], row["trace_id"])):
        facts[names.TRACE_KEY] = key
    return facts | _of_judges(trace_facts.scores.get(run_id_of(row), ()))


def _of_judges(scores: Sequence[Row]) -> dict[str, Any]:
    """Return score, pass mark and details from the last score of each judge."""
    entries: dict[str, Any] = {}
    details: dict[str, dict[str, str]] = {}
    for score in scores:
        judge = score["judge"]
        if score["score"] is not None:
            entries[f"{names.SCORE_PREFIX}{judge}"] = score["score"]
        if score["passed"] is not None:
            entries[f"{names.PASSED_PREFIX}{judge}"] = score["passed"]
        facts = {key: score[key] for key in ("version", "label", "explanation", "error")}
        details[judge] = {key: value for key, value in facts.items() if value}
    if any(details.values()):
        entries[names.JUDGES] = orjson.dumps(details).decode()
    return entries


def _events(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return events and log lines in order of time."""
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
    """Return a value as text in the format of Jaeger and Go.

    For example ``2`` for 2.0, ``2.5e+21``, and JSON for lists.

    Spec: https://pkg.go.dev/go.opentelemetry.io/collector/pdata/pcommon#Value.AsString
    """
    if isinstance(value, str):
        return value
    return "" if value is None else _to_json(value)


def _to_json(value: object) -> str:
    match value:
        case dict():
            pairs = (f"{_to_json(name)}:{_to_json(value)}" for name, value in sorted(value.items()))
            return "{" + ",".join(pairs) + "}"
        case list():
            return "[" + ",".join(map(_to_json, value)) + "]"
        case float():
            digits, _, exponent = repr(value).partition("e")
            if value == 0 or _SMALL <= abs(value) < _LARGE:
                written = format(Decimal(repr(value)), "f")
                return written.removesuffix(".0")
            return f"{digits}e{int(exponent):+d}" if exponent else digits
        case _:
            return orjson.dumps(value).decode()


def readings(text: str) -> list[Any]:
    """Return the numbers, lists and other values that Jaeger would write as this text."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    if isinstance(value, str):
        return []
    same = [part for part in (value, _with_floats(value)) if to_text(part) == text]
    return [item for at, item in enumerate(same) if at == 0 or repr(item) != repr(same[0])]


def _with_floats(value: Any) -> Any:
    """Return a value with all integers as floats, because Jaeger writes both in the same way."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case list():
            return [_with_floats(item) for item in value]
        case dict():
            return {name: _with_floats(value) for name, value in value.items()}
        case _:
            return value


class _Tag:
    """One tag of a search. Builds conditions and collects their query parameters."""

    def __init__(self, number: int, name: str, text: str) -> None:
        self._number = number
        self.name = name
        self.text = text
        self.values = readings(text)
        self.parameters: dict[str, Any] = {}

    def put(self, name: str, value: Any) -> Sql:
        """Add a query parameter and return its placeholder."""
        name = f"{name}_{self._number}"
        self.parameters[name] = value
        if isinstance(value, list):
            return parameter(name, "Array(String)")
        if isinstance(value, str):
            return parameter(name, "String")
        return parameter(name, "Int64" if isinstance(value, int) else "Float64")

    def pieces(self, name: str) -> list[str]:
        """Return the JSON texts to search for: those that occur if an attribute has this value."""
        key = orjson.dumps(name).decode()
        written = [orjson.dumps(value).decode() for value in (self.text, *self.values)]
        return [f"{key}:{value}{end}" for value in written for end in (",", "}")]

    @property
    def numbers(self) -> list[float]:
        """The numbers that Jaeger would write as this text."""
        return [
            float(value)
            for value in self.values[:1]
            if isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) < _SIZES
        ]


def is_tagged(number: int, name: str, text: str) -> Condition:
    """Return the SQL condition on the table `runs` that selects spans with a tag.

    The query needs the parameters ``start`` and ``end``.

    Args:
        number: Number of the tag, used in the names of its parameters.
        name: Name of the tag in Jaeger: an attribute of the span, its resource, scope, events or
            links, a tag of otel-ml, `error`, `span.kind`, or another field that Jaeger shows.
        text: Value as Jaeger writes it.
    """
    if name == "error":
        return Condition(_is_failed(text))
    tag = _Tag(number, name, text)
    items = [*_in_row(tag), *_in_payload(tag), *_in_scores(tag)]
    either = Sql("({any})").fill(any=join_sql(" OR ", items))
    return Condition(either, tag.parameters)


def _is_failed(text: str) -> Sql:
    if text in _TRUE:
        return Sql("outcome = 'error'")
    return Sql("outcome != 'error'") if text in _FALSE else Sql("0")


def _in_row(tag: _Tag) -> list[Sql]:
    """Return the conditions on a row without payloads for a tag."""
    own = tag.name.removeprefix(names.TAG_PREFIX)
    texts = [tag.text, *map(text_of, tag.values)]
    tokens = tag.put("tokens", [f"{own}={text}" for text in texts])
    sqls = [Sql("hasAny(tag_kv, {tokens})").fill(tokens=tokens)]
    if tag.name == "span.kind":
        kind = tag.put("kind", tag.text.lower())
        sqls.append(Sql("span_kind = {kind}").fill(kind=kind))
    if tag.name == STATUS_CODE and tag.text == "ERROR":
        sqls.append(Sql("outcome = 'error'"))
    if tag.name == STATUS_DESCRIPTION and tag.text:
        message = tag.put("message", tag.text)
        sqls.append(Sql("(outcome = 'error' AND error_message = {it})").fill(it=message))
    if tag.text:
        sqls += _in_columns(tag)
    return sqls


def _in_columns(tag: _Tag) -> list[Sql]:
    """Return the conditions on columns that are filled from an attribute with the tag's name."""
    text = tag.put("text", tag.text)
    in_columns = []
    for column in (column for column, name in FIELDS.items() if name == tag.name):
        is_it = Sql("ifNull(toString({column}) = {text}, 0)").fill(
            column=identifier(column, RUNS.names()), text=text
        )
        only = Sql("({it} AND item != '')") if column == "repeat" else Sql("{it}")
        in_columns.append(only.fill(it=is_it))
    if tag.name == names.LATENCY_MS:
        exact = [round(number * MS_NS) for number in tag.numbers]
        in_columns += [
            Sql("(kind != 'span' AND latency_ns = {it})").fill(it=tag.put("latency", item))
            for item in exact
            if to_text(item / MS_NS) == tag.text
        ]
    if tag.name == names.PROCESS:
        in_columns.append(Sql("process = {text}").fill(text=text))
    if tag.name == names.SEQ:
        in_columns.append(Sql("(process != '' AND toString(seq) = {text})").fill(text=text))
    if tag.name == names.TRACE_KEY:
        in_columns.append(
            Sql("""(kind != 'span' AND (project, trace_id) IN (
              SELECT project, trace_id FROM trace_index
              WHERE {readable} AND key = {text}))""").fill(readable=READABLE, text=text)
        )
    return in_columns


def _in_payload(tag: _Tag) -> list[Sql]:
    """Return the conditions on the payloads table for a tag."""
    pieces, name = tag.put("pieces", tag.pieces(tag.name)), tag.put("name", tag.name)
    items = [place.fill(pieces=pieces, name=name) for place in _ATTRIBUTE_TESTS]
    if key := _OF_SCOPE.get(tag.name):
        text = tag.put("scope", tag.text)
        items.append(Sql("JSONExtractString(scope, {key}) = {it}").fill(key=key, it=text))
    if tag.name == TRACE_STATE:
        text = tag.put("state", tag.text)
        items.append(
            Sql("JSONExtractString(attributes, '{otlp}', 'trace_state') = {it}").fill(
                otlp=Sql(OTLP), it=text
            )
        )
    if line := _LINES.get(tag.name):
        lines = tag.put("lines", tag.pieces(line))
        items.append(Sql("multiSearchAny(logs, {lines})").fill(lines=lines))
    for column in (column for column, attribute in PAYLOADS.items() if attribute == tag.name):
        payload = tag.put("payload", read_payload(tag.text)[1])
        which = identifier(column, PAYLOAD_TABLE.names())
        items.append(Sql("{column} = {it}").fill(column=which, it=payload))
    sql = Sql("({key}) IN (SELECT {key} FROM payloads WHERE {within} AND ({any}))")
    return [sql.fill(key=SPAN_KEY, within=WITHIN, any=join_sql(" OR ", items))]


def _in_scores(tag: _Tag) -> list[Sql]:
    """Return the conditions on scores for a tag with a judge's score or pass mark."""
    items = []
    if tag.name.startswith(names.SCORE_PREFIX):
        judge = tag.put("judge", tag.name.removeprefix(names.SCORE_PREFIX))
        items = [
            Sql("judge = {judge} AND score = {it}").fill(judge=judge, it=tag.put("score", number))
            for number in tag.numbers
        ]
    if tag.name.startswith(names.PASSED_PREFIX) and tag.text in {"true", "false"}:
        judge = tag.put("judge", tag.name.removeprefix(names.PASSED_PREFIX))
        passed = tag.put("passed", tag.text)
        items = [Sql("judge = {judge} AND toString(passed) = {it}").fill(judge=judge, it=passed)]
    return [with_score(WITHIN, item) for item in items]
