"""Conditions on payloads: their text, and the parts of their JSON.

They are tests of a row of `payloads`, or of `open_runs`, that has the run's own key.
"""

from collections.abc import Sequence
from typing import Final

import orjson

from otel_ml_collector.query.filter.texts import test_text
from otel_ml_collector.query.filter.values import (
    CONTAINS,
    EQUALITY,
    NEGATIVE,
    Values,
    compare_number,
    like,
    text_of,
    values_of,
)
from otel_ml_collector.query.language import Ago, Comparison, Constant, Duration
from otel_ml_collector.query.language.names import FIELD_NAMES, Kind
from otel_ml_collector.query.language.source import bad
from otel_ml_collector.store.sql import EMPTY, Sql, identifier, join_sql

_KEY: Final = Sql("start_ns, trace_id, span_id, rank")
# The window is that of the question: it chooses the parts and granules that are read.
_WINDOW: Final = Sql(
    "project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}"
)
_TEXT: Final = Sql("JSONExtractString({at})")
_NUMBER: Final = Sql("JSONType({at}) IN ('Int64', 'UInt64', 'Double') AND JSONExtractFloat({at}) ")
# A text has it in it, a list among its texts, an object among its keys.
_CONTAINS: Final = Sql("""multiIf(
  JSONType({at}) = 'String', position(JSONExtractString({at}), {wanted}) > 0,
  JSONType({at}) = 'Object', JSONHas({at}, {wanted}),
  JSONType({at}) = 'Array', arrayExists(item -> JSONType(item) = 'String'
    AND JSONExtractString(item) = {wanted}, JSONExtractArrayRaw({at})),
  0)""")
# What is true in Python: nothing empty, no 0, no null.
_IS_TRUE: Final = Sql("""multiIf(
  JSONType({at}) = 'Bool', JSONExtractBool({at}),
  JSONType({at}) = 'String', JSONExtractString({at}) != '',
  JSONType({at}) IN ('Array', 'Object'), JSONLength({at}) > 0,
  JSONType({at}) IN ('Int64', 'UInt64', 'Double'), JSONExtractFloat({at}) != 0,
  0)""")


def beside(rest: Sql) -> Sql:
    """Write that only payloads of such runs are read for which another condition holds."""
    if not rest:
        return EMPTY
    return Sql("AND start_ns IN (SELECT start_ns FROM runs WHERE {window} AND {rest})").fill(
        window=_WINDOW, rest=rest
    )


def has_payload(tests: Sql, rest: Sql) -> Sql:
    """Write that the payload of a run passes some tests.

    Args:
        tests: SQL over a row of payloads.
        rest: A condition on `runs` that must hold as well; empty for none.
    """
    return Sql("""({key}) IN (
      SELECT {key} FROM payloads WHERE {window} AND {tests} {beside}
      UNION ALL
      SELECT {key} FROM (SELECT *, '' AS outputs FROM open_runs WHERE {window}) AS open
      WHERE {tests})""").fill(key=_KEY, window=_WINDOW, tests=tests, beside=beside(rest))


def test_payload(values: Values, tree: Comparison) -> Sql:
    """Write the test of one comparison; what is absent, or null, compares false."""
    column, path = identifier(tree.field.name, FIELD_NAMES), tree.field.path
    if not path and FIELD_NAMES[tree.field.name].kind is Kind.PAYLOAD:
        if tree.operator in CONTAINS:
            return _contains(values, tree, column)
        if tree.operator == "matches":
            root = Sql(
                "if(JSONType({column}) = 'String', JSONExtractString({column}), {column})"
            ).fill(column=column)
            return Sql("({column} != '' AND {test_text})").fill(
                column=column, test_text=test_text(values, tree, root)
            )
    return _Part(values, column, path).test(tree)


def is_indexed(tree: Comparison) -> bool:
    """Tell whether the words of a payload are found without reading all of them."""
    kind = FIELD_NAMES[tree.field.name].kind
    return kind is Kind.PAYLOAD and not tree.field.path and tree.operator == "contains"


def _contains(values: Values, tree: Comparison, column: Sql) -> Sql:
    """Search the JSON text, where the index on its words helps: LIKE asks that by itself."""
    inner = orjson.dumps(text_of(tree)).decode()[1:-1]
    sign = Sql("NOT LIKE") if tree.operator in NEGATIVE else Sql("LIKE")
    return Sql("({column} != '' AND {column} {sign} {value})").fill(
        column=column, sign=sign, value=values.add("String", like(inner))
    )


class _Part:
    """What stands at a path of a JSON text."""

    def __init__(self, values: Values, column: Sql, path: Sequence[str | int]) -> None:
        self._values = values
        steps = [column, *(_step(values, step) for step in path)]
        self._at = join_sql(", ", steps)
        # A number finds a member of an object too, and here it means a place in a list.
        self._lists = [
            Sql("JSONType({at}) = 'Array'").fill(at=join_sql(", ", steps[: place + 1]))
            for place, step in enumerate(path)
            if isinstance(step, int)
        ]

    def test(self, tree: Comparison) -> Sql:
        found = self._test(tree)
        if tree.operator in NEGATIVE:
            negation = Sql("JSONType({at}) != 'Null' AND NOT ({found})")
            found = negation.fill(at=self._at, found=found)
        found = join_sql(" AND ", [*self._lists, Sql("({found})").fill(found=found)])
        return Sql("({found})").fill(found=found)

    def _test(self, tree: Comparison) -> Sql:
        if tree.operator in EQUALITY:
            equal = [self._equals(value, tree) for value in values_of(tree)]
            return join_sql(" OR ", equal) if equal else Sql("0")
        if tree.operator in CONTAINS:
            wanted = self._values.add("String", text_of(tree))
            return _CONTAINS.fill(at=self._at, wanted=wanted)
        if tree.operator == "is":
            return _IS_TRUE.fill(at=self._at)
        if tree.operator == "matches":
            text = _TEXT.fill(at=self._at)
            test = test_text(self._values, tree, text)
            return Sql("JSONType({at}) = 'String' AND {test}").fill(at=self._at, test=test)
        return _NUMBER.fill(at=self._at) + compare_number(self._values, tree)

    def _equals(self, value: Constant, tree: Comparison) -> Sql:
        if isinstance(value, Ago | Duration):
            raise bad("Expected a text, a number, True or False, found a time", tree.column)
        if isinstance(value, bool):
            test = Sql("JSONType({at}) = 'Bool' AND JSONExtractBool({at}) = ").fill(at=self._at)
            return test + self._values.add("Bool", value)
        if isinstance(value, str):
            test = Sql("JSONType({at}) = 'String' AND JSONExtractString({at}) = ").fill(at=self._at)
            return test + self._values.add("String", value)
        return _NUMBER.fill(at=self._at) + Sql("= ") + self._values.add("Float64", value)


def _step(values: Values, step: str | int) -> Sql:
    """Write a step: places count from 1, and backwards from -1."""
    if isinstance(step, str):
        return values.add("String", step)
    return values.add("Int64", step + 1 if step >= 0 else step)
