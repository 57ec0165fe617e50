"""Recorded runs as three relations, from the widest to the narrowest.

* `DELIVERIES`: every stored row of each ended run. A run has several rows if it was sent several
  times, or if later records changed it. Use it for queries by key and for existence. Never count
  its rows.
* `RECORDED`: ended runs, each once, with the values of the copy that counts.
* `CountedRuns`: the recorded runs that statistics count, with the tokens and cost that count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from otel_ml.records import TOKENS
from otel_ml_collector.owners import RESPONSE
from otel_ml_collector.records import UNCOUNTED
from otel_ml_collector.store.sql import Sql, identifier, join_sql, substitute
from otel_ml_collector.store.tables import (
    HAS_OTHERS,
    RESOLVED_RUNS,
    RESPONSE_ID,
    SHOWN,
    TOKENS_PER_SECOND,
)

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
# ID of the run that counts for a run, if `IS_REPEAT`.
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


def _write_call_value(name: str) -> Sql:
    column = identifier(name, SHOWN)
    if name in {*TOKENS, "cost"}:
        return Sql("if({has}, other_{n}, {n})").fill(has=HAS_OTHERS, n=column)
    if name in {"first_token_ms", "stream_chunks"}:
        return Sql("ifNull({n}, call_{n})").fill(n=column)
    return Sql("if({n} = '', call_{n}, {n})").fill(n=column)


# Values of a run in which those of other records of its call are included, from its row.
_VALUES: Final = {name: _write_call_value(name) for name in SHOWN}
OF_CALL: Final[Mapping[str, Sql]] = {
    **_VALUES,
    "response_id": Sql("if(call_response_id = '', {own}, call_response_id)").fill(own=RESPONSE_ID),
    "tokens_per_second": substitute(
        substitute(TOKENS_PER_SECOND, Sql("first_token_ms"), _VALUES["first_token_ms"]),
        Sql("output_tokens"),
        _VALUES["output_tokens"],
    ),
}


def show_calls(rows: Sql) -> Sql:
    """Return the SQL that completes runs with values from other runs that record the same call.

    Several instrumentations can record one call, each as a run of its own. For example, the first
    run has the provider, and the second run has the response ID. Statistics count only one of these
    runs. In the result, this run has the values of all of them. All other rows are unchanged.

    Args:
        rows: SQL that selects rows of `runs`, with all columns.
    """
    put = [
        Sql("{value} AS {n}").fill(value=value, n=identifier(name, SHOWN))
        for name, value in _VALUES.items()
    ]
    return Sql("""
      SELECT * REPLACE ({put}, if(call_response_id = '', tag_kv,
        arrayConcat(['{response}' || call_response_id], tag_kv)) AS tag_kv)
      FROM ({rows})""").fill(put=join_sql(", ", put), response=Sql(RESPONSE), rows=rows)
