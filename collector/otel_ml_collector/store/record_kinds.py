"""Late-arriving records: which kinds a project has, and the SQL that joins them to runs.

A late-arriving record, such as a score or a tag, was sent separately from the span of its run. Its
owner is a run ID, or a trace key or tag that several runs may have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from otel_ml.attributes import JUDGE_KIND
from otel_ml_collector.owners import FIRST, KEY, TAG, is_run
from otel_ml_collector.records import Records
from otel_ml_collector.store.connection import EVERY_PROJECT, Memory
from otel_ml_collector.store.counted import ANY_TIME, DELIVERIES, Bounds, CountedRuns
from otel_ml_collector.store.reader import ID16, READABLE, Reader
from otel_ml_collector.store.scores import IN_WINDOW, all_scores
from otel_ml_collector.store.sql import Sql, identifier, join_sql
from otel_ml_collector.store.tables import (
    IS_POINT,
    ITEMS,
    LATE_LOGS,
    LATE_TAGS,
    LINEAGE,
    METRICS,
    OBJECTS,
    OPEN_RUNS,
    OWNED,
    RESOLVED_RUNS,
    RUNS,
    TRACE_KEYS,
    WORD,
    Table,
    is_point,
)
from otel_ml_collector.store.targets import RUN, join_keyed

# Number of cached SQL texts per function. The texts differ only in the number of a parameter.
_TEXTS: Final = 128
# Owners that are trace keys or tags, not model versions.
_IS_KEYED: Final = Sql("(startsWith(owner, '{key}') OR startsWith(owner, '{tag}'))").fill(
    key=Sql(KEY), tag=Sql(TAG)
)
_OWNERS_OF_TRACE: Final = 100


_TIMES: Final = Sql("FROM trace_index WHERE project = {project:String} AND key = {trace:String}")


_SPANS_HERE: Final = Sql("""
  SELECT span_id FROM {deliveries} WHERE project = {project:String} AND trace_id = {id16}
    AND start_ns >= (SELECT minOrNull(start_ns) {times})
    AND start_ns <= (SELECT maxOrNull(end_ns) {times})
  UNION ALL
  SELECT span_id FROM open_runs WHERE project = {project:String} AND trace_id = {id16}""").fill(
    deliveries=DELIVERIES, id16=ID16, times=_TIMES
)


@dataclass(frozen=True, slots=True)
class RecordKinds:
    """The kinds of records that a project has besides its runs. Queries skip all other kinds.

    Attributes:
        tags: Late-arriving tags.
        scores, metrics: Late-arriving scores and metric points with the ID of their run.
        lines, artifacts, links: Log lines, artifacts and links that are stored separately.
        contents: Inputs and outputs of model calls that arrived as log records.
        keys: Trace keys that users set.
        sessions, users: Ended runs with a session or a user.
        named: Runs that inherit their session or user from their trace.
        open_runs: Runs with a start record.
        keyed_runs: Runs with late-arriving records by trace key or tag.
        keyed_tags, keyed_scores, keyed_metrics: Late-arriving records by trace key, tag or model
            version. Ground truth is among the scores.
        same_calls: Runs whose resolved amounts differ from their own.
        lacking: Runs that may inherit an input or output from a different record of their call.
        experiments: Runs on items of data sets.
        made_items: Items of data sets that were made from runs.
        judge_calls: Model calls of judges.
    """

    tags: bool
    scores: bool
    metrics: bool
    lines: bool
    contents: bool
    artifacts: bool
    links: bool
    keys: bool
    sessions: bool
    users: bool
    named: bool
    open_runs: bool
    keyed_runs: bool
    keyed_tags: bool
    keyed_scores: bool
    keyed_metrics: bool
    same_calls: bool
    lacking: bool
    experiments: bool
    made_items: bool
    judge_calls: bool

    @property
    def names(self) -> list[str]:
        """The names, session and user, that runs may have."""
        has = (("session", self.sessions), ("user", self.users))
        return [name for name, is_named in has if is_named or self.open_runs]

    @property
    def resolved(self) -> bool:
        """Whether any run has resolved values that differ from its own row."""
        return self.same_calls or self.named or self.keyed_runs

    @property
    def tables(self) -> list[Table[Any]]:
        """The tables with records that belong to runs by ID."""
        has = (
            (LATE_LOGS, self.lines),
            (LATE_TAGS, self.tags),
            (METRICS, self.scores or self.metrics),
            (OBJECTS, self.artifacts),
            (LINEAGE, self.links),
        )
        return [table for table, has_keyed in has if has_keyed]


@dataclass(frozen=True, slots=True)
class _Sign:
    """How to recognize records of a kind: stored rows of tables, and new records in `Records`.

    Attributes:
        table: Table with the rows.
        where: Condition on the rows.
        source: Name of the list in `Records`; empty if only stored rows show the kind.
        is_one: Returns whether a record of that list is of this kind.
        also: Further tables with such rows.
    """

    table: Table[Any]
    where: Sql
    source: str = ""
    is_one: Callable[[Any], bool] = lambda record: True
    also: Sequence[Table[Any]] = ()

    def probe(self, name: str, projects: Sql) -> Sql:
        """Write the SQL that finds a row of some projects and returns the name of the kind."""
        probe = Sql("(SELECT '{name}' AS name FROM {table} WHERE {projects} AND ({where}) LIMIT 1)")
        return join_sql(
            " UNION ALL ",
            [
                probe.fill(
                    name=identifier(name, _SIGNS),
                    table=table.sql,
                    projects=projects,
                    where=self.where,
                )
                for table in (self.table, *self.also)
            ],
        )


_ALL: Final = Sql("1")
_IN_PROJECT: Final = Sql("project = {project:String}")
_UNDER: Final = Sql("owner >= '{first}'").fill(first=Sql(FIRST))
_IS_SCORE: Final = Sql("NOT ({point})").fill(point=IS_POINT)
_SIGNS: Final[Mapping[str, _Sign]] = {
    "tags": _Sign(LATE_TAGS, _ALL, "tags"),
    "scores": _Sign(
        METRICS,
        Sql("NOT ({under}) AND {score}").fill(under=_UNDER, score=_IS_SCORE),
        "metrics",
        lambda metric: not is_point(metric) and is_run(metric.owner),
    ),
    "metrics": _Sign(
        METRICS,
        Sql("NOT ({under}) AND NOT ({score})").fill(under=_UNDER, score=_IS_SCORE),
        "metrics",
        lambda metric: is_point(metric) and is_run(metric.owner),
    ),
    "lines": _Sign(LATE_LOGS, _ALL, "logs"),
    "contents": _Sign(
        LATE_LOGS,
        Sql("startsWith(event, 'gen_ai.')"),
        "logs",
        lambda line: line.event.startswith("gen_ai."),
    ),
    "artifacts": _Sign(OBJECTS, _ALL, "artifacts"),
    "links": _Sign(LINEAGE, _ALL, "lineage"),
    "keys": _Sign(TRACE_KEYS, _ALL, "trace_keys", lambda key: key.is_own),
    "sessions": _Sign(RUNS, Sql("session != ''"), "runs", lambda run: run.session != ""),
    "users": _Sign(RUNS, Sql("user != ''"), "runs", lambda run: run.user != ""),
    "named": _Sign(RESOLVED_RUNS, Sql("session != '' OR user != ''")),
    "open_runs": _Sign(OPEN_RUNS, _ALL, "open_runs"),
    "keyed_runs": _Sign(RESOLVED_RUNS, Sql("notEmpty(owners)")),
    "keyed_tags": _Sign(LATE_TAGS, _UNDER, "tags", lambda tag: not is_run(tag.owner)),
    "keyed_scores": _Sign(
        METRICS,
        Sql("{under} AND {score}").fill(under=_UNDER, score=_IS_SCORE),
        "metrics",
        lambda metric: not is_point(metric) and not is_run(metric.owner),
    ),
    "keyed_metrics": _Sign(
        METRICS,
        Sql("{keyed} AND NOT ({score})").fill(keyed=_IS_KEYED, score=_IS_SCORE),
        "metrics",
        lambda metric: is_point(metric) and metric.owner.startswith((KEY, TAG)),
    ),
    "same_calls": _Sign(RESOLVED_RUNS, Sql("counts")),
    "lacking": _Sign(RESOLVED_RUNS, Sql("others NOT IN ('', '[]') AND NOT is_whole")),
    "experiments": _Sign(
        RUNS,
        Sql("experiment != ''"),
        "runs",
        lambda run: run.experiment != "",
        also=(OPEN_RUNS, RESOLVED_RUNS),
    ),
    "made_items": _Sign(
        ITEMS, Sql("source_run != ''"), "items", lambda item: item.source_run != ""
    ),
    "judge_calls": _Sign(
        RUNS,
        Sql("kind = '{kind}'").fill(kind=Sql(JUDGE_KIND)),
        "runs",
        lambda run: run.kind == JUDGE_KIND,
    ),
}
EVERYTHING: Final = RecordKinds(**dict.fromkeys(_SIGNS, True))


def find_record_kinds(reader: Reader, project: str) -> RecordKinds:
    """Find which kinds of records a project has, with at most one query."""
    stored_kinds, is_complete = reader.memory.recall(project)
    if not is_complete and (names := [name for name in _SIGNS if name not in stored_kinds]):
        sql = join_sql(" UNION ALL ", [_SIGNS[name].probe(name, _IN_PROJECT) for name in names])
        kinds = [row["name"] for row in reader.rows(sql, {"project": project})]
        stored_kinds = reader.memory.note(project, kinds, is_complete=True)
    return RecordKinds(**{name: name in stored_kinds for name in _SIGNS})


def find_counted(
    reader: Reader,
    project: str,
    bounds: Bounds = ANY_TIME,
    *,
    repeats: bool = False,
    items: bool = False,
    kinds: bool = False,
) -> CountedRuns:
    """Return the condition on the runs of a project that statistics count.

    By default, each call counts once, even if several instrumentations recorded it. Runs on data
    set items, plain spans and calls of judges do not count. This function does not query the store.

    Args:
        reader: The store. If its memory shows that the project has no runs of some sort, such as
            runs on data set items, the condition does not test for them.
        project: The project.
        bounds: Limits of the start time of the runs.
        repeats: Whether to count every record of a call, not only one.
        items: Whether to count runs on items of data sets too.
        kinds: Whether to count plain spans and calls of judges too.
    """
    return CountedRuns(
        bounds,
        repeats=not repeats and _may_have(reader, project, "same_calls"),
        items=not items and _may_have(reader, project, "experiments"),
        kinds=kinds,
    )


def find_counted_of_all(reader: Reader, bounds: Bounds, *, kinds: bool = False) -> CountedRuns:
    """Return the condition on the runs that statistics count, in all projects the caller may read.

    Each call counts once, even if several instrumentations recorded it. Runs on data set items do
    not count. If no other process writes to the store and the caller may read all projects, the
    first call asks the store whether such runs exist and remembers the answer. If none exist, the
    condition does not test for them.
    """
    is_complete = reader.memory.recall(EVERY_PROJECT)[1]
    if not is_complete and reader.memory.is_alone and reader.access.projects is None:
        probes = [_SIGNS[name].probe(name, READABLE) for name in ("same_calls", "experiments")]
        names = [row["name"] for row in reader.rows(join_sql(" UNION ALL ", probes), {})]
        reader.memory.note(EVERY_PROJECT, names, is_complete=True)
    return find_counted(reader, EVERY_PROJECT, bounds, kinds=kinds)


def _may_have(reader: Reader, project: str, name: str) -> bool:
    known, is_complete = reader.memory.recall(project)
    return name in known or not is_complete


def note_record_kinds(memory: Memory, records: Records) -> None:
    """Note the kinds of records that are about to be stored, so that queries join them."""
    items = [(name, sign) for name, sign in _SIGNS.items() if sign.source]
    for name, sign in items:
        for project in {
            item.project for item in getattr(records, sign.source) if sign.is_one(item)
        }:
            memory.note(project, [name])
    for project in {run.project for run in records.open_runs if run.experiment}:
        memory.note(project, ["experiments"])


# Owners that are runs of a trace: "-" and "." are neighbours in ASCII.
_OF_TRACE: Final = Sql("""project = {project:String} AND owner > concat({trace:String}, '-')
  AND owner < concat({trace:String}, '.')""")


def find_owners(
    reader: Reader,
    project: str,
    owners: Sequence[str],
    tables: Sequence[Table[Any]] = OWNED,
) -> set[str]:
    """Return the owners, such as run IDs or trace keys, that have records in some tables."""
    if not owners:
        return set()
    ours = Sql("project = {project:String} AND owner IN {owners:Array(String)}")
    sql = _owners_in(tables, ours)
    return {row["owner"] for row in reader.rows(sql, {"project": project, "owners": list(owners)})}


def list_owners(reader: Reader, project: str, trace_id: str) -> set[str]:
    """List the IDs of the runs of a trace that have late-arriving records."""
    tables = find_record_kinds(reader, project).tables
    sql = Sql("SELECT DISTINCT owner FROM ({records})").fill(records=_owners_in(tables, _OF_TRACE))
    parameters = {"project": project, "trace": trace_id}
    return {row["owner"] for row in reader.rows(sql, parameters)} if tables else set()


def list_lost_owners(reader: Reader, project: str, trace_id: str) -> list[str]:
    """List the runs of a trace that have late-arriving records but are not stored, at most 100."""
    tables = find_record_kinds(reader, project).tables
    sql = Sql("""
        SELECT DISTINCT owner FROM ({records})
        WHERE toFixedString(unhex(substring(owner, 34)), 8) NOT IN ({spans})
        ORDER BY owner LIMIT {owners}
        """).fill(records=_owners_in(tables, _OF_TRACE), spans=_SPANS_HERE, owners=_OWNERS_OF_TRACE)
    parameters = {"project": project, "trace": trace_id}
    return [row["owner"] for row in reader.rows(sql, parameters)] if tables else []


def _owners_in(tables: Sequence[Table[Any]], ours: Sql) -> Sql:
    """Write the SQL for the owners of records in these tables that meet a condition."""
    one = Sql("SELECT DISTINCT owner FROM {table} WHERE {ours}")
    return join_sql(" UNION ALL ", [one.fill(table=table.sql, ours=ours) for table in tables])


@lru_cache(_TEXTS)
def scores(label: Sql, kinds: RecordKinds, column: str) -> Sql:
    """Write the SQL for the scores of one judge or reviewer.

    Args:
        label: Query parameter with the name of the judge or reviewer.
        kinds: Which kinds of records the project has, such as scores for a trace key.
        column: The column of a score to select, such as ``score``.
    """
    judge = Sql("{judge} = ") + label
    return all_scores(IN_WINDOW, judges=judge, has_keyed=kinds.keyed_scores, columns=(column,))


@lru_cache(_TEXTS)
def truths(label: Sql, kinds: RecordKinds) -> Sql:
    """Write the SQL for the newest ground truth of runs.

    Ground truth that was taken back is left out.

    Args:
        label: Query parameter with the name of the ground truth.
        kinds: Which kinds of records the project has, such as scores for a trace key.

    Returns:
        SQL that selects `trace_id`, `span_id`, `newest` (JSON text) and `first_ns`. `first_ns` is
            when the run first got ground truth of this name.
    """
    columns = Sql("{word} AS word, time_ns, record_id").fill(word=WORD)
    sql = Sql("""FROM metrics WHERE project = {project:String} AND name = {label}
      AND source = 'actual'""").fill(label=label)
    direct = Sql("""
        SELECT {run}, {columns} {records} AND owner < '{first}'
          AND (owner_start_ns = 0
            OR (owner_start_ns >= {start:Int64} AND owner_start_ns < {end:Int64}))""").fill(
        run=RUN, columns=columns, records=sql, first=Sql(FIRST)
    )
    if kinds.keyed_scores:
        others = join_keyed(columns, sql + Sql(" AND ") + _IS_KEYED, IN_WINDOW)
        direct += Sql(" UNION ALL ") + others
    return Sql("""
        SELECT trace_id, span_id, argMax(last_word.1, (last_word.2, record_id)) AS newest,
          min(given_ns) AS first_ns
        FROM (
          SELECT trace_id, span_id, record_id, argMax((word, time_ns), time_ns) AS last_word,
            minIf(time_ns, word != '') AS given_ns
          FROM ({direct}) GROUP BY trace_id, span_id, record_id)
        WHERE last_word.1 != '' GROUP BY trace_id, span_id
        """).fill(direct=direct)


@lru_cache(_TEXTS)
def points(label: Sql, kinds: RecordKinds) -> Sql:
    """Write the SQL for all logged values of one metric of runs.

    Args:
        label: Query parameter with the name of the metric.
        kinds: Which kinds of records the project has, such as scores for a trace key.

    Returns:
        SQL that selects `trace_id`, `span_id`, `value` and `mode`, and three columns to sort the
            values of a run by: `time_ns`, `record_id` and `position`. `mode` tells whether a value
            is added to the earlier ones (``append``) or replaces them (``replace``).
    """
    sql = Sql("""FROM metrics WHERE project = {project:String} AND name = {label}
      AND {point}""").fill(label=label, point=IS_POINT)
    columns = Sql("value, mode, time_ns, record_id, position")
    direct = Sql("SELECT {run}, {columns} {records} AND owner < '{first}'").fill(
        run=RUN, columns=columns, records=sql, first=Sql(FIRST)
    )
    if not kinds.keyed_metrics:
        return direct
    others = join_keyed(columns, sql + Sql(" AND ") + _IS_KEYED)
    return direct + Sql(" UNION ALL ") + others


# Contents of calls that arrived as log records. The rules are in `mapping.dialects.gen_ai_events`.
_OBJECT: Final = Sql("""concat('{', arrayStringConcat(arrayMap(
    kv -> concat(toJSONString(kv.1), ':', kv.2), {pairs}), ','), '}')""")
# A body that is not an object becomes the content of one.
_AS_OBJECT: Final = Sql("""multiIf(
    startsWith({at}, '{') AND isValidJSON({at}), {at},
    concat('{"content":', if({is_json}, {at}, toJSONString({at})), '}'))""")
_BODY: Final = Sql(
    """multiIf(message != '', {message}, content != '', {content}, {others})"""
).fill(
    message=_AS_OBJECT.fill(
        at=Sql("message"), is_json=Sql("startsWith(message, '[') AND isValidJSON(message)")
    ),
    content=_AS_OBJECT.fill(at=Sql("content"), is_json=Sql("isValidJSON(content)")),
    others=_OBJECT.fill(
        pairs=Sql(
            "arrayFilter(kv -> position(kv.1, '.') = 0, JSONExtractKeysAndValuesRaw(attributes))"
        )
    ),
)
# The JSON of a detail in the body or the attributes, where it may be a string of JSON.
_DETAIL: Final = Sql("""if(startsWith(JSONExtractRaw(details, '{name}') AS raw_{at}, '"')
    AND isValidJSON(JSONExtractString(details, '{name}')),
    JSONExtractString(details, '{name}'), raw_{at})""")
_FIRST_DETAIL: Final = Sql("multiIf({first} != '', {first}, {second} != '', {second}, {third})")
_JOINED: Final = Sql("""if(empty({items}), '',
    concat('[', arrayStringConcat(arrayMap(item -> item.3, arraySort({items})), ','), ']'))""")


def _detail(name: Sql, at: Sql) -> Sql:
    return _DETAIL.fill(name=name, at=at)


CONTENTS: Final = Sql("""
    SELECT trace_id, span_id,
      if(newest_inputs = '', {asked}, if(newest_system = '' OR NOT startsWith(newest_inputs, '[')
        OR arrayExists(one -> JSONExtractString(one, 'role') = 'system',
          JSONExtractArrayRaw(newest_inputs)), newest_inputs,
        concat('[{"role":"system","parts":', newest_system, if(newest_inputs = '[]', '}', '},'),
          substring(newest_inputs, 2)))) AS logged_inputs,
      if(newest_outputs = '', {answered}, newest_outputs) AS logged_outputs
    FROM (
      SELECT {run},
        argMaxIf(given, (time_ns, attributes), given != '') AS newest_inputs,
        argMaxIf(gave, (time_ns, attributes), gave != '') AS newest_outputs,
        argMaxIf(ordered, (time_ns, attributes), ordered != '') AS newest_system,
        groupArrayIf((time_ns, place, {item}), place > 0) AS asked,
        groupArrayIf((JSONExtractInt(body, 'index'), time_ns, {choice}),
          event = 'gen_ai.choice') AS answered
      FROM (
        SELECT owner, event, time_ns, attributes, {body} AS body,
          if(event = 'gen_ai.client.inference.operation.details',
            if(startsWith(message, '{'), message, attributes), '') AS details,
          {given} AS given, {gave} AS gave, {ordered} AS ordered,
          indexOf(['gen_ai.system.message', 'gen_ai.user.message', 'gen_ai.assistant.message',
            'gen_ai.tool.message'], toString(event)) AS place,
          ['system', 'user', 'assistant', 'tool'][place] AS speaker,
          JSONExtractRaw(body, 'message') AS held,
          if(JSONType(held) = 'Object', JSONExtractKeysAndValuesRaw(held),
            if(held = '', [], [('content', held)])) AS entries
        FROM (
          SELECT owner, event, time_ns, message, attributes,
            JSONExtractString(attributes, 'gen_ai.event.content') AS content
          FROM late_logs FINAL
          WHERE project = {project:String} AND startsWith(event, 'gen_ai.') AND owner < '{first}'
            AND time_ns >= {start:Int64} - 60000000000 AND time_ns < {end:Int64} + 86400000000000))
      GROUP BY owner)
    """).fill(
    run=RUN,
    first=Sql(FIRST),
    body=_BODY,
    asked=_JOINED.fill(items=Sql("asked")),
    answered=_JOINED.fill(items=Sql("answered")),
    item=_OBJECT.fill(
        pairs=Sql("""arrayConcat(if(JSONHas(body, 'role'), [], [('role', toJSONString(speaker))]),
          JSONExtractKeysAndValuesRaw(body))""")
    ),
    choice=_OBJECT.fill(
        pairs=Sql("""arrayConcat(
          if(JSONHas(body, 'role') OR JSONHas(held, 'role'), [], [('role', '"assistant"')]),
          arrayFilter(kv -> NOT JSONHas(body, kv.1), entries),
          arrayFilter(kv -> kv.1 NOT IN ('index', 'message'), JSONExtractKeysAndValuesRaw(body)))
        """)
    ),
    given=_FIRST_DETAIL.fill(
        first=_detail(Sql("gen_ai.input.messages"), Sql("input")),
        second=_detail(Sql("gen_ai.tool.call.arguments"), Sql("arguments")),
        third=_detail(Sql("gen_ai.prompt"), Sql("prompt")),
    ),
    gave=_FIRST_DETAIL.fill(
        first=_detail(Sql("gen_ai.output.messages"), Sql("output")),
        second=_detail(Sql("gen_ai.tool.call.result"), Sql("result")),
        third=_detail(Sql("gen_ai.completion"), Sql("completion")),
    ),
    ordered=_detail(Sql("gen_ai.system_instructions"), Sql("system")),
)
