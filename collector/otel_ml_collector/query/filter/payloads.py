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

_KEY: Final = "start_ns, trace_id, span_id, rank"
# The window is that of the question: it chooses the parts and granules that are read.
_WINDOW: Final = (
    "project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}"
)


def beside(rest: str) -> str:
    """Write that only payloads of such runs are read for which another condition holds."""
    if not rest:
        return ""
    return f"AND start_ns IN (SELECT start_ns FROM runs WHERE {_WINDOW} AND {rest})"  # noqa: S608 - fixed text; values are parameters


def has_payload(tests: str, rest: str) -> str:
    """Write that the payload of a run passes some tests.

    Args:
        tests: SQL over a row of payloads.
        rest: A condition on `runs` that must hold as well; empty for none.
    """
    return f"""({_KEY}) IN (
      SELECT {_KEY} FROM payloads WHERE {_WINDOW} AND {tests} {beside(rest)}
      UNION ALL
      SELECT {_KEY} FROM (SELECT *, '' AS outputs FROM open_runs WHERE {_WINDOW}) AS open
      WHERE {tests})"""  # noqa: S608 - fixed text; values are parameters


def test_payload(values: Values, tree: Comparison) -> str:
    """Write the test of one comparison; what is absent, or null, compares false."""
    column, path = tree.field.name, tree.field.path
    if not path and FIELD_NAMES[column].kind is Kind.PAYLOAD:
        if tree.operator in CONTAINS:
            return _contains(values, tree, column)
        if tree.operator == "matches":
            root = f"if(JSONType({column}) = 'String', JSONExtractString({column}), {column})"
            return f"({column} != '' AND {test_text(values, tree, root)})"
    return _Part(values, column, path).test(tree)


def is_indexed(tree: Comparison) -> bool:
    """Tell whether the words of a payload are found without reading all of them."""
    kind = FIELD_NAMES[tree.field.name].kind
    return kind is Kind.PAYLOAD and not tree.field.path and tree.operator == "contains"


def _contains(values: Values, tree: Comparison, column: str) -> str:
    """Search the JSON text, where the index on its words helps: LIKE asks that by itself."""
    inner = orjson.dumps(text_of(tree)).decode()[1:-1]
    sign = "NOT LIKE" if tree.operator in NEGATIVE else "LIKE"
    return f"({column} != '' AND {column} {sign} {values.add('String', like(inner))})"


class _Part:
    """What stands at a path of a JSON text."""

    def __init__(self, values: Values, column: str, path: Sequence[str | int]) -> None:
        self._values = values
        steps = [_step(values, step) for step in path]
        self._at = ", ".join([column, *steps])
        self._type = f"JSONType({self._at})"
        # A number finds a member of an object too, and here it means a place in a list.
        self._lists = [
            f"JSONType({', '.join([column, *steps[:place]])}) = 'Array'"
            for place, step in enumerate(path)
            if isinstance(step, int)
        ]

    def test(self, tree: Comparison) -> str:
        if tree.operator in EQUALITY:
            found = " OR ".join(self._equals(value, tree) for value in values_of(tree)) or "0"
        elif tree.operator in CONTAINS:
            found = self._contains(text_of(tree))
        elif tree.operator == "is":
            found = self._is_true
        elif tree.operator == "matches":
            found = f"{self._type} = 'String' AND {test_text(self._values, tree, self._text)}"
        else:
            found = f"{self._is_number} AND {self._number} {compare_number(self._values, tree)}"
        if tree.operator in NEGATIVE:
            found = f"{self._type} != 'Null' AND NOT ({found})"
        return f"({' AND '.join([*self._lists, f'({found})'])})"

    def _equals(self, value: Constant, tree: Comparison) -> str:
        if isinstance(value, Ago | Duration):
            raise bad("Expected a text, a number, True or False, found a time", tree.column)
        if isinstance(value, bool):
            bit = self._values.add("Bool", value)
            return f"{self._type} = 'Bool' AND JSONExtractBool({self._at}) = {bit}"
        if isinstance(value, str):
            return f"{self._type} = 'String' AND {self._text} = {self._values.add('String', value)}"
        return f"{self._is_number} AND {self._number} = {self._values.add('Float64', value)}"

    def _contains(self, text: str) -> str:
        """A text has it in it, a list among its texts, an object among its keys."""
        wanted = self._values.add("String", text)
        return f"""multiIf(
          {self._type} = 'String', position({self._text}, {wanted}) > 0,
          {self._type} = 'Object', JSONHas({self._at}, {wanted}),
          {self._type} = 'Array', arrayExists(item -> JSONType(item) = 'String'
            AND JSONExtractString(item) = {wanted}, JSONExtractArrayRaw({self._at})),
          0)"""

    @property
    def _is_true(self) -> str:
        """What is true in Python: nothing empty, no 0, no null."""
        return f"""multiIf(
          {self._type} = 'Bool', JSONExtractBool({self._at}),
          {self._type} = 'String', {self._text} != '',
          {self._type} IN ('Array', 'Object'), JSONLength({self._at}) > 0,
          {self._is_number}, {self._number} != 0,
          0)"""

    @property
    def _text(self) -> str:
        return f"JSONExtractString({self._at})"

    @property
    def _number(self) -> str:
        return f"JSONExtractFloat({self._at})"

    @property
    def _is_number(self) -> str:
        return f"{self._type} IN ('Int64', 'UInt64', 'Double')"


def _step(values: Values, step: str | int) -> str:
    """Write a step: places count from 1, and backwards from -1."""
    if isinstance(step, str):
        return values.add("String", step)
    return values.add("Int64", step + 1 if step >= 0 else step)
