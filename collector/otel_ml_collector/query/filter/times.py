"""Conditions on times: against a moment, or against now less some length."""

from typing import Final

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.query.filter.values import SIGNS, Values, shown
from otel_ml_collector.query.language import Ago, Comparison
from otel_ml_collector.query.language.source import bad
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import from_rfc3339

_NOW: Final = Sql("toUnixTimestamp64Nano(now64(9))")


def time(values: Values, tree: Comparison) -> Sql:
    """Write a condition on when a run began or ended.

    Raises:
        BadQuery: The value is no time.
    """
    if tree.field.path:
        raise bad(f"{tree.field.name} has no parts: it is a time", tree.field.column)
    if tree.operator not in {"<", "<=", ">", ">="}:
        raise bad("Expected < <= > or >=: this is a time", tree.column)
    moment = _moment(values, tree)
    if tree.field.name == "start":
        test = Sql("start_ns {sign} {moment}")
    else:
        test = Sql("ifNull(start_ns + latency_ns {sign} {moment}, 0)")
    return test.fill(sign=SIGNS[tree.operator], moment=moment)


def _moment(values: Values, tree: Comparison) -> Sql:
    if isinstance(tree.value, Ago):
        return _NOW + Sql(" - ") + values.add("Int64", tree.value.length_ns)
    if not isinstance(tree.value, str):
        raise bad(
            f'Expected a time such as "2026-11-01" or last("24h"), found {_shown(tree)}',
            tree.column,
        )
    try:
        return values.add("Int64", from_rfc3339(tree.value, "where"))
    except BadQuery as error:
        raise bad(str(error), tree.column) from error


def _shown(tree: Comparison) -> str:
    return "several" if isinstance(tree.value, tuple) else shown(tree.value)
