"""Sums of a list of runs, in total and by group. Each call counts once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.writing import narrow, where_of_group
from otel_ml_collector.measures.questions import Grouping
from otel_ml_collector.measures.statistics import bound_runs
from otel_ml_collector.runs.find import RunsQuery, compile_query
from otel_ml_collector.stats import (
    RunFigures,
    StatsQuery,
    find_stats,
    make_grouping,
)
from otel_ml_collector.store.counted import RECORDED
from otel_ml_collector.store.orders import OUTERMOST
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.sql import ALWAYS, Condition, Sql, all_of
from otel_ml_collector.windows import Window

# Number of groups of a page, and of an answer unless it asks for another number.
GROUPS: Final = 20
# The traces of a list of requests or traces, and the value of each.
_TOPS: Final = Sql("""
    FROM {recorded} {join} WHERE project = {project:String} AND start_ns >= {start:Int64}
      AND start_ns < {end:Int64} AND ({condition})""")
_LABELLED: Final = Sql("""
    LEFT JOIN (
      SELECT trace_id AS top_trace, argMin({label}, start_ns) AS top_label {tops} GROUP BY trace_id
    ) AS topped ON top_trace = runs.trace_id""")


@dataclass(frozen=True, slots=True)
class SumGroup:
    """The runs of a list with the same value.

    Attributes:
        where: The filter that lists them.
    """

    label: str
    where: str
    total: RunFigures


@dataclass(frozen=True, slots=True)
class ListSums:
    """Number of runs, tokens and cost of all runs in a list, in total and by group.

    Attributes:
        total: Sum over all runs of the list. In a list of requests or traces, sum over the model
            calls inside them.
        groups: The groups with most calls.
        left: Number of groups that are not in `groups`.
        rest: Sum over the groups that are not in `groups`.
    """

    total: RunFigures
    groups: Sequence[SumGroup] = ()
    left: int = 0
    rest: RunFigures | None = None


def find_sums(
    reader: Reader, query: RunsQuery, group: str, now_ns: int, *, groups: int = GROUPS
) -> ListSums | None:
    """Add up all runs of a list: their number, tokens and cost, in total and by group.

    The order and page of the list have no effect. In a list of requests or traces, the calls inside
    them are added up.

    Args:
        reader: The store.
        query: The list: project, filter, time range and kind.
        group: The field or tag to group by, as in statistics; empty for no groups.
        now_ns: The current time.
        groups: Maximum number of groups. The groups with the most runs are returned.

    Returns:
        The sums. None if the project has no runs and spans, or if the list's time range ends before
        the first of them or begins after the last.

    Raises:
        BadInput: Filter or group is wrong.
    """
    if group == "version":
        raise BadInput("Invalid group 'version': expected a field or a tag", "group")
    whole = bound_runs(reader, query.project, plain=True)
    if whole is None:
        return None
    asked = query.window(now_ns)
    window = Window(max(asked.start_ns, whole.start_ns), min(asked.end_ns, whole.end_ns))
    if window.start_ns >= window.end_ns:
        return None
    where, also, by = query.where, ALWAYS, None
    if query.is_of_tops:
        condition = all_of([compile_query(reader, query)[0], OUTERMOST])
        tops = _TOPS.fill(recorded=RECORDED, join=Sql(""), condition=condition.sql)
        inside = Sql("trace_id IN (SELECT trace_id {tops})").fill(tops=tops)
        where, also = "", Condition(inside, condition.parameters)
        by = _label_tops(reader, query.project, group, condition) if group else None
    stats = find_stats(
        reader,
        StatsQuery(
            project=query.project,
            where=where,
            group=group,
            window=window,
            step_ns=None,
            groups=groups,
            also=also,
            by=by,
            needs_runs=query.is_of_tops,
        ),
    )
    sum_groups = [
        SumGroup(item.group, narrow(query.where, where_of_group(group, item.group)), item.total)
        for item in (stats.groups if group else ())
    ]
    rest = stats.other.total if stats.other else None
    left = max(stats.groups_found - len(sum_groups), 0)
    return ListSums(stats.total, sum_groups, left, rest)


def _label_tops(reader: Reader, project: str, group: str, condition: Condition) -> Grouping:
    """Group the runs inside requests and traces by the value of the top run."""
    own = make_grouping(reader, project, group, find_record_kinds(reader, project))
    tops = _TOPS.fill(recorded=RECORDED, join=own.join, condition=condition.sql)
    return Grouping(
        Sql("top_label"),
        join=_LABELLED.fill(label=own.label, tops=tops),
        parameters=own.parameters,
    )
