"""Tokens and cost of runs with the calls inside them, as SQL."""

from typing import Final

from otel_ml.records import TOKENS
from otel_ml_collector.store.counted import RECORDED, counted, shares
from otel_ml_collector.store.sql import EMPTY, Sql, identifier, join_sql
from otel_ml_collector.times import DAY_NS

# Spans between a call and the run around it that is looked for.
_SPANS_BETWEEN: Final = 32
_NO_SPAN: Final = Sql("toFixedString('', 8)")
# What begins inside of a run of the window begins no later than that after it.
NEAR_WINDOW: Final = Sql("""project = {project:String} AND start_ns >= {start:Int64}
  AND start_ns < {end:Int64} + {day}""").fill(day=DAY_NS)
# The spans of a trace are folded into a map, and each call is added to all spans around it. Nothing
# of a judge's call is added to what it judged.
_SUMS: Final = Sql("""
  LEFT JOIN (
    SELECT trace_id AS inside_trace, around AS inside_span, sum(call.2) AS inside_tokens,
      sum(call.3) AS inside_cost
    FROM (
      SELECT trace_id, mapFromArrays(groupArray(span_id),
          groupArray(if(kind = 'judge', {no_span}, parent_span_id))) AS parents,
        groupArrayIf((parent_span_id, {tokens}, {cost}),
          kind != 'judge' AND ({tokens} > 0 OR {cost} > 0)) AS calls
      FROM {recorded} {shares}
      WHERE {near} AND trace_id IN (
        SELECT trace_id FROM {recorded} {shares} WHERE {runs} AND NOT ({tokens} > 0 AND {cost} > 0))
      GROUP BY trace_id
    )
    ARRAY JOIN calls AS call
    ARRAY JOIN arrayDistinct(arrayFold(
      (way, level) -> arrayPushBack(way, parents[way[-1]]), range({levels}), [call.1])) AS around
    WHERE around != {no_span}
    GROUP BY trace_id, around
  ) AS inside ON inside_trace = runs.trace_id AND inside_span = runs.span_id""")


def own_amounts(*, is_resolved: bool) -> tuple[Sql, Sql]:
    """Write the counted tokens and cost of a run without the calls inside it; 0 if there are none.

    Args:
        is_resolved: Whether the query joins `shares`.
    """
    tokens = [
        Sql("ifNull({n}, 0)").fill(n=counted(name) if is_resolved else identifier(name, TOKENS))
        for name in TOKENS[:2]
    ]
    cost = Sql("ifNull({n}, 0)").fill(n=counted("cost") if is_resolved else Sql("cost"))
    return Sql("({n})").fill(n=join_sql(" + ", tokens)), cost


def with_inside(*, is_resolved: bool) -> tuple[Sql, Sql]:
    """Write the tokens and cost of a run, for a query that joins `sum_inside`.

    They are the run's own amounts, else the sums of the calls inside it; 0 if there are none.
    """
    tokens, cost = own_amounts(is_resolved=is_resolved)
    return (
        Sql("if({n} > 0, {n}, inside_tokens)").fill(n=tokens),
        Sql("if({n} > 0, {n}, inside_cost)").fill(n=cost),
    )


def sum_inside(runs: Sql, *, is_resolved: bool, near: Sql = NEAR_WINDOW) -> Sql:
    """Write the join that adds the sums of the calls inside runs; `with_inside` reads its columns.

    Args:
        runs: A condition on the runs of the question.
        is_resolved: Whether amounts of the project are resolved.
        near: A condition on project and start that these runs and the calls inside them pass.
    """
    tokens, cost = own_amounts(is_resolved=is_resolved)
    return _SUMS.fill(
        tokens=tokens,
        cost=cost,
        recorded=RECORDED,
        shares=shares(near) if is_resolved else EMPTY,
        near=near,
        runs=runs,
        no_span=_NO_SPAN,
        levels=_SPANS_BETWEEN,
    )
