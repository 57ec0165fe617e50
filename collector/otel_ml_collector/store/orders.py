"""SQL for lists of runs that are sorted by a number such as the cost, highest first."""

from typing import Final

from otel_ml.orders import BY_TIME, BY_WORTH, LOWEST, resolve_order
from otel_ml_collector.store.amounts import NEAR_WINDOW, RunAmounts, sum_tokens
from otel_ml_collector.store.counted import DELIVERIES, IS_CALL, repeats
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_record_kinds, scores
from otel_ml_collector.store.runs import Ordering
from otel_ml_collector.store.scores import BY_RUN, find_lower_judges, newest_scores
from otel_ml_collector.store.sql import Condition, Sql

_JUDGE: Final = Sql("{order_judge:String}")
_SCORE_INSIDE: Final = Sql("""
    INNER JOIN (
      SELECT trace_id AS scored_trace, {worst}(score) AS newest_score FROM ({newest})
      WHERE isFinite(score) GROUP BY trace_id
    ) AS evaluation ON scored_trace = runs.trace_id""")
_ROW_SCORE: Final = Sql("if(mapContains(final_scores, {judge}), final_scores[{judge}], NULL)").fill(
    judge=_JUDGE
)
_LOWEST_SCORE: Final = Sql("minOrNull")
_HIGHEST_SCORE: Final = Sql("maxOrNull")
_BELOW_CALLS: Final = Sql("""(trace_id, parent_span_id) IN (
  SELECT trace_id, span_id FROM {deliveries} WHERE {near} AND {is_call} AND NOT {repeats})""").fill(
    deliveries=DELIVERIES, near=NEAR_WINDOW, is_call=IS_CALL, repeats=repeats(NEAR_WINDOW)
)
# For lists in which a row sums up the runs inside it. Runs inside a call are excluded in the
# query, so that they are not read and then dropped.
OUTERMOST: Final = Condition(Sql("NOT ") + _BELOW_CALLS)


def make_ordering(
    reader: Reader,
    project: str,
    order: str,
    *,
    is_of_tops: bool = False,
) -> Ordering | None:
    """Return the SQL that sorts a list of runs; None if the list is sorted by time.

    Args:
        reader: The store.
        project: The project.
        order: Name of a sort order, such as ``slowest`` or ``worst:JUDGE``. `otel_ml.orders` has
            all of them.
        is_of_tops: Whether each row of the list represents a request, with all runs inside it. Then
            the list is sorted by the tokens or cost of the whole trace, or by the worst score of
            any run in the trace.
    """
    if order in BY_TIME:
        return None
    if order == "slowest":
        return Ordering(order, Sql("toFloat64(latency_ns)"))
    if order in {"costliest", "most_tokens"}:
        return _order_by_use(reader, project, order, is_of_tops=is_of_tops)
    order = resolve_worth(reader, project, order)
    way, _, judge = order.partition(":")
    if not is_of_tops:
        value = _ROW_SCORE if way != LOWEST else Sql("-") + _ROW_SCORE
        return Ordering(order, value, parameters={"order_judge": judge})
    kinds = find_record_kinds(reader, project)
    newest = newest_scores(scores(_JUDGE, kinds, "score"), by=BY_RUN, columns=("score",))
    is_lower = bool(find_lower_judges(reader, project, [judge]))
    join = _SCORE_INSIDE.fill(newest=newest, worst=_HIGHEST_SCORE if is_lower else _LOWEST_SCORE)
    value = Sql("-newest_score") if way == LOWEST else Sql("newest_score")
    return Ordering(order, value, join, {"order_judge": judge})


def resolve_worth(reader: Reader, project: str, order: str) -> str:
    """Replace the sort orders ``worst`` and ``best`` of a judge by ``lowest`` or ``highest``.

    For example, ``worst:toxicity`` becomes ``highest:toxicity`` if lower scores are better. All
    other orders are returned unchanged.
    """
    way, _, judge = order.partition(":")
    if not judge or way not in BY_WORTH:
        return order
    is_lower = bool(find_lower_judges(reader, project, [judge]))
    return resolve_order(order, lower_is_better=is_lower)


def _order_by_use(reader: Reader, project: str, order: str, *, is_of_tops: bool) -> Ordering:
    """Return the SQL that sorts by cost or tokens, with the amounts that lists show."""
    amounts = RunAmounts(find_record_kinds(reader, project).resolved)
    if is_of_tops:
        amount = amounts.cost if order == "costliest" else sum_tokens(amounts.read)
        return Ordering(order, Sql("toFloat64(summed)"), amounts.sum_traces(amount))
    own = amounts.own("cost") if order == "costliest" else sum_tokens(amounts.own)
    return Ordering(order, Sql("toFloat64({v})").fill(v=own))
