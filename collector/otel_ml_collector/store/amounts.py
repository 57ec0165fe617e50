"""Tokens and cost of a run, alone and with the calls inside it, as SQL."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class RunAmounts:
    """The tokens and the cost of a run, as SQL over `runs`. No other place defines them.

    Attributes:
        is_resolved: Whether the query joins `shares`. Then a call that several runs record has its
            amounts once, so that they can be added up.
    """

    is_resolved: bool

    def read(self, name: str) -> Sql:
        """Write a sort of tokens or the cost; NULL if the run has none."""
        return counted(name) if self.is_resolved else identifier(name, (*TOKENS, "cost"))

    @property
    def cost(self) -> Sql:
        """The cost in dollars; NULL if it is not known."""
        return self.read("cost")

    @property
    def tokens(self) -> Sql:
        """The sum of input and output tokens; 0 for none."""
        used = [Sql("ifNull({n}, 0)").fill(n=self.read(name)) for name in TOKENS[:2]]
        return Sql("({n})").fill(n=join_sql(" + ", used))

    @property
    def tokens_with_inside(self) -> Sql:
        """The tokens, else those of the calls inside the run. The query joins `sum_inside`."""
        return Sql("if({n} > 0, {n}, inside_tokens)").fill(n=self.tokens)

    @property
    def cost_with_inside(self) -> Sql:
        """The cost, else that of the calls inside the run; 0 for none."""
        return Sql("if({n} > 0, {n}, inside_cost)").fill(n=self._paid)

    @property
    def _paid(self) -> Sql:
        return Sql("ifNull({n}, 0)").fill(n=self.cost)

    def sum_inside(self, runs: Sql, near: Sql = NEAR_WINDOW) -> Sql:
        """Write the join that adds the sums of the calls inside runs.

        Args:
            runs: A condition on the runs of the question.
            near: A condition on project and start that these runs and the calls inside them pass.
        """
        return _SUMS.fill(
            tokens=self.tokens,
            cost=self._paid,
            recorded=RECORDED,
            shares=shares(near) if self.is_resolved else EMPTY,
            near=near,
            runs=runs,
            no_span=_NO_SPAN,
            levels=_SPANS_BETWEEN,
        )
