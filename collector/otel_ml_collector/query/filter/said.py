"""Conditions on what was said and measured of runs: scores, passes and metrics."""

from typing import Final

from otel_ml_collector.query.filter.values import (
    CONTAINS,
    NEGATIVE,
    SIGNS,
    Values,
    compare_number,
    text_of,
)
from otel_ml_collector.query.language import Comparison
from otel_ml_collector.query.language.source import bad
from otel_ml_collector.store.apart import Apart, points, scores
from otel_ml_collector.store.sql import Sql

_LAST: Final = Sql("""if(countIf(mode != 'single') > 0,
  argMaxIf(value, (time_ns, record_id, position), mode != 'single'),
  argMin(value, (time_ns, record_id, position)))""")


def score(values: Values, tree: Comparison, apart: Apart) -> Sql:
    """Write a condition on the newest score that a judge or a person gave."""
    if tree.field.key is None:
        return _has(values, tree, apart, Sql("score"))
    label = values.add("String", tree.field.key)
    return _said(label, Sql("score"), compare_number(values, tree), apart)


def passed(values: Values, tree: Comparison, apart: Apart) -> Sql:
    """Write ``passed["judge"] == True``."""
    if tree.field.key is None:
        return _has(values, tree, apart, Sql("passed"))
    if not isinstance(tree.value, bool) or tree.operator not in {"==", "!="}:
        raise bad("Expected == True or == False", tree.column)
    label = values.add("String", tree.field.key)
    test = SIGNS[tree.operator] + Sql(" ") + values.add("Bool", tree.value)
    return _said(label, Sql("passed"), test, apart)


def metric(values: Values, tree: Comparison, apart: Apart) -> Sql:
    """Write a condition on the last value of a metric that was logged."""
    key = tree.field.key
    is_there = key is None
    if key is None:
        key = _key(tree)
    label = values.add("String", key)
    test = Sql("1")
    if not is_there:
        test = Sql("ifNull({last} {test}, 0)").fill(last=_LAST, test=compare_number(values, tree))
    found = Sql("""(trace_id, span_id) IN (
      SELECT trace_id, span_id FROM ({points}) GROUP BY trace_id, span_id
      HAVING {test})""").fill(points=points(label, apart), test=test)
    return Sql("NOT ") + found if is_there and tree.operator in NEGATIVE else found


def _said(label: Sql, column: Sql, test: Sql, apart: Apart) -> Sql:
    """Test what a judge or a person said last of a run."""
    return Sql("""(trace_id, span_id) IN (
      SELECT trace_id, span_id FROM ({scores}) GROUP BY trace_id, span_id
      HAVING tupleElement(argMax(tuple({column}), (time_ns, judge_version, record_id)), 1)
        {test})""").fill(scores=scores(label, apart), column=column, test=test)


def _has(values: Values, tree: Comparison, apart: Apart, column: Sql) -> Sql:
    """Write whether there is anything: ``"grounded" in scores``."""
    found = _said(values.add("String", _key(tree)), column, Sql("IS NOT NULL"), apart)
    return Sql("NOT ") + found if tree.operator in NEGATIVE else found


def _key(tree: Comparison) -> str:
    if tree.field.path or tree.operator not in CONTAINS:
        raise bad(f'Expected a key as in {tree.field.name}["name"]', tree.field.column)
    return text_of(tree)
