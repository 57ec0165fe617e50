"""Opens a store and brings it to today's schema: forward only, in steps that can be repeated.

First every table that is missing is made as it is today, and tables of records get the columns and
indexes that they declare and the store lacks; then the steps of the versions since the store's own
run in order, and each is noted when it is done. A step that a kill cut short runs again
at the next start, so each statement must be harmless when it is repeated, also after a part of its
work. A new step goes at the end of `STEPS`; a released step is never changed.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from otel_ml_collector.errors import BadSetting, Unavailable
from otel_ml_collector.store.connection import Connections, said_of
from otel_ml_collector.store.repair import drop_unread
from otel_ml_collector.store.schema import COPIES, META, TABLE_NAMES, TABLES
from otel_ml_collector.store.sql import EMPTY, Sql, StoreClient, identifier, join_sql
from otel_ml_collector.store.tables import DECLARED_TABLES, SCORES_OF_METRICS, Table

# A step reads what it must, however long that takes.
_UNHURRIED: Final = {
    "max_execution_time": 0,
    "mutations_sync": 2,
    "max_partitions_per_insert_block": 0,
    "max_memory_usage": 2_500_000_000,
}

# Parts that were merged away are removed by one thread: above a hundred of them at once, which
# come after minutes of load, the engine starts 128 that stay, with three files each.
_REMOVAL: Final = "concurrent_part_removal_threshold"
_REMOVE: Final = Sql("ALTER TABLE {table} MODIFY SETTING {setting} = 1000000000")
_UNTOLD: Final = Sql("""
    SELECT name FROM system.tables WHERE database = currentDatabase()
      AND engine LIKE '%MergeTree' AND position(engine_full, {setting:String}) = 0""")

# Stores that an older program made keep replaced parts for 480 s: see `tables.DURABLE`.
_KEPT_LONG: Final = Sql("""
    SELECT name FROM system.tables WHERE database = currentDatabase()
      AND engine LIKE '%MergeTree' AND position(engine_full, 'old_parts_lifetime = 480') > 0""")
_KEEP_SHORT: Final = Sql("ALTER TABLE {table} MODIFY SETTING old_parts_lifetime = 8")

# The engine deletes and changes rows of no other tables.
_OTHER_ENGINES: Final = Sql("""
    SELECT name, engine FROM system.tables
    WHERE database = currentDatabase() AND name IN {names:Array(String)}
      AND engine NOT LIKE '%MergeTree' ORDER BY name LIMIT 1""")

_HAS_TTL: Final = Sql("""
    SELECT count() FROM system.tables WHERE database = currentDatabase()
      AND name = 'notifications' AND position(engine_full, ' TTL ') > 0""")

_logger = logging.getLogger(__name__)


_ADD_COLLECTOR: Final = Sql("""
            ALTER TABLE {table}
              ADD COLUMN IF NOT EXISTS collector LowCardinality(String)
                COMMENT 'which one stored it' AFTER arrived_ns{more}""")
_ADD_BY_ARRIVAL: Final = Sql(""",
              ADD INDEX IF NOT EXISTS by_arrival arrived_ns TYPE minmax GRANULARITY 1""")
_ADD_ITEMS: Final = Sql("""
            ALTER TABLE {table}
              ADD COLUMN IF NOT EXISTS experiment LowCardinality(String),
              ADD COLUMN IF NOT EXISTS dataset LowCardinality(String),
              ADD COLUMN IF NOT EXISTS item String,
              ADD COLUMN IF NOT EXISTS item_digest String,
              ADD COLUMN IF NOT EXISTS repeat UInt32""")

# The table of schema 10: older stores have none, nor have those in which the step was cut short.
_SAME_CALLS: Final = Sql("""
            CREATE TABLE IF NOT EXISTS same_calls (
              project LowCardinality(String),
              start_ns Int64,
              trace_id FixedString(16),
              span_id FixedString(8),
              record_of FixedString(8),
              others String,
              input_tokens Nullable(Int64),
              output_tokens Nullable(Int64),
              cached_tokens Nullable(Int64),
              reasoning_tokens Nullable(Int64),
              cost Nullable(Float64),
              rank UInt64
            )
            ENGINE = ReplacingMergeTree(rank)
            PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
            PRIMARY KEY (project, start_ns) ORDER BY (project, start_ns, trace_id, span_id)""")

_ADD_CACHE_CREATION: Final = Sql("""
            ALTER TABLE {table}
              ADD COLUMN IF NOT EXISTS cache_creation_tokens Nullable(Int64)
                AFTER reasoning_tokens""")

# The same, until schema 16: of two people's words in one nanosecond it had one.
_SCORES_BY_JUDGE: Final = Sql("""
            CREATE TABLE IF NOT EXISTS scores_by_judge (
              project LowCardinality(String),
              judge LowCardinality(String),
              start_ns Int64,
              trace_id FixedString(16),
              span_id FixedString(8),
              judge_version LowCardinality(String),
              score Nullable(Float64),
              passed Nullable(Bool),
              failed Bool,
              time_ns Int64,
              rank UInt64,
              latency_ms Nullable(Float64),
              cost Nullable(Float64)
            )
            ENGINE = ReplacingMergeTree(rank)
            PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
            PRIMARY KEY (project, judge, start_ns)
            ORDER BY (project, judge, start_ns, trace_id, span_id, judge_version)""")

# The table of the schemas until 15: a store in which the step was cut short has none any more.
_VIEWS: Final = Sql("""
            CREATE TABLE IF NOT EXISTS views (
              project LowCardinality(String),
              name String,
              page LowCardinality(String),
              parameters String,
              saved_ns Int64,
              version UInt64
            )
            ENGINE = ReplacingMergeTree(version) ORDER BY (project, name)""")
# The table of the schemas until 16: the oldest stores have none, nor have those in which the step
# was cut short.
_EXPERIMENT_TRACES: Final = Sql("""
            CREATE TABLE IF NOT EXISTS experiment_traces (
              project LowCardinality(String),
              start_ns Int64,
              trace_id FixedString(16),
              end_ns Int64,
              experiment LowCardinality(String)
            )
            ENGINE = ReplacingMergeTree(end_ns)
            PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
            ORDER BY (project, start_ns, trace_id)""")
_ROOT_FIRST: Final = Sql("(parent_span_id != toFixedString('', 8), start_ns, span_id)")
_NAMING: Final = Sql("""
              SELECT project, start_ns, trace_id, span_id, parent_span_id,
                toString(session) AS session, toString(user) AS user,
                toString(experiment) AS experiment FROM runs FINAL
              UNION ALL
              SELECT project, start_ns, trace_id, span_id, parent_span_id,
                toString(session), toString(user), toString(experiment) FROM open_runs FINAL
              WHERE (project, trace_id, span_id) NOT IN (
                SELECT project, trace_id, span_id FROM runs
                WHERE (project, start_ns) IN (SELECT project, start_ns FROM open_runs))""")
_LENT: Final = Sql("""
            INSERT INTO settled ({columns}, session, user, experiment, rank)
            SELECT {taken},
              if(run.session = '', named.session, ''), if(run.user = '', named.user, ''),
              if(run.experiment != '', '',
                if(named.experiment != '', named.experiment, known.experiment)),
              toUnixTimestamp64Nano(now64(9))
            FROM ({naming}) AS run
            INNER JOIN (
              SELECT project, trace_id, argMinIf(session, {first}, session != '') AS session,
                argMinIf(user, {first}, user != '') AS user,
                argMinIf(experiment, {first}, experiment != '') AS experiment
              FROM (
                {naming}
                UNION ALL
                SELECT project, start_ns, trace_id, toFixedString('', 8), toFixedString('', 8),
                  '', '', toString(experiment) FROM experiment_traces
              ) AS naming WHERE session != '' OR user != '' OR experiment != ''
              GROUP BY project, trace_id
            ) AS named ON named.project = run.project AND named.trace_id = run.trace_id
            LEFT JOIN (SELECT *, 1 AS is_there FROM settled FINAL) AS known
              ON known.project = run.project AND known.trace_id = run.trace_id
              AND known.span_id = run.span_id AND known.start_ns = run.start_ns
            WHERE (run.session = '' AND named.session != '')
              OR (run.user = '' AND named.user != '')
              OR (run.experiment = '' AND named.experiment != '')
            SETTINGS max_partitions_per_insert_block = 0, join_use_nulls = 0""").fill(
    columns=Sql("""project, start_ns, trace_id, span_id, record_of, others, input_tokens,
              output_tokens, cached_tokens, reasoning_tokens, cache_creation_tokens, cost, provider,
              provider_model, inputs_preview, outputs_preview, first_token_ms, stream_chunks,
              latency_ns, tag_kv, counts"""),
    taken=Sql("""run.project, run.start_ns, run.trace_id, run.span_id, known.record_of,
              known.others, known.input_tokens, known.output_tokens, known.cached_tokens,
              known.reasoning_tokens, known.cache_creation_tokens, known.cost, known.provider,
              known.provider_model, known.inputs_preview, known.outputs_preview,
              known.first_token_ms, known.stream_chunks, known.latency_ns, known.tag_kv,
              known.is_there AND known.counts"""),
    naming=_NAMING,
    first=_ROOT_FIRST,
)

# Runs that keys or tags name of which something was told, as `settlement.name_owners` rules it.
_TOLD_OWNERS: Final = Sql("""
              SELECT DISTINCT project, owner FROM (
                SELECT toString(project) AS project, owner FROM late_logs
                UNION ALL SELECT toString(project), owner FROM late_tags
                UNION ALL SELECT toString(project), owner FROM metrics
                UNION ALL SELECT toString(project), owner FROM objects)
              WHERE startsWith(owner, 'key:') OR startsWith(owner, 'tag:')""")
_TAGGED_RUNS: Final = Sql("""
              SELECT toString(project) AS project, start_ns, trace_id, span_id, parent_span_id,
                toString(kind) AS kind, tag_kv FROM runs FINAL
              WHERE project IN (SELECT project FROM ({told}))
              UNION ALL
              SELECT toString(project), start_ns, trace_id, span_id, parent_span_id,
                toString(kind), tag_kv FROM open_runs FINAL
              WHERE project IN (SELECT project FROM ({told}))
                AND (project, trace_id, span_id) NOT IN (
                  SELECT project, trace_id, span_id FROM runs
                  WHERE (project, start_ns) IN (SELECT project, start_ns FROM open_runs))""").fill(
    told=_TOLD_OWNERS
)
_NAMED_BY_OWNERS: Final = Sql("""
            INSERT INTO settled ({columns}, owners, rank)
            SELECT {taken}, run.owners, toUnixTimestamp64Nano(now64(9))
            FROM (
              SELECT project, start_ns, trace_id, span_id,
                arraySort(groupUniqArray(owner)) AS owners
              FROM (
                SELECT project, start_ns, trace_id, span_id, concat('key:', keyed.key) AS owner
                FROM ({runs}) AS calls
                INNER JOIN ({keyed}) AS keyed
                  ON keyed.project = calls.project AND keyed.trace_id = calls.trace_id
                WHERE kind != 'span' AND (project, trace_id, parent_span_id) NOT IN (
                  SELECT project, trace_id, span_id FROM ({runs})
                  WHERE kind != 'span' AND (project, trace_id) IN (
                    SELECT project, trace_id FROM ({keyed})))
                UNION ALL
                SELECT project, start_ns, trace_id, span_id, concat('tag:', text) AS owner
                FROM (
                  SELECT project, start_ns, trace_id, span_id, arrayJoin(tag_kv) AS text
                  FROM ({runs})
                  UNION ALL
                  SELECT runs.project, start_ns, trace_id, span_id, late.text
                  FROM ({runs}) AS runs
                  INNER JOIN (
                    SELECT toString(project) AS project, owner,
                      concat(name, '=', if(startsWith(value, '"'), JSONExtractString(value), value))
                        AS text
                    FROM late_tags WHERE owner < 'key:'
                  ) AS late ON late.project = runs.project
                    AND late.owner = concat(lower(hex(trace_id)), '-', lower(hex(span_id))))
                WHERE (project, concat('tag:', text)) IN (SELECT project, owner FROM ({told})))
              GROUP BY project, start_ns, trace_id, span_id
            ) AS run
            LEFT JOIN (SELECT *, 1 AS is_there FROM settled FINAL) AS known
              ON known.project = run.project AND known.trace_id = run.trace_id
              AND known.span_id = run.span_id AND known.start_ns = run.start_ns
            SETTINGS max_partitions_per_insert_block = 0, join_use_nulls = 0""").fill(
    columns=Sql("""project, start_ns, trace_id, span_id, record_of, others, input_tokens,
              output_tokens, cached_tokens, reasoning_tokens, cache_creation_tokens, cost, provider,
              provider_model, inputs_preview, outputs_preview, first_token_ms, stream_chunks,
              latency_ns, tag_kv, counts, session, user, experiment, is_whole"""),
    taken=Sql("""run.project, run.start_ns, run.trace_id, run.span_id, known.record_of,
              known.others, known.input_tokens, known.output_tokens, known.cached_tokens,
              known.reasoning_tokens, known.cache_creation_tokens, known.cost, known.provider,
              known.provider_model, known.inputs_preview, known.outputs_preview,
              known.first_token_ms, known.stream_chunks, known.latency_ns, known.tag_kv,
              known.is_there AND known.counts, known.session, known.user, known.experiment,
              known.is_whole"""),
    runs=_TAGGED_RUNS,
    keyed=Sql("""
                  SELECT DISTINCT toString(project) AS project, key, trace_id FROM trace_index
                  WHERE (project, concat('key:', key)) IN (SELECT project, owner FROM ({told}))
                    AND trace_id != toFixedString('', 16)""").fill(told=_TOLD_OWNERS),
    told=_TOLD_OWNERS,
)

# Tables of older schemas, whose rows are in others now: backups may have them.
DROPPED: Final = {
    "same_calls": _SAME_CALLS,
    "views": _VIEWS,
    "experiment_traces": _EXPERIMENT_TRACES,
    "scores_by_judge": _SCORES_BY_JUDGE,
}

# What a store lacks that was made before a version, beside the tables themselves: a step for each
# version from the third on. Version 1 had the first tables, 2 added open_runs and processes.
_FIRST_STEP: Final = 3
STEPS: Final[Sequence[Sequence[Sql]]] = (
    # Keys of traces were only kept the other way round.
    [
        Sql("""
            INSERT INTO trace_keys (project, trace_id, key)
            SELECT DISTINCT project, trace_id, key FROM trace_index
            WHERE key != lower(hex(trace_id))""")
    ],
    # Objects, artifacts and artifact_chunks are tables, which need no step.
    [],
    [
        Sql("""
            ALTER TABLE late_logs
              ADD COLUMN IF NOT EXISTS event LowCardinality(String)
                COMMENT 'empty for an ordinary line' AFTER message,
              ADD COLUMN IF NOT EXISTS attributes String CODEC(ZSTD(1))
                COMMENT 'JSON text, empty when there are none' AFTER event"""),
        # Of a process that sent before numbers were kept, only what comes then is counted.
        Sql("""
            INSERT INTO arrivals (project, process, hour, base)
            SELECT project, process, 0, max(seq) FROM runs
            WHERE process != ''
              AND (project, process) NOT IN (SELECT project, process FROM arrivals)
            GROUP BY project, process"""),
        Sql("ALTER TABLE runs MODIFY SETTING merge_selector_base = 8"),
        Sql("ALTER TABLE payloads MODIFY SETTING merge_selector_base = 8"),
        Sql("ALTER TABLE trace_index MODIFY SETTING merge_selector_base = 8"),
    ],
    [
        Sql("""
            ALTER TABLE payloads
              ADD INDEX IF NOT EXISTS by_input inputs TYPE text(tokenizer = 'splitByNonAlpha'),
              ADD INDEX IF NOT EXISTS by_output outputs
                TYPE text(tokenizer = 'splitByNonAlpha')"""),
        # Built behind the start: a search is right without them, and slower.
        Sql("ALTER TABLE payloads MATERIALIZE INDEX by_input SETTINGS mutations_sync = 0"),
        Sql("ALTER TABLE payloads MATERIALIZE INDEX by_output SETTINGS mutations_sync = 0"),
        # Which collector stored what, and when: it sends that on.
        *(
            _ADD_COLLECTOR.fill(table=table, more=_ADD_BY_ARRIVAL)
            for table in (Sql("runs"), Sql("metrics"), Sql("late_tags"), Sql("late_logs"))
        ),
        *(
            _ADD_COLLECTOR.fill(table=table, more=EMPTY)
            for table in (Sql("open_runs"), Sql("objects"))
        ),
        Sql("""
            ALTER TABLE trace_keys
              ADD COLUMN IF NOT EXISTS arrived_ns Int64
                DEFAULT toInt64(cityHash64(trace_id, key) % 1000000000000000000)
                COMMENT 'when it came last; below all times where that was not kept' AFTER key,
              ADD COLUMN IF NOT EXISTS collector LowCardinality(String)
                COMMENT 'which one stored it' AFTER arrived_ns"""),
        Sql("""
            ALTER TABLE model_versions
              ADD COLUMN IF NOT EXISTS stored SimpleAggregateFunction(maxMap, Map(String, Int64))
                DEFAULT map('', first_arrived_ns)
                COMMENT 'when which collector stored something of it last' AFTER definition"""),
        # Days that were stored before there was a rollup wait to be computed.
        Sql("""
            INSERT INTO daily (project, day_ns, marked_ns)
            SELECT DISTINCT project, intDiv(start_ns, 86400000000000) * 86400000000000,
              toUnixTimestamp64Nano(now64(9)) FROM runs"""),
    ],
    [
        Sql("""
            ALTER TABLE metrics
              ADD COLUMN IF NOT EXISTS actual String AFTER error,
              ADD COLUMN IF NOT EXISTS annotator LowCardinality(String) AFTER actual"""),
    ],
    # Aliases of versions and lineage of runs are tables, which need no step.
    [],
    [
        Sql("""
            ALTER TABLE metrics
              ADD COLUMN IF NOT EXISTS latency_ms Nullable(Float64) AFTER annotator,
              ADD COLUMN IF NOT EXISTS cost Nullable(Float64) AFTER latency_ms"""),
        _SCORES_BY_JUDGE,
        Sql("""
            ALTER TABLE scores_by_judge
              ADD COLUMN IF NOT EXISTS latency_ms Nullable(Float64) AFTER rank,
              ADD COLUMN IF NOT EXISTS cost Nullable(Float64) AFTER latency_ms"""),
        # Cells of the rollup held what all versions of a judge said: their days are computed
        # anew. They are marked before the column is there that tells versions apart.
        Sql("""
            INSERT INTO daily (project, day_ns, marked_ns)
            SELECT DISTINCT project, day_ns, toUnixTimestamp64Nano(now64(9)) FROM daily_scores"""),
        Sql("""
            ALTER TABLE daily_scores
              ADD COLUMN IF NOT EXISTS judge_version LowCardinality(String)
                COMMENT 'digest; empty where the judge told none' AFTER judge"""),
    ],
    # What counts of runs that record the same call: traces that are here are looked at once the
    # collector runs.
    [_SAME_CALLS],
    # Items of data sets and traces of experiments are tables; runs say of which item they are.
    [
        *(_ADD_ITEMS.fill(table=table) for table in (Sql("runs"), Sql("open_runs"))),
    ],
    # What is told of streams stands in columns of runs that are stored from here on; what older
    # ones say of it is among their attributes.
    [
        Sql("""
            ALTER TABLE runs
              ADD COLUMN IF NOT EXISTS first_token_ms Nullable(Float64) AFTER cost,
              ADD COLUMN IF NOT EXISTS stream_chunks Nullable(Int64) AFTER first_token_ms"""),
    ],
    # Items that are stored from here on know the session of the run that they were made of.
    [
        Sql("""
            ALTER TABLE items
              ADD COLUMN IF NOT EXISTS source_session String AFTER source_run"""),
    ],
    # What was written to a cache is a column of what is stored from here on; of older runs it is
    # among their attributes.
    [
        _ADD_CACHE_CREATION.fill(table=Sql("runs")),
        _ADD_CACHE_CREATION.fill(table=Sql("same_calls")),
        Sql("""
            ALTER TABLE daily_runs
              ADD COLUMN IF NOT EXISTS cache_creation_tokens Int64 AFTER reasoning_tokens"""),
    ],
    # What counted of runs stands in a wider table, with what all records of a call say: that is
    # found once the collector runs, which looks at all traces again.
    [
        _SAME_CALLS,
        _ADD_CACHE_CREATION.fill(table=Sql("same_calls")),
        Sql("""
            INSERT INTO settled (project, start_ns, trace_id, span_id, record_of, others,
              input_tokens, output_tokens, cached_tokens, reasoning_tokens,
              cache_creation_tokens, cost, rank)
            SELECT project, start_ns, trace_id, span_id, record_of, others,
              input_tokens, output_tokens, cached_tokens, reasoning_tokens,
              cache_creation_tokens, cost, rank
            FROM same_calls"""),
        Sql("DROP TABLE same_calls"),
    ],
    # Saved views are documents.
    [
        _VIEWS,
        Sql("""
            INSERT INTO documents (project, kind, name, body, version, saved_ns)
            SELECT project, 'view', name,
              concat('{"page":', toJSONString(toString(page)), ',"parameters":', parameters, '}'),
              1, saved_ns
            FROM views FINAL WHERE page != ''"""),
        Sql("DROP TABLE views"),
    ],
    # Session and user of its trace, and in which experiment that is, are settled of a run that
    # names none. Traces of experiments had a table of their own.
    [
        _EXPERIMENT_TRACES,
        _LENT,
        Sql("DROP TABLE experiment_traces"),
    ],
    # Scores are made of metrics, with the id of their record. Those whose metrics have left by now
    # are taken over as they are.
    [
        _SCORES_BY_JUDGE,
        Sql("INSERT INTO scores {scores}").fill(scores=SCORES_OF_METRICS.select),
        Sql("""
            INSERT INTO scores (project, judge, start_ns, trace_id, span_id, judge_version, score,
              passed, failed, time_ns, rank, latency_ms, cost)
            SELECT project, judge, start_ns, trace_id, span_id, judge_version, score,
              passed, failed, time_ns, rank, latency_ms, cost
            FROM scores_by_judge FINAL
            WHERE (trace_id, span_id, cityHash64(project, judge, judge_version)) NOT IN (
              SELECT trace_id, span_id, cityHash64(project, judge, judge_version)
              FROM scores)"""),
        Sql("DROP TABLE scores_by_judge"),
    ],
    # Of days that were computed before there were sums by the hour these are computed now.
    [
        Sql("""
            INSERT INTO daily (project, day_ns, marked_ns)
            SELECT DISTINCT project, day_ns, toUnixTimestamp64Nano(now64(9)) FROM daily_runs"""),
    ],
    # What is computed of a table of data is a point of a metric, and no score.
    [
        Sql("ALTER TABLE scores_of_metrics MODIFY QUERY {scores}").fill(
            scores=SCORES_OF_METRICS.select
        ),
    ],
    # Sketches of the days that are here are made once the collector runs.
    [
        Sql("""
            ALTER TABLE daily
              ADD COLUMN IF NOT EXISTS sketched_ns SimpleAggregateFunction(max, Int64)
                COMMENT 'the same of its sketches' AFTER computed_ns"""),
    ],
    # What is settled of a call of several records says whether the run that counts is whole: it
    # is where each delivery of its payload has an input and an output.
    [
        Sql("""
            INSERT INTO settled SELECT * REPLACE (true AS is_whole) FROM settled FINAL
            WHERE others NOT IN ('', '[]')
              AND (project, start_ns, trace_id, span_id) IN (
                SELECT project, start_ns, trace_id, span_id FROM payloads
                WHERE start_ns IN (
                  SELECT start_ns FROM settled WHERE others NOT IN ('', '[]'))
                GROUP BY project, start_ns, trace_id, span_id
                HAVING min(inputs != '' AND outputs != ''))"""),
    ],
    # States of alerts, their changes and notifications are tables, which need no step.
    [],
    [],
    # Which runs keys and tags name was settled here, before a mistake moved it to schema 28.
    [],
    # What runs foretold by targets is kept of the days that are here once the collector runs.
    [],
    # No program ended at this one.
    [],
    # Which runs keys and tags name, of which something was told, is settled of them.
    [_NAMED_BY_OWNERS],
    # A new step goes here. One for declared tables, columns and indexes is empty.
)

# The schema that a program and a store agree on: one more with each release that changes a table.
SCHEMA_VERSION: Final = _FIRST_STEP + len(STEPS) - 1

_READ_COLUMNS: Final = Sql("""
    SELECT name FROM system.columns
    WHERE database = currentDatabase() AND table = {table:String}""")
_INDEXES: Final = Sql("""
    SELECT name FROM system.data_skipping_indices
    WHERE database = currentDatabase() AND table = {table:String}""")
_FOUND: Final = Sql("SELECT max(value) FROM store_meta WHERE name = 'schema'")
# Since when a definition has at most two versions by its outputs: the numbers that a store gave
# before stay what they were. A new store has had the rule for ever.
_TWO_STRUCTURES: Final = Sql("""
INSERT INTO store_meta (name, value)
SELECT 'two_structures', if({is_new:Bool}, 0, toUnixTimestamp64Nano(now64(9)))
FROM (SELECT count() AS known FROM store_meta WHERE name = 'two_structures') WHERE known = 0""")


def connect(url: str) -> Connections:
    """Open the store at an address, and bring it to today's schema.

    Args:
        url: As `Connections` takes it.

    Raises:
        BadSetting: The address cannot be read, another process holds the data directory, the
            server does not answer, its tables are of an engine that deletes no rows, or the store
            is newer than this program.
    """
    connections = Connections(url)
    for folder in connections.folder.glob("store/store/*/*") if connections.folder else ():
        drop_unread(folder)
    try:
        client = connections.open()
        if connections.folder is None:
            _check_engines(client)
        migrate(client)
        _keep_parts_short(client)
        if connections.folder is not None:
            _remove_by_one_thread(client)
    except (ClickHouseError, Unavailable, TypeError) as error:  # of an option that nobody knows
        connections.close()
        text = f"The store at {connections.name} cannot be opened: {said_of(error)}"
        raise BadSetting(text) from error
    except BadSetting:
        connections.close()
        raise
    return connections


def _check_engines(client: StoreClient) -> None:
    """Refuse tables of which no row can be deleted: Distributed ones, before those of shards."""
    result_rows = client.query(
        _OTHER_ENGINES, parameters={"names": sorted(TABLE_NAMES)}
    ).result_rows
    for name, engine in result_rows:
        raise BadSetting(
            f"The table {name} of the store has the engine {engine}, of which ClickHouse deletes "
            "no rows: deletions and retention would fail. Expected tables of the MergeTree family, "
            "as deploy/clickhouse/cluster.sql makes them: with several shards each is a store of "
            "its own, with collectors of its own"
        )


def _keep_parts_short(client: StoreClient) -> None:
    for (table,) in client.query(_KEPT_LONG).result_rows:
        if table in TABLE_NAMES:
            client.command(_KEEP_SHORT.fill(table=identifier(table, TABLE_NAMES)))


def _remove_by_one_thread(client: StoreClient) -> None:
    for (table,) in client.query(_UNTOLD, parameters={"setting": _REMOVAL}).result_rows:
        if table in TABLE_NAMES:
            name = identifier(table, TABLE_NAMES)
            client.command(_REMOVE.fill(table=name, setting=Sql(_REMOVAL)))


def _remove_ttl(client: StoreClient) -> None:
    """Let no engine delete notifications: its clock may be wrong, and nobody would notice."""
    if client.query(_HAS_TTL).result_rows[0][0]:
        client.command(Sql("ALTER TABLE notifications REMOVE TTL"))


def migrate(client: StoreClient) -> None:
    """Bring a store to today's schema; a second call is harmless.

    Raises:
        BadSetting: The store is newer than this program. Nothing was changed.
    """
    client.command(META)
    rows = client.query(_FOUND).result_rows
    schema = int(rows[0][0]) if rows else 0
    if schema > SCHEMA_VERSION:
        raise BadSetting(
            f"The store has schema {schema}, this program knows {SCHEMA_VERSION}: "
            "use a newer otel-ml, nothing was changed"
        )
    client.command(_TWO_STRUCTURES, {"is_new": schema == 0})
    _remove_ttl(client)
    if schema == SCHEMA_VERSION:
        return
    for table in TABLES:
        client.command(table)
    if schema:  # a store that has none yet has no rows that lack anything
        for declared in DECLARED_TABLES:
            _add_declared(client, declared)
    for copy in COPIES:
        client.command(copy)
    if schema:
        for version, step in enumerate(STEPS, _FIRST_STEP):
            if schema < version:
                _run(client, version, step)
    _note(client, SCHEMA_VERSION)
    _logger.info("The store has schema %d now, it had %d", SCHEMA_VERSION, schema)


def _add_declared(client: StoreClient, table: Table[Any]) -> None:
    """Add the columns and indexes that a table declares and the store lacks."""
    asked = {"table": table.name}
    columns = {name for (name,) in client.query(_READ_COLUMNS, asked).result_rows}
    indexes = {name for (name,) in client.query(_INDEXES, asked).result_rows}
    lines = [
        *(line for column, line in table.added_columns if column not in columns),
        *(line for index, line in table.added_indexes if index not in indexes),
    ]
    if lines:
        alter = Sql("ALTER TABLE {table} {lines}")
        client.command(alter.fill(table=table.sql, lines=join_sql(", ", lines)))


def _run(client: StoreClient, version: int, step: Sequence[Sql]) -> None:
    for statement in step:
        client.command(statement, settings=dict(_UNHURRIED))
    if version < SCHEMA_VERSION:
        _note(client, version)


def _note(client: StoreClient, version: int) -> None:
    client.insert("store_meta", [["schema", version]])
