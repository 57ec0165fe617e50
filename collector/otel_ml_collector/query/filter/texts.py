"""Conditions on texts of the light row, ids and keys among them."""

from collections.abc import Sequence
from typing import Final

from otel_ml_collector.owners import TRACE_KEY_CHARS
from otel_ml_collector.query.filter.values import (
    CONTAINS,
    EQUALITY,
    NEGATIVE,
    Values,
    check_text,
    text_of,
    values_of,
)
from otel_ml_collector.query.language import Comparison
from otel_ml_collector.query.language.source import bad

_RUN_ID: Final = "concat(lower(hex(trace_id)), '-', lower(hex(span_id)))"
_PARENT: Final = """if(parent_span_id = toFixedString('', 8), '',
  concat(lower(hex(trace_id)), '-', lower(hex(parent_span_id))))"""
_IDS: Final = {
    "trace_id": "lower(hex(trace_id))",
    "run_id": _RUN_ID,
    "parent_run_id": _PARENT,
}
_TRACE_ID_CHARS: Final = 32


def text(values: Values, tree: Comparison) -> str:
    """Write a condition on a text column."""
    return compare_text(values, tree, f"`{tree.field.name}`")


def identity(values: Values, tree: Comparison) -> str:
    """Write a condition on an id; equality looks only where in time the traces are."""
    found = compare_text(values, tree, _IDS[tree.field.name])
    ids = [value for value in values_of(tree) if isinstance(value, str)]
    if tree.operator not in {"==", "in"} or "" in ids:
        return found
    traces = sorted({value[:_TRACE_ID_CHARS] for value in ids})
    times = f"""FROM trace_index
      WHERE project = {{project:String}} AND key IN {values.add("Array(String)", traces)}"""
    return f"""(start_ns >= (SELECT min(start_ns) {times})
      AND start_ns <= (SELECT max(end_ns) {times}) AND {found})"""


def trace_key(values: Values, tree: Comparison) -> str:
    """Write a condition on the keys of a trace: one of them is enough; none is the empty text."""
    positive = tree.operator not in NEGATIVE
    if tree.operator in EQUALITY:
        for value in values_of(tree):
            check_text(value, tree.column)
        keys = [str(value)[:TRACE_KEY_CHARS] for value in values_of(tree)]
        table, test = "trace_index", f"key IN {values.add('Array(String)', keys)}"
        is_empty = "" in keys
    else:
        test = compare_text(values, _affirmed(tree), "key")
        table, is_empty = "trace_keys", tree.operator != "matches" and text_of(tree) == ""
    keyed = f"""SELECT trace_id FROM {table} WHERE project = {{project:String}}
      AND key != lower(hex(trace_id))"""  # noqa: S608 - fixed text; values are parameters
    found = f"trace_id IN ({keyed} AND {test})"
    if is_empty:
        found = f"({found} OR trace_id NOT IN ({_ALL_KEYED}))"
    return found if positive else f"NOT {found}"


def compare_text(values: Values, tree: Comparison, column: str) -> str:
    """Write a condition on an expression that is a text and never null.

    Raises:
        BadQuery: The operator or the value is none for a text.
    """
    if tree.field.path:
        raise bad(f"{tree.field.name} has no parts: it is a text", tree.field.column)
    return test_text(values, tree, column)


def test_text(values: Values, tree: Comparison, column: str) -> str:
    """Write a condition on a text, whatever it is a part of.

    Raises:
        BadQuery: The operator or the value is none for a text.
    """
    for value in values_of(tree):
        check_text(value, tree.column)
    if tree.operator in EQUALITY:
        return _equals(values, tree, column, [str(value) for value in values_of(tree)])
    if tree.operator in CONTAINS:
        sign = "=" if tree.operator in NEGATIVE else ">"
        return f"position({column}, {values.add('String', text_of(tree))}) {sign} 0"
    if tree.operator == "matches":
        return f"match({column}, {values.add('String', text_of(tree))})"
    raise bad("Expected == != in or matches: texts have no order here", tree.column)


def _equals(values: Values, tree: Comparison, column: str, wanted: Sequence[str]) -> str:
    if tree.operator in {"==", "!="}:
        sign = "=" if tree.operator == "==" else "!="
        return f"{column} {sign} {values.add('String', wanted[0])}"
    return f"{column} {tree.operator.upper()} {values.add('Array(String)', list(wanted))}"


def _affirmed(tree: Comparison) -> Comparison:
    operator = "contains" if tree.operator == "not contains" else tree.operator
    return Comparison(tree.field, operator, tree.value, tree.column)


_ALL_KEYED: Final = "SELECT trace_id FROM trace_keys WHERE project = {project:String}"
