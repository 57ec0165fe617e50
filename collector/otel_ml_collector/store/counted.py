"""Recorded runs as three relations, from the widest to the narrowest.

* `DELIVERIES`: every stored row of each ended run. A run has several rows if it was sent several
  times, or if later records changed it. Use it for queries by key and for existence. Never count
  its rows.
* `RECORDED`: ended runs, each once, with the values of the copy that counts.
* `CountedRuns`: the recorded runs that statistics count, with the tokens and cost that count.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from otel_ml_collector.records import UNCOUNTED
from otel_ml_collector.store.sql import (
    Sql,
    identifier,
    join_sql,
    substitute,
)
from otel_ml_collector.store.tables import COUNTING, RESOLVED_RUNS, RESPONSE_ID, SHOWN

DELIVERIES: Final = Sql("runs")
RECORDED: Final = Sql("runs FINAL")
# Keeps one row of each run: after an ORDER BY that ends with `rank DESC`, the row that counts.
ONCE: Final = Sql("LIMIT 1 BY project, start_ns, trace_id, span_id")
OF_PROJECT: Final = Sql("project = {project:String}")
# Excludes plain spans, calls of judges, and the experiments themselves.
IS_CALL: Final = Sql("kind NOT IN ({kinds})").fill(
    kinds=join_sql(", ", [Sql("'{k}'").fill(k=identifier(kind, UNCOUNTED)) for kind in UNCOUNTED])
)
# Columns whose value a run can inherit from its trace.
NAMED: Final = ("session", "user")
IS_REPEAT: Final = Sql("record_of != toFixedString('', 8)")
# ID of the run that counts for a row of `settled`, if the run of this row does not.
MAIN_RECORD: Final = Sql("""concat(lower(hex(if(record_trace = toFixedString('', 16), trace_id,
  record_trace))), '-', lower(hex(record_of)))""")
_IS_OF_ITEM: Final = Sql("experiment != ''")
_IS_OF_TRACE_WITH_ITEM: Final = Sql("trace_experiment != ''")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits a query to runs of given projects that started in a window.

    Attributes:
        projects: A condition on `project`.
        start: Start of the window, as SQL. None: no limit.
        end: End of the window, exclusive. None: no limit.
        days: Another condition on `project` and `start_ns`, to read only some days of the window.
    """

    projects: Sql = OF_PROJECT
    start: Sql | None = None
    end: Sql | None = None
    days: Sql | None = None

    @property
    def sql(self) -> Sql:
        """The SQL condition, for `runs` and other tables with `project` and `start_ns`."""
        parts = [self.projects]
        if self.start is not None:
            parts.append(Sql("start_ns >= {start}").fill(start=self.start))
        if self.end is not None:
            parts.append(Sql("start_ns < {end}").fill(end=self.end))
        if self.days is not None:
            parts.append(self.days)
        return join_sql(" AND ", parts)


ANY_TIME: Final = Bounds()


@dataclass(frozen=True, slots=True)
class CountedRuns:
    """Defines which recorded runs statistics count. No other place defines this.

    A run counts if all of these are true:

    * It has ended. An open run has no latency or result yet.
    * It is a call: not a plain span and not a judge's call (`IS_CALL`). With `kinds`, all spans
      count.
    * It does not repeat another run. If several runs record one call, only one of them counts.
      Without `repeats`, all of them count.
    * It belongs to production. Runs of experiments are left out, unless `items` is false.

    If your query reads several rows of a run, leave out those whose rank is not the highest: they
    may lack what arrived later. `counted` has the tokens and costs that totals count.

    Attributes:
        bounds: Limits on the project and start of the runs.
        repeats, items: Whether to leave out runs that repeat a call, and runs of experiments (on
            items of a data set). False if the project has none, or if the query is about them.
        kinds: Whether runs of all kinds count.
    """

    bounds: Bounds
    repeats: bool = True
    items: bool = True
    kinds: bool = False

    @property
    def conditions(self) -> list[Sql]:
        """The conditions on a run, except the bounds."""
        conditions = self._own_conditions
        if self.repeats:
            conditions.append(Sql("NOT ({repeat})").fill(repeat=IS_REPEAT))
        if self.items:
            conditions.append(Sql("NOT ({test})").fill(test=_IS_OF_TRACE_WITH_ITEM))
        return conditions

    @property
    def _own_conditions(self) -> list[Sql]:
        """The conditions on columns that `open_runs` has, too."""
        conditions = [] if self.kinds else [IS_CALL]
        return conditions + ([Sql("NOT (") + _IS_OF_ITEM + Sql(")")] if self.items else [])

    @property
    def sql(self) -> Sql:
        """The condition on runs, bounds included."""
        return join_sql(" AND ", [self.bounds.sql, *self.conditions])

    @property
    def tried(self) -> Sql:
        """The SQL condition on the runs that experiments count, whenever they started.

        Use it instead of `sql`, which leaves out the runs of experiments.
        """
        others = replace(self, bounds=Bounds(self.bounds.projects), items=False)
        of_items = Sql("({own} OR {of_trace})").fill(
            own=_IS_OF_ITEM, of_trace=_IS_OF_TRACE_WITH_ITEM
        )
        return join_sql(" AND ", [others.sql, of_items])

    @property
    def of_open(self) -> Sql:
        """The same condition as `sql`, on rows of `open_runs`."""
        left_out = [IS_REPEAT] if self.repeats else []
        left_out += [_IS_OF_ITEM] if self.items else []
        conditions = [self.bounds.sql, *self._own_conditions]
        if left_out:
            conditions.append(Sql("NOT ") + _among_resolved(self.bounds.sql, left_out))
        return join_sql(" AND ", conditions)

    @property
    def tried_of_open(self) -> Sql:
        """The same condition as `tried`, on rows of `open_runs`."""
        others = replace(self, bounds=Bounds(self.bounds.projects), items=False)
        of_items = Sql("({own} OR {of_trace})").fill(
            own=_IS_OF_ITEM, of_trace=_among_resolved(others.bounds.sql, [_IS_OF_ITEM])
        )
        return join_sql(" AND ", [others.of_open, of_items])


def repeats(among: Sql) -> Sql:
    """Return the SQL condition for runs whose model call is already counted by another run.

    If two instrumentations record the same model call, the call has two runs. One of them counts,
    and this condition is true for the other.

    Args:
        among: A condition on project and start time. It must be true for all runs of the query,
            and limits how much is read.
    """
    return _among_resolved(among, [IS_REPEAT])


def _among_resolved(among: Sql, tests: Sequence[Sql]) -> Sql:
    """Return the SQL condition on runs whose resolution passes at least one of these tests."""
    return Sql("""(project, start_ns, trace_id, span_id) IN (
      SELECT project, start_ns, trace_id, span_id FROM settled FINAL
      WHERE {among} AND ({tests}))""").fill(among=among, tests=join_sql(" OR ", tests))


def recorded_runs() -> Sql:
    """Return the SQL to write after FROM in a query that reads each ended run once.

    A sender can send the same run several times, and each copy is stored. The query then reads only
    one copy.
    """
    return RECORDED


def named(name: Sql) -> Sql:
    """Return the SQL for the session or user of a run, inherited from its trace if necessary.

    Args:
        name: The column, `session` or `user`.
    """
    return Sql("if({n} = '', trace_{n}, {n})").fill(n=name)


# The cluster of a run, for statistics in which runs are not independent: its session, or else its
# trace.
UNIT: Final = Sql("if({s} != '', concat('s', {s}), concat('t', lower(hex(runs.trace_id))))").fill(
    s=named(Sql("session"))
)


def counted(name: str) -> Sql:
    """Return the SQL for a number of a run as totals count it."""
    column = identifier(name, RESOLVED_RUNS.names())
    return Sql("if(has_amounts, other_{n}, {n})").fill(n=column)


def show_calls(rows: Sql, among: Sql) -> Sql:
    """Return the SQL that completes runs with values from other runs that record the same call.

    Several instrumentations can record one call, each as a run of its own. For example, the first
    run has the provider, and the second run has the response ID. Statistics count only one of these
    runs. In the result, this run has the values of all of them. All other rows are unchanged.

    Args:
        rows: SQL that selects rows of `runs`, with all columns.
        among: A condition on project and start time that is true for these rows.
    """
    names = [identifier(name, SHOWN) for name in SHOWN]
    put = [Sql("if(is_shown, shown_{n}, own.{n}) AS {n}").fill(n=name) for name in names]
    return Sql("""
      SELECT own.* REPLACE ({put},
        if({response} = '', arrayConcat(own.tag_kv, shown_tag_kv), own.tag_kv) AS tag_kv)
      FROM ({rows}) AS own
      LEFT JOIN (
        SELECT trace_id AS shown_trace, span_id AS shown_span, 1 AS is_shown,
          tag_kv AS shown_tag_kv, {columns} {counting}
      ) AS shown ON shown_trace = own.trace_id AND shown_span = own.span_id""").fill(
        put=join_sql(", ", put),
        response=substitute(RESPONSE_ID, Sql("tag_kv"), Sql("own.tag_kv")),
        rows=rows,
        columns=join_sql(", ", [Sql("{n} AS shown_{n}").fill(n=name) for name in names]),
        counting=COUNTING.fill(among=among),
    )
