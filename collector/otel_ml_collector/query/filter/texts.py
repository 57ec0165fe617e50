"""Conditions on texts of the light row, ids and keys among them."""

from collections.abc import Sequence
from typing import Final

from otel_ml_collector.owners import TRACE_KEY_CHARS
from otel_ml_collector.query.filter.values import (
    CONTAINS,
    EQUALITY,
    NEGATIVE,
    SIGNS,
    Values,
    check_text,
    text_of,
    values_of,
)
from otel_ml_collector.query.language import Comparison
from otel_ml_collector.query.language.names import FIELD_NAMES
from otel_ml_collector.query.language.source import bad
from otel_ml_collector.store.sql import Sql, identifier

_RUN_ID: Final = Sql("concat(lower(hex(trace_id)), '-', lower(hex(span_id)))")
_PARENT: Final = Sql("""if(parent_span_id = toFixedString('', 8), '',
  concat(lower(hex(trace_id)), '-', lower(hex(parent_span_id))))""")
_IDS: Final = {
    "trace_id": Sql("lower(hex(trace_id))"),
    "run_id": _RUN_ID,
    "parent_run_id": _PARENT,
}
_TRACE_ID_CHARS: Final = 32


def text(values: Values, tree: Comparison) -> Sql:
    """Write a condition on a text column."""
    return compare_text(
        values, tree, Sql("`{name}`").fill(name=identifier(tree.field.name, FIELD_NAMES))
    )


def identity(values: Values, tree: Comparison) -> Sql:
    """Write a condition on an id; equality looks only where in time the traces are."""
    found = compare_text(values, tree, _IDS[tree.field.name])
    ids = [value for value in values_of(tree) if isinstance(value, str)]
    if tree.operator not in {"==", "in"} or "" in ids:
        return found
    traces = sorted({value[:_TRACE_ID_CHARS] for value in ids})
    times = Sql("""FROM trace_index
      WHERE project = {project:String} AND key IN {value}""").fill(
        value=values.add("Array(String)", traces)
    )
    return Sql("""(start_ns >= (SELECT min(start_ns) {times})
      AND start_ns <= (SELECT max(end_ns) {times}) AND {found})""").fill(times=times, found=found)


def trace_key(values: Values, tree: Comparison) -> Sql:
    """Write a condition on the keys of a trace: one of them is enough; none is the empty text."""
    positive = tree.operator not in NEGATIVE
    if tree.operator in EQUALITY:
        for value in values_of(tree):
            check_text(value, tree.column)
        keys = [str(value)[:TRACE_KEY_CHARS] for value in values_of(tree)]
        table, test = (
            Sql("trace_index"),
            Sql("key IN {value}").fill(value=values.add("Array(String)", keys)),
        )
        is_empty = "" in keys
    else:
        test = compare_text(values, _affirmed(tree), Sql("key"))
        table, is_empty = Sql("trace_keys"), tree.operator != "matches" and text_of(tree) == ""
    keyed = Sql("""SELECT trace_id FROM {table} WHERE project = {project:String}
      AND key != lower(hex(trace_id))""").fill(table=table)
    found = Sql("trace_id IN ({keyed} AND {test})").fill(keyed=keyed, test=test)
    if is_empty:
        found = Sql("({found} OR trace_id NOT IN ({all_keyed}))").fill(
            found=found, all_keyed=_ALL_KEYED
        )
    return found if positive else Sql("NOT ") + found


def compare_text(values: Values, tree: Comparison, column: Sql) -> Sql:
    """Write a condition on an expression that is a text and never null.

    Raises:
        BadQuery: The operator or the value is none for a text.
    """
    if tree.field.path:
        raise bad(f"{tree.field.name} has no parts: it is a text", tree.field.column)
    return test_text(values, tree, column)


def test_text(values: Values, tree: Comparison, column: Sql) -> Sql:
    """Write a condition on a text, whatever it is a part of.

    Raises:
        BadQuery: The operator or the value is none for a text.
    """
    for value in values_of(tree):
        check_text(value, tree.column)
    if tree.operator in EQUALITY:
        return _equals(values, tree, column, [str(value) for value in values_of(tree)])
    if tree.operator in CONTAINS:
        found = values.add("String", text_of(tree))
        sign = Sql("=") if tree.operator in NEGATIVE else Sql(">")
        return Sql("position({column}, {found}) {sign} 0").fill(
            column=column, found=found, sign=sign
        )
    if tree.operator == "matches":
        return Sql("match({column}, {pattern})").fill(
            column=column, pattern=values.add("String", text_of(tree))
        )
    raise bad("Expected == != in or matches: texts have no order here", tree.column)


def _equals(values: Values, tree: Comparison, column: Sql, wanted: Sequence[str]) -> Sql:
    if tree.operator in {"==", "!="}:
        value = values.add("String", wanted[0])
    else:
        value = values.add("Array(String)", list(wanted))
    return Sql("{column} {sign} {value}").fill(
        column=column, sign=SIGNS[tree.operator], value=value
    )


def _affirmed(tree: Comparison) -> Comparison:
    operator = "contains" if tree.operator == "not contains" else tree.operator
    return Comparison(tree.field, operator, tree.value, tree.column)


_ALL_KEYED: Final = Sql("SELECT trace_id FROM trace_keys WHERE project = {project:String}")
