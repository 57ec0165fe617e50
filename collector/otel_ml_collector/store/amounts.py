"""Defines the tokens and the cost of a run, as SQL over `runs`. No other place defines them.

* *Own*: what the run recorded, completed by other records of its call. Lists and filters use it.
* *Counted*: what totals add up. If several runs record a call, one of them has its tokens and cost.
  An agent that reports the sum of its calls has none.
* *With inside*: what the run used. That is its counted values, else those of the runs inside it.
  Use it for a single run or an average run: comparisons, slices, `mean(cost)`.

Design record: docs/design/059-measures.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from otel_ml.records import TOKENS
from otel_ml_collector.store.counted import RECORDED, counted
from otel_ml_collector.store.sql import Sql, identifier
from otel_ml_collector.times import DAY_NS

# Maximum number of levels between a call and the runs that it is added to.
_SPANS_BETWEEN: Final = 32
_NO_SPAN: Final = Sql("toFixedString('', 8)")
# A call inside a run starts at most a day after the run, so the window is a day longer.
NEAR_WINDOW: Final = Sql("""project = {project:String} AND start_ns >= {start:Int64}
  AND start_ns < {end:Int64} + {day}""").fill(day=DAY_NS)
# The spans of a trace become a map from span to parent, and each call is added to all spans around
# it. Calls of judges are not added to the runs that they judge.
_SUMS: Final = Sql("""
  LEFT JOIN (
    SELECT trace_id AS inside_trace, around AS inside_span, sum(call.2) AS inside_tokens,
      sum(call.3) AS inside_cost
    FROM (
      SELECT trace_id, mapFromArrays(groupArray(span_id),
          groupArray(if(kind = 'judge', {no_span}, parent_span_id))) AS parents,
        groupArrayIf((parent_span_id, {tokens}, {cost}),
          kind != 'judge' AND ({tokens} > 0 OR {cost} > 0)) AS calls
      FROM {recorded}
      WHERE {near} AND trace_id IN (
        SELECT trace_id FROM {recorded} WHERE {runs} AND NOT ({tokens} > 0 AND {cost} > 0))
      GROUP BY trace_id
    )
    ARRAY JOIN calls AS call
    ARRAY JOIN arrayDistinct(arrayFold(
      (way, level) -> arrayPushBack(way, parents[way[-1]]),
      range(least({levels}, length(parents))), [call.1])) AS around
    WHERE around != {no_span}
    GROUP BY trace_id, around
  ) AS inside ON inside_trace = runs.trace_id AND inside_span = runs.span_id""")


_OF_TRACES: Final = Sql("""
    LEFT JOIN (
      SELECT trace_id AS summed_trace, sum({amount}) AS summed FROM {recorded}
      WHERE {near} AND kind != 'judge' GROUP BY trace_id
    ) AS inside ON summed_trace = runs.trace_id""")


@dataclass(frozen=True, slots=True)
class RunAmounts:
    """Makes the SQL expressions for the tokens and the cost of a run.

    If two instrumentations record the same call, there are two runs, and each may report 100
    tokens. A list of runs shows 100 tokens for both, but a total must count them once. So there are
    two kinds of values:

    * *Own* values are for lists. A value that the run does not report is copied from another run
      that records the same call.
    * *Counted* values are for totals. In the example, only one of the two runs has 100 counted
      tokens.

    Attributes:
        is_resolved: Whether any run of the project has values of other runs. If not, own and
            counted values are the same, and fewer columns are read.
    """

    is_resolved: bool

    def own(self, name: str) -> Sql:
        """Return the SQL for the own value of `input_tokens`, `cost` etc.; NULL if none."""
        own = identifier(name, (*TOKENS, "cost"))
        if not self.is_resolved:
            return own
        shared = Sql("other_{n}").fill(n=own)
        first, second = (shared, own) if name == "cost" else (own, shared)
        return Sql("coalesce({first}, {second})").fill(first=first, second=second)

    def read(self, name: str) -> Sql:
        """Return the SQL for the counted value of `input_tokens`, `cost` etc.; NULL if none."""
        return counted(name) if self.is_resolved else self.own(name)

    @property
    def cost(self) -> Sql:
        """The counted cost in dollars; NULL if it is not known."""
        return self.read("cost")

    @property
    def tokens(self) -> Sql:
        """The sum of counted input and output tokens; 0 for none."""
        return Sql("ifNull({n}, 0)").fill(n=sum_tokens(self.read))

    @property
    def tokens_with_inside(self) -> Sql:
        """The counted tokens, else those of the runs inside. The query must join `sum_inside`."""
        return Sql("if({n} > 0, {n}, inside_tokens)").fill(n=self.tokens)

    @property
    def cost_with_inside(self) -> Sql:
        """The counted cost, else that of the runs inside; NULL if neither is known."""
        return Sql("if({n} > 0, {n}, coalesce(nullIf(inside_cost, 0), {cost}))").fill(
            n=self._paid, cost=self.cost
        )

    @property
    def _paid(self) -> Sql:
        return Sql("ifNull({n}, 0)").fill(n=self.cost)

    def sum_inside(self, runs: Sql, near: Sql = NEAR_WINDOW) -> Sql:
        """Return the JOIN that adds the tokens and cost of the calls inside each run.

        Args:
            runs: A condition that selects the runs whose sums are needed.
            near: A condition on project and start time. It must be true for these runs and for the
                calls inside them, and limits how much is read.
        """
        return _SUMS.fill(
            tokens=self.tokens,
            cost=self._paid,
            recorded=RECORDED,
            near=near,
            runs=runs,
            no_span=_NO_SPAN,
            levels=_SPANS_BETWEEN,
        )

    def sum_traces(self, amount: Sql) -> Sql:
        """Return the JOIN that adds the sum of `amount` over a run's trace, as column `summed`."""
        return _OF_TRACES.fill(
            amount=amount,
            recorded=RECORDED,
            near=NEAR_WINDOW,
        )


def sum_tokens(read: Callable[[str], Sql]) -> Sql:
    """Return the SQL for the sum of input and output tokens; NULL if neither is known."""
    return Sql("coalesce({given} + {made}, {given}, {made})").fill(
        given=read("input_tokens"), made=read("output_tokens")
    )
