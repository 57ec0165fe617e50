"""Which spans have a tag: what Jaeger finds, and whatever else a span shows, is found.

A value stands in the store as JSON text that one encoder wrote, so it is looked for as the pieces
``"name":value,`` and ``"name":value}``. Each subquery is held to the time of the question.
"""

from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml_collector.jaeger.attributes import FIELDS, MS_NS, PAYLOADS, readings, to_text
from otel_ml_collector.mapping.values import read_payload
from otel_ml_collector.records import text_of
from otel_ml_collector.span import STATUS_CODE, STATUS_DESCRIPTION
from otel_ml_collector.store.reader import READABLE
from otel_ml_collector.store.sql import Condition, Sql, identifier, join_sql, parameter
from otel_ml_collector.store.tables import PAYLOADS as PAYLOAD_TABLE
from otel_ml_collector.store.tables import RUNS

_KEY: Final = Sql("project, start_ns, trace_id, span_id")
_WITHIN: Final = Sql("{readable} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}").fill(
    readable=READABLE
)
# What Go takes for a bool.
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
# Where attributes of a span, its resource, its scope and its events stand as JSON text.
_PLACES: Final = (
    Sql("(multiSearchAny(attributes, {pieces}) AND JSONHas(attributes, {name}))"),
    Sql("(multiSearchAny(resource, {pieces}) AND JSONHas(resource, {name}))"),
    Sql("(multiSearchAny(scope, {pieces}) AND JSONHas(scope, 'attributes', {name}))"),
    Sql("""(multiSearchAny(events, {pieces}) AND arrayExists(
      event -> JSONHas(event, 'attributes', {name})
        AND multiSearchAny(JSONExtractRaw(event, 'attributes'), {pieces}),
      JSONExtractArrayRaw(events)))"""),
)
_OF_SCOPE: Final = {"otel.scope.name": Sql("'name'"), "otel.scope.version": Sql("'version'")}
_LINES: Final = {names.LOG_SEVERITY: "severity", names.LOG_MESSAGE: "message"}
_SIZES: Final = 2**62


class _Tag:
    """One tag that is asked for: it writes conditions, and collects the values of parameters."""

    def __init__(self, number: int, name: str, text: str) -> None:
        self._number = number
        self.name = name
        self.text = text
        self.values = readings(text)
        self.parameters: dict[str, Any] = {}

    def put(self, name: str, value: Any) -> Sql:
        """Add a text, a list of texts or a number, and write its place."""
        name = f"{name}_{self._number}"
        self.parameters[name] = value
        if isinstance(value, list):
            return parameter(name, "Array(String)")
        if isinstance(value, str):
            return parameter(name, "String")
        return parameter(name, "Int64" if isinstance(value, int) else "Float64")

    def pieces(self, name: str) -> list[str]:
        """Write what stands in JSON text where an attribute has the value."""
        key = orjson.dumps(name).decode()
        written = [orjson.dumps(value).decode() for value in (self.text, *self.values)]
        return [f"{key}:{value}{end}" for value in written for end in (",", "}")]

    @property
    def numbers(self) -> list[float]:
        """Return the numbers that are written as the text."""
        return [
            float(value)
            for value in self.values[:1]
            if isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) < _SIZES
        ]


def is_tagged(number: int, name: str, text: str) -> Condition:
    """Write the condition on `runs` for spans that have a tag.

    It needs ``start`` and ``end`` of the question.

    Args:
        number: Of the tag, for the names of its parameters.
        name: Of an attribute of a span, its resource, its scope or its events, or of a tag of the
            user's own; or `error`, `span.kind` and what else the span shows.
        text: The value as Jaeger writes it.
    """
    if name == "error":
        return Condition(_is_failed(text))
    tag = _Tag(number, name, text)
    found = [*_in_row(tag), *_in_payload(tag), *_in_scores(tag)]
    either = Sql("({any})").fill(any=join_sql(" OR ", found))
    return Condition(either, tag.parameters)


def _is_failed(text: str) -> Sql:
    if text in _TRUE:
        return Sql("outcome = 'error'")
    return Sql("outcome != 'error'") if text in _FALSE else Sql("0")


def _in_row(tag: _Tag) -> list[Sql]:
    """Write what holds of a light row."""
    own = tag.name.removeprefix(names.TAG_PREFIX)
    told = [tag.text, *map(text_of, tag.values)]
    tokens = tag.put("tokens", [f"{own}={one}" for one in told])
    found = [Sql("hasAny(tag_kv, {tokens})").fill(tokens=tokens)]
    if tag.name == "span.kind":
        kind = tag.put("kind", tag.text.lower())
        found.append(Sql("span_kind = {kind}").fill(kind=kind))
    if tag.name == STATUS_CODE and tag.text == "ERROR":
        found.append(Sql("outcome = 'error'"))
    if tag.name == STATUS_DESCRIPTION and tag.text:
        message = tag.put("message", tag.text)
        found.append(Sql("(outcome = 'error' AND error_message = {it})").fill(it=message))
    if tag.text:
        found += _in_columns(tag)
    return found


def _in_columns(tag: _Tag) -> list[Sql]:
    """Write what holds where a field of a run came by an attribute of the name."""
    text = tag.put("text", tag.text)
    found = []
    for field in (field for field, name in FIELDS.items() if name == tag.name):
        is_it = Sql("ifNull(toString({column}) = {text}, 0)").fill(
            column=identifier(field, RUNS.names()), text=text
        )
        only = Sql("({it} AND item != '')") if field == "repeat" else Sql("{it}")
        found.append(only.fill(it=is_it))
    if tag.name == names.LATENCY_MS:
        exact = [round(one * MS_NS) for one in tag.numbers]
        found += [
            Sql("(kind != 'span' AND latency_ns = {it})").fill(it=tag.put("latency", one))
            for one in exact
            if to_text(one / MS_NS) == tag.text
        ]
    if tag.name == names.PROCESS:
        found.append(Sql("process = {text}").fill(text=text))
    if tag.name == names.SEQ:
        found.append(Sql("(process != '' AND toString(seq) = {text})").fill(text=text))
    if tag.name == names.TRACE_KEY:
        found.append(
            Sql("""(kind != 'span' AND (project, trace_id) IN (
              SELECT project, trace_id FROM trace_index
              WHERE {readable} AND key = {text}))""").fill(readable=READABLE, text=text)
        )
    return found


def _in_payload(tag: _Tag) -> list[Sql]:
    """Write what holds where the text stands beside a light row."""
    pieces, name = tag.put("pieces", tag.pieces(tag.name)), tag.put("name", tag.name)
    found = [place.fill(pieces=pieces, name=name) for place in _PLACES]
    if key := _OF_SCOPE.get(tag.name):
        said = tag.put("scope", tag.text)
        found.append(Sql("JSONExtractString(scope, {key}) = {it}").fill(key=key, it=said))
    if line := _LINES.get(tag.name):
        lines = tag.put("lines", tag.pieces(line))
        found.append(Sql("multiSearchAny(logs, {lines})").fill(lines=lines))
    for column in (column for column, attribute in PAYLOADS.items() if attribute == tag.name):
        payload = tag.put("payload", read_payload(tag.text)[1])
        which = identifier(column, PAYLOAD_TABLE.names())
        found.append(Sql("{column} = {it}").fill(column=which, it=payload))
    return [_beside(Sql("payloads"), join_sql(" OR ", found))]


def _in_scores(tag: _Tag) -> list[Sql]:
    """Write what holds of runs that a judge gave the number or the pass."""
    found = []
    if tag.name.startswith(names.SCORE_PREFIX):
        judge = tag.put("judge", tag.name.removeprefix(names.SCORE_PREFIX))
        found = [
            Sql("judge = {judge} AND score = {it}").fill(judge=judge, it=tag.put("score", one))
            for one in tag.numbers
        ]
    if tag.name.startswith(names.PASSED_PREFIX) and tag.text in {"true", "false"}:
        judge = tag.put("judge", tag.name.removeprefix(names.PASSED_PREFIX))
        passed = tag.put("passed", tag.text)
        found = [Sql("judge = {judge} AND toString(passed) = {it}").fill(judge=judge, it=passed)]
    return [_beside(Sql("scores_by_judge FINAL"), one) for one in found]


def _beside(table: Sql, condition: Sql) -> Sql:
    return Sql("({key}) IN (SELECT {key} FROM {table} WHERE {within} AND ({condition}))").fill(
        key=_KEY, table=table, within=_WITHIN, condition=condition
    )
