"""Conditions on times: against a moment, or against now less some length."""

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.query.filter.values import Values, shown, sign_of
from otel_ml_collector.query.language import Ago, Comparison
from otel_ml_collector.query.language.source import bad
from otel_ml_collector.query.times import from_rfc3339

_NOW = "toUnixTimestamp64Nano(now64(9))"


def time(values: Values, tree: Comparison) -> str:
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
        return f"start_ns {sign_of(tree)} {moment}"
    return f"ifNull(start_ns + latency_ns {sign_of(tree)} {moment}, 0)"


def _moment(values: Values, tree: Comparison) -> str:
    if isinstance(tree.value, Ago):
        return f"{_NOW} - {values.add('Int64', tree.value.length_ns)}"
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
