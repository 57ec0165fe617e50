"""Conditions on what was said and measured of runs: scores, passes and metrics."""

from typing import Final

from otel_ml_collector.query.filter.values import (
    CONTAINS,
    NEGATIVE,
    Values,
    compare_number,
    sign_of,
    text_of,
)
from otel_ml_collector.query.language import Comparison
from otel_ml_collector.query.language.source import bad
from otel_ml_collector.store.apart import Apart, points, scores

_ORDER: Final = "time_ns, judge_version, record_id"
_LAST: Final = """if(countIf(mode != 'single') > 0,
  argMaxIf(value, (time_ns, record_id, position), mode != 'single'),
  argMin(value, (time_ns, record_id, position)))"""


def score(values: Values, tree: Comparison, apart: Apart) -> str:
    """Write a condition on the newest score that a judge or a person gave."""
    if tree.field.key is None:
        return _has(values, tree, apart, "score")
    label = values.add("String", tree.field.key)
    return _said(label, "score", compare_number(values, tree), apart)


def passed(values: Values, tree: Comparison, apart: Apart) -> str:
    """Write ``passed["judge"] == True``."""
    if tree.field.key is None:
        return _has(values, tree, apart, "passed")
    if not isinstance(tree.value, bool) or tree.operator not in {"==", "!="}:
        raise bad("Expected == True or == False", tree.column)
    label = values.add("String", tree.field.key)
    return _said(label, "passed", f"{sign_of(tree)} {values.add('Bool', tree.value)}", apart)


def metric(values: Values, tree: Comparison, apart: Apart) -> str:
    """Write a condition on the last value of a metric that was logged."""
    key = tree.field.key
    is_there = key is None
    if key is None:
        key = _key(tree)
    label = values.add("String", key)
    test = "1" if is_there else f"ifNull({_LAST} {compare_number(values, tree)}, 0)"
    found = f"""(trace_id, span_id) IN (
      SELECT trace_id, span_id FROM ({points(label, apart)}) GROUP BY trace_id, span_id
      HAVING {test})"""  # noqa: S608 - fixed text; values are parameters
    return f"NOT {found}" if is_there and tree.operator in NEGATIVE else found


def _said(label: str, column: str, test: str, apart: Apart) -> str:
    """Test what a judge or a person said last of a run."""
    return f"""(trace_id, span_id) IN (
      SELECT trace_id, span_id FROM ({scores(label, apart)}) GROUP BY trace_id, span_id
      HAVING tupleElement(argMax(tuple({column}), ({_ORDER})), 1) {test})"""  # noqa: S608 - fixed text; values are parameters


def _has(values: Values, tree: Comparison, apart: Apart, column: str) -> str:
    """Write whether there is anything: ``"grounded" in scores``."""
    found = _said(values.add("String", _key(tree)), column, "IS NOT NULL", apart)
    return f"NOT {found}" if tree.operator in NEGATIVE else found


def _key(tree: Comparison) -> str:
    if tree.field.path or tree.operator not in CONTAINS:
        raise bad(f'Expected a key as in {tree.field.name}["name"]', tree.field.column)
    return text_of(tree)
