"""Recorded runs as three relations, from the widest to the narrowest.

* `DELIVERIES`: every stored row of each ended run. A run has several rows if it was sent several
  times, or if later records changed it. Use it for queries by key and for existence. Never count
  its rows.
* `RECORDED`: ended runs, each once, with the values of the copy that counts.
* `CountedRuns`: the recorded runs that statistics count, with the tokens and cost that count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from otel_ml.records import TOKENS
from otel_ml_collector.records import UNCOUNTED
from otel_ml_collector.store.sql import (
    EMPTY,
    Condition,
    Sql,
    all_of,
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
_IS_REPEAT: Final = Sql("record_of != toFixedString('', 8)")
# ID of the run that counts for a row of `settled`, if the run of this row does not.
MAIN_RECORD: Final = Sql("""concat(lower(hex(if(record_trace = toFixedString('', 16), trace_id,
  record_trace))), '-', lower(hex(record_of)))""")
_IS_OF_ITEM: Final = Sql("experiment != ''")
# The same tests for queries that read resolutions from the columns of `runs`.
_IN_ROWS: Final = {_IS_REPEAT: _IS_REPEAT, _IS_OF_ITEM: Sql("trace_experiment != ''")}
# The same tests as columns of the `shares` join.
_JOINED_AS: Final = {_IS_REPEAT: Sql("is_repeat"), _IS_OF_ITEM: Sql("is_of_item")}


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

    `shares` adds the tokens and costs that totals count.

    Attributes:
        bounds: Limits on the project and start of the runs.
        repeats, items: Whether to leave out runs that repeat a call, and runs of experiments (on
            items of a data set). False if the project has none, or if the query is about them.
        kinds: Whether runs of all kinds count.
        is_joined: Whether the query joins `shares`. Then its columns show which runs to leave out,
            so the table of resolutions is read only once.
        in_rows: Whether to read the columns of `runs` instead; see `record_kinds.with_rows`.
    """

    bounds: Bounds
    repeats: bool = True
    items: bool = True
    kinds: bool = False
    is_joined: bool = False
    in_rows: bool = False

    @property
    def own_conditions(self) -> list[Sql]:
        """The conditions on the row of a run in `runs`."""
        conditions = [] if self.kinds else [IS_CALL]
        return conditions + ([Sql("NOT (") + _IS_OF_ITEM + Sql(")")] if self.items else [])

    @property
    def needs_resolutions(self) -> bool:
        """Whether other runs can decide if a run counts."""
        return self.repeats or self.items

    @property
    def resolved_conditions(self) -> list[Sql]:
        """The conditions on the resolution of a run: what other runs change about it."""
        left_out = [_IS_REPEAT] if self.repeats else []
        left_out += [_IS_OF_ITEM] if self.items else []
        if self.is_joined:
            return [Sql("NOT ") + _JOINED_AS[test] for test in left_out]
        if self.in_rows:
            return [Sql("NOT ({test})").fill(test=_IN_ROWS[test]) for test in left_out]
        among = _among_resolved(self.bounds.sql, left_out) if left_out else EMPTY
        return [Sql("NOT ") + among] if among else []

    @property
    def conditions(self) -> list[Sql]:
        """The conditions on a run, except the bounds."""
        return self.own_conditions + self.resolved_conditions

    def with_resolved(self, own: Condition) -> Condition:
        """Add `resolved_conditions` to a condition on rows of `runs`."""
        return all_of([own, *map(Condition, self.resolved_conditions)])

    def leaves_out(self, resolved: Mapping[str, Any]) -> bool:
        """Return whether statistics leave out a run because of other runs of its trace.

        This follows the same rule as the SQL in `resolved_conditions`, but needs no query.

        Args:
            resolved: The row that `store.runs.read_resolved` returned for the run.
        """
        is_repeat = bool(resolved["record_of"].strip("0"))
        return (self.repeats and is_repeat) or (self.items and resolved["experiment"] != "")

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
        of_trace = (
            _IN_ROWS[_IS_OF_ITEM]
            if self.in_rows
            else _among_resolved(others.bounds.sql, [_IS_OF_ITEM])
        )
        of_items = Sql("({own} OR {of_trace})").fill(own=_IS_OF_ITEM, of_trace=of_trace)
        return join_sql(" AND ", [others.sql, of_items])


def repeats(among: Sql) -> Sql:
    """Return the SQL condition for runs whose model call is already counted by another run.

    If two instrumentations record the same model call, the call has two runs. One of them counts,
    and this condition is true for the other.

    Args:
        among: A condition on project and start time. It must be true for all runs of the query,
            and limits how much is read.
    """
    return _among_resolved(among, [_IS_REPEAT])


def _among_resolved(among: Sql, tests: Sequence[Sql]) -> Sql:
    """Return the SQL condition on runs whose resolution passes at least one of these tests."""
    return Sql("""(project, start_ns, trace_id, span_id) IN (
      SELECT project, start_ns, trace_id, span_id FROM settled FINAL
      WHERE {among} AND ({tests}))""").fill(among=among, tests=join_sql(" OR ", tests))


def shares(among: Sql) -> Sql:
    """Return the SQL JOIN that adds values from other runs of the same trace to each run.

    For example, a run without a session inherits the session of its trace. The JOIN adds these
    columns to `runs`:

    * `shared_session`, `shared_user`: The inherited session and user. `named` uses them.
    * `shared_cost` and the columns for tokens, such as `shared_input_tokens`: The values that
      totals use for the run if `has_share` is true. If it is false, totals use the run's own
      values. `counted` makes this choice.
    * `is_repeat`: Whether a different run counts for the call that this run records.
    * `is_of_item`: Whether the run inherits an experiment from its trace.

    Args:
        among: A condition on project and start time. It must be true for all runs of the query,
            and limits how much is read.
    """
    columns = [
        Sql("{n} AS shared_{n}").fill(n=identifier(name, RESOLVED_RUNS.names()))
        for name in (*TOKENS, "cost", *NAMED)
    ]
    return Sql("""
      LEFT JOIN (
        SELECT project AS shared_project, start_ns AS shared_start, trace_id AS shared_trace,
          span_id AS shared_span, counts AS has_share, {repeat} AS is_repeat,
          {of_item} AS is_of_item, {columns}
        FROM settled FINAL WHERE {among}
      ) AS share ON shared_project = runs.project AND shared_start = runs.start_ns
        AND shared_trace = runs.trace_id AND shared_span = runs.span_id""").fill(
        repeat=_IS_REPEAT, of_item=_IS_OF_ITEM, columns=join_sql(", ", columns), among=among
    )


def recorded_runs(among: Sql = OF_PROJECT, *, is_resolved: bool = False) -> Sql:
    """Return the SQL to write after FROM in a query that reads each ended run once.

    A sender can send the same run several times, and each copy is stored. The query then reads only
    one copy.

    Args:
        among: A condition on the project and start time of the runs. If `is_resolved` is false, it
            is not used.
        is_resolved: Whether to join values from other runs of the trace, such as an inherited
            session (see `shares`).
    """
    return RECORDED + shares(among) if is_resolved else RECORDED


def named(name: Sql) -> Sql:
    """Return the SQL for the session or user of a run, inherited from its trace if necessary.

    The query must contain the JOIN that `shares` returns.

    Args:
        name: The column, `session` or `user`.
    """
    return Sql("if({n} != '', {n}, shared_{n})").fill(n=name)


def name_in_row(name: str) -> Sql:
    """Return the SQL for the session or user of a run, from the columns of its row in `runs`.

    Use it only if `record_kinds.with_rows` says that the rows have the names of their traces.
    """
    return Sql("if({n} = '', trace_{n}, {n})").fill(n=identifier(name, NAMED))


def unit_of(*, is_joined: bool) -> Sql:
    """Return the SQL for the cluster of a run, for statistics in which runs are not independent.

    The cluster is the session of the run. A run without a session belongs to the cluster of its
    trace.

    Args:
        is_joined: Whether the query contains the JOIN that `shares` returns. Then a run without a
            session of its own has the session that it inherits from its trace.
    """
    session = named(Sql("session")) if is_joined else Sql("session")
    return Sql("if({s} != '', concat('s', {s}), concat('t', lower(hex(runs.trace_id))))").fill(
        s=session
    )


def named_where(name: Sql, own: Sql, of_trace: Sql, among: Sql) -> Sql:
    """Return the SQL condition for runs whose session or user matches a given condition.

    A run without a session or user matches if the one that it inherits from its trace matches.

    Args:
        name: The column, `session` or `user`.
        own: The condition on this column of `runs`, such as ``session = 'a'``. It must be false
            for an empty text.
        of_trace: The same condition on the table `settled`, in which the column of this name has
            the inherited session or user.
        among: A condition on project and start time. It must be true for all runs of the query,
            and limits how much is read.
    """
    return Sql("(({own}) OR ({n} = '' AND {resolved}))").fill(
        own=own, n=name, resolved=_among_resolved(among, [of_trace])
    )


def counted(name: str) -> Sql:
    """Return the SQL for a number of a run as totals count it. The query must join `shares`."""
    column = identifier(name, RESOLVED_RUNS.names())
    return Sql("if(has_share, shared_{n}, {n})").fill(n=column)


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
