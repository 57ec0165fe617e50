"""All tables of the store, and the version of the schema.

Tables of records are declared in `store.tables`, all others here. To add a table, add its name to
`TABLES`, with the record that its rows follow, and a line to the list of tables in
tests/store/otel_ml_collector/store/test_schema.py. An older store gets the table when it is opened.
New columns of tables in this file, and rows that older stores lack, need a step in
`store.migrations`.
"""

from typing import Final

from otel_ml.records import TOKENS
from otel_ml_collector.store import tables
from otel_ml_collector.store.lives import Follows, Life
from otel_ml_collector.store.sql import EMPTY, Sql, identifier, join_sql, table_names
from otel_ml_collector.store.tables import DURABLE

# Contains the version of the store's schema. Every store has this table first.
META: Final = Sql("""
CREATE TABLE IF NOT EXISTS store_meta (name String, value UInt64)
ENGINE = ReplacingMergeTree(value) ORDER BY name SETTINGS {durable}
""").fill(durable=DURABLE)

# Uploaded documents. A row is written once all chunks of a document are stored; without a row, the
# document does not exist. `arrived_ns` is the time of the last upload.
ARTIFACTS: Final = Sql("""
CREATE TABLE IF NOT EXISTS artifacts (
  project LowCardinality(String),
  sha256 FixedString(32),
  bytes Int64,
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(arrived_ns) ORDER BY (project, sha256)
SETTINGS index_granularity = 1024, {durable}
""").fill(durable=DURABLE)

# The bytes of artifacts, 1 MiB per row. Granules of one row and merges of few parts keep the memory
# of merges small: with the engine's defaults, 1 GB of uploads needed 600 MB more memory.
ARTIFACT_CHUNKS: Final = Sql("""
CREATE TABLE IF NOT EXISTS artifact_chunks (
  project LowCardinality(String),
  sha256 FixedString(32),
  position UInt32,
  data String CODEC(ZSTD(1)),
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(arrived_ns)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))
ORDER BY (project, sha256, position)
SETTINGS index_granularity = 1, merge_max_block_size = 1, max_parts_to_merge_at_once = 10,
  max_bytes_to_merge_at_max_space_in_pool = 268435456, {durable}
""").fill(durable=DURABLE)

# Keys for sending and reading. The row with the higher version counts: 1 when the key is created, 2
# when it is revoked. No row is ever deleted, so a store that has had keys never becomes open again.
ACCESS_KEYS: Final = Sql("""
CREATE TABLE IF NOT EXISTS access_keys (
  id String COMMENT 'the public part',
  hash String COMMENT 'SHA-256 of the secret part, in hex',
  name String,
  scopes Array(String),
  projects Array(String) COMMENT 'in the order given, * alone for all',
  spans_per_second Int64 COMMENT '0 for any number',
  bytes_per_second Int64 COMMENT '0 for any number',
  created_ns Int64,
  revoked_ns Int64 COMMENT '0 while it is valid',
  version UInt64,
  made_by String COMMENT 'id of the key that made it, local without a key, empty if unknown',
  revoked_by String COMMENT 'as made_by'
)
ENGINE = ReplacingMergeTree(version) ORDER BY id SETTINGS {durable}
""").fill(durable=DURABLE)

# When each key was last used, written at most once an hour per key.
KEY_USES: Final = Sql("""
CREATE TABLE IF NOT EXISTS key_uses (
  id String COMMENT 'the public part of the key',
  used_ns Int64
)
ENGINE = ReplacingMergeTree(used_ns) ORDER BY id SETTINGS {durable}
""").fill(durable=DURABLE)

# Requested deletions. The row with the higher stage counts. `deleted_ns` is the time of the
# request.
DELETIONS: Final = Sql("""
CREATE TABLE IF NOT EXISTS deletions (
  project LowCardinality(String),
  kind LowCardinality(String) COMMENT 'run, session, user, model or project',
  target String COMMENT 'run id or name; empty for a project',
  deleted_ns Int64,
  stage UInt8 COMMENT '1 asked, 2 carried out',
  arrived_ns Int64 DEFAULT deleted_ns COMMENT 'newest time of arrival before the request'
)
ENGINE = ReplacingMergeTree(stage) ORDER BY (project, kind, target, deleted_ns)
SETTINGS index_granularity = 1024, {durable}
""").fill(durable=DURABLE)

# Deleted runs. If one arrives again, it is acknowledged but not stored.
DELETED_RUNS: Final = Sql("""
CREATE TABLE IF NOT EXISTS deleted_runs (
  project LowCardinality(String),
  trace_id FixedString(16),
  span_id FixedString(8),
  start_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  deleted_ns Int64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'names the deletion'
)
ENGINE = ReplacingMergeTree ORDER BY (project, trace_id, span_id, deleted_ns)
SETTINGS index_granularity = 256, {durable}
""").fill(durable=DURABLE)

# Other subjects that belong only to deleted runs, such as response IDs and keys of deleted traces.
# Records about them from before the deletion are not stored either.
DELETED_OWNERS: Final = Sql("""
CREATE TABLE IF NOT EXISTS deleted_owners (
  project LowCardinality(String),
  owner String,
  deleted_ns Int64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'names the deletion'
)
ENGINE = ReplacingMergeTree ORDER BY (project, owner, deleted_ns)
SETTINGS index_granularity = 256, {durable}
""").fill(durable=DURABLE)

# How long records and payloads are kept, for projects that differ from the configuration. The last
# row of a project counts.
RETENTION: Final = Sql("""
CREATE TABLE IF NOT EXISTS retention (
  project LowCardinality(String),
  record_days Nullable(UInt32) COMMENT 'null as configured, 0 for ever',
  payload_days Nullable(UInt32) COMMENT 'null as configured, 0 for ever',
  set_ns Int64
)
ENGINE = ReplacingMergeTree(set_ns) ORDER BY project SETTINGS {durable}
""").fill(durable=DURABLE)

_TOKENS: Final = join_sql(",\n  ", [identifier(name, TOKENS) + Sql(" Int64") for name in TOKENS])
_CELL: Final = Sql("""
  project LowCardinality(String),
  day_ns Int64 COMMENT 'where the day begins, UTC',
  computed_ns Int64,
  kind LowCardinality(String),
  model LowCardinality(String),
  digest LowCardinality(String),
  structure LowCardinality(String),
  outcome LowCardinality(String)""")

# Times are from the store's clock. If a day was marked after it was computed, statistics read its
# runs instead of its totals.
DAILY: Final = Sql("""
CREATE TABLE IF NOT EXISTS daily (
  project LowCardinality(String),
  day_ns Int64 COMMENT 'where the day begins, UTC; -1 for all days of the project',
  marked_ns SimpleAggregateFunction(max, Int64),
  computed_ns SimpleAggregateFunction(max, Int64),
  sketched_ns SimpleAggregateFunction(max, Int64) COMMENT 'the same of its sketches'
)
ENGINE = AggregatingMergeTree ORDER BY (project, day_ns)
SETTINGS index_granularity = 1024, {durable}
""").fill(durable=DURABLE)

# Totals of runs by day and by hour. A day that was computed again has rows for each computation.
_RUN_SUMS: Final = Sql("""
CREATE TABLE IF NOT EXISTS {table} ({cell},{hour}
  runs UInt64,
  last_ns Int64,
  latency AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.99), Int64),
  {tokens},
  cost Int256 COMMENT 'in 1e-15, so that any order of sums is the same',
  priced UInt64 COMMENT 'how many runs have a cost'
)
ENGINE = MergeTree ORDER BY (project, day_ns, computed_ns)
SETTINGS index_granularity = 256, {durable}
""")
_SCORE_SUMS: Final = Sql("""
CREATE TABLE IF NOT EXISTS {table} ({cell},{hour}
  judge LowCardinality(String),
  judge_version LowCardinality(String) COMMENT 'digest; empty where the judge told none',
  evaluations UInt64,
  failed UInt64,
  score Int256 COMMENT 'in 1e-15',
  scored UInt64,
  passed UInt64,
  judged UInt64
)
ENGINE = MergeTree ORDER BY (project, day_ns, computed_ns)
SETTINGS index_granularity = 256, {durable}
""")
_HOUR: Final = Sql("\n  hour_ns Int64 COMMENT 'where the hour begins, UTC',")
DAILY_RUNS, HOURLY_RUNS = (
    _RUN_SUMS.fill(table=table, cell=_CELL, hour=hour, tokens=_TOKENS, durable=DURABLE)
    for table, hour in ((Sql("daily_runs"), EMPTY), (Sql("hourly_runs"), _HOUR))
)
DAILY_SCORES, HOURLY_SCORES = (
    _SCORE_SUMS.fill(table=table, cell=_CELL, hour=hour, durable=DURABLE)
    for table, hour in ((Sql("daily_scores"), EMPTY), (Sql("hourly_scores"), _HOUR))
)

# Sketches of each field of the runs of an hour or a whole day. To merge sketches, add their values.
# A day that was sketched again has rows for each time. Rows with the part `section` count the runs
# that have inputs, outputs or params. Rows with the part `types` count the types of a field's
# values.
SKETCHES: Final = Sql("""
CREATE TABLE IF NOT EXISTS sketches (
  project LowCardinality(String),
  day_ns Int64 COMMENT 'where the day begins, UTC',
  computed_ns Int64,
  hour_ns Int64 COMMENT 'where the hour begins, UTC; -1 for the whole day',
  model LowCardinality(String),
  digest LowCardinality(String),
  structure LowCardinality(String),
  field LowCardinality(String) COMMENT 'its path, as a filter has it',
  part LowCardinality(String) COMMENT 'number, category, text, or a part of a text',
  n UInt64,
  clustered Float64 COMMENT 'n, times how much sessions make values count less',
  low Nullable(Float64),
  high Nullable(Float64),
  bins Map(Int32, UInt64) COMMENT 'numbers by bin of 2 %, words by hash',
  places Map(Int32, UInt64) COMMENT 'sum of their places in the bin',
  squares Map(Int32, UInt64) COMMENT 'sum of the squares of these',
  counts Map(String, UInt64) COMMENT 'the 200 largest, of values shorter than 64 characters'
)
ENGINE = MergeTree ORDER BY (project, model, day_ns, hour_ns, field)
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 1000, {durable}
""").fill(durable=DURABLE)

# Materialized predictions by the rule of a prediction target; their ground truth may arrive later.
# A day that was computed again has rows for each computation. `computed_ns` is from the store's
# clock.
PREDICTIONS: Final = Sql("""
CREATE TABLE IF NOT EXISTS predictions (
  project LowCardinality(String),
  rule LowCardinality(String) COMMENT 'hash of what makes a prediction of an output',
  day_ns Int64 COMMENT 'where the day begins, UTC',
  computed_ns Int64,
  start_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  trace_id FixedString(16),
  span_id FixedString(8),
  model LowCardinality(String),
  digest LowCardinality(String),
  structure LowCardinality(String),
  unit UInt64 COMMENT 'hash of its session, or else of its trace',
  predicted String COMMENT 'the class; 1 of a number and of a ranking',
  amount Nullable(Float64) COMMENT 'the number, or the probability of the class',
  items Array(String) COMMENT 'of a ranking the first ones'
)
ENGINE = MergeTree ORDER BY (project, rule, day_ns, computed_ns, start_ns)
SETTINGS index_granularity = 1024, {durable}
""").fill(durable=DURABLE)
PREDICTED: Final = Sql("""
CREATE TABLE IF NOT EXISTS predicted (
  project LowCardinality(String),
  rule LowCardinality(String),
  day_ns Int64,
  predicted_ns SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree ORDER BY (project, rule, day_ns)
SETTINGS index_granularity = 1024, {durable}
""").fill(durable=DURABLE)

# Named documents of a project. The row with the highest version counts. If several inserts start
# from the same state, the engine accepts only one: it remembers the tokens of the last 1,000
# inserts.
DOCUMENTS: Final = Sql("""
CREATE TABLE IF NOT EXISTS documents (
  project LowCardinality(String),
  kind LowCardinality(String),
  name String,
  body String CODEC(ZSTD(1)) COMMENT 'JSON; empty when it was deleted',
  version UInt64,
  saved_ns Int64,
  save_id String COMMENT 'names the save'
)
ENGINE = ReplacingMergeTree(version) ORDER BY (project, kind, name)
SETTINGS non_replicated_deduplication_window = 1000, {durable}
""").fill(durable=DURABLE)

# The state of each slice of an alert rule. The empty slice is the rule as a whole. The row with the
# highest version counts.
ALERTS: Final = Sql("""
CREATE TABLE IF NOT EXISTS alerts (
  project LowCardinality(String),
  rule String,
  slice String COMMENT 'JSON list of the values by which the rule tells runs apart',
  state LowCardinality(String),
  since_ns Int64 COMMENT 'the end of the window by which it became so',
  value Nullable(Float64) COMMENT 'of the last judged window',
  martingale Float64 COMMENT 'the sum of bets against: all is well',
  window_ns Int64 COMMENT 'the end of the last window that was looked at',
  body String CODEC(ZSTD(1)) COMMENT 'JSON: the judged windows that count, and by which rule',
  evaluator String COMMENT 'names the process that wrote it',
  version UInt64
)
ENGINE = ReplacingMergeTree(version) ORDER BY (project, rule, slice)
SETTINGS index_granularity = 1024, {durable}
""").fill(durable=DURABLE)

# Changes of alert states, kept for 400 days. A change that is found twice is one row.
ALERT_EVENTS: Final = Sql("""
CREATE TABLE IF NOT EXISTS alert_events (
  project LowCardinality(String),
  rule String,
  time_ns Int64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'the end of the window that made it',
  slice String,
  state LowCardinality(String),
  id String COMMENT 'of project, rule, slice, time and state',
  before LowCardinality(String) COMMENT 'the state until then',
  value Nullable(Float64),
  runs UInt64,
  reason String COMMENT 'where it was not a window: of what else',
  arrived_ns Int64
)
ENGINE = ReplacingMergeTree(arrived_ns)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(time_ns, 'UTC'))
ORDER BY (project, rule, time_ns, slice, state)
SETTINGS index_granularity = 1024, {durable}
""").fill(durable=DURABLE)

# Cursors of forwarding: up to where a destination has acknowledged the records of a kind that a
# collector stored. A cursor never goes back.
FORWARD_CURSORS: Final = Sql("""
CREATE TABLE IF NOT EXISTS forward_cursors (
  target String,
  kind LowCardinality(String),
  collector String,
  arrived_ns Int64
)
ENGINE = ReplacingMergeTree(arrived_ns) ORDER BY (target, kind, collector) SETTINGS {durable}
""").fill(durable=DURABLE)

# Notifications for each receiver, with their result. The row with the highest version counts.
NOTIFICATIONS: Final = Sql("""
CREATE TABLE IF NOT EXISTS notifications (
  project LowCardinality(String),
  target LowCardinality(String),
  id String COMMENT 'names the change that is told of',
  rule String,
  status LowCardinality(String) COMMENT 'firing or resolved',
  changed_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  announced_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  state LowCardinality(String) COMMENT 'waiting, sent, failed or withdrawn',
  tries UInt32,
  tried_ns Int64 COMMENT '0 before the first try',
  trouble String COMMENT 'of the last try',
  body String CODEC(ZSTD(1)) COMMENT 'JSON of the notification',
  version UInt64
)
ENGINE = ReplacingMergeTree(version) ORDER BY (project, target, id)
SETTINGS index_granularity = 256, {durable}
""").fill(durable=DURABLE)

# Who changed what: docs/design/071-activity.md. Other changes are read from the tables of versions,
# alerts, aliases, tags, labels and keys.
ACTIVITY: Final = Sql("""
CREATE TABLE IF NOT EXISTS activity (
  project LowCardinality(String),
  time_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  id String COMMENT 'of the change: one that is stored twice is one row',
  kind LowCardinality(String),
  action LowCardinality(String),
  name String COMMENT 'of what was changed',
  who String COMMENT 'id of a key; user: and a name; local without keys',
  program LowCardinality(String) COMMENT 'page, command, assistant or api',
  changes String CODEC(ZSTD(1)) COMMENT 'JSON: each changed field before and after'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(time_ns, 'UTC'))
ORDER BY (project, time_ns, id)
SETTINGS index_granularity = 1024, {durable}
""").fill(durable=DURABLE)

# In order of creation. Creating a table that exists is harmless.
TABLES: Final = (
    META,
    *(table.ddl for table in tables.DECLARED_TABLES),
    ARTIFACTS,
    ARTIFACT_CHUNKS,
    ACCESS_KEYS,
    KEY_USES,
    DELETIONS,
    DELETED_RUNS,
    DELETED_OWNERS,
    RETENTION,
    DAILY,
    DAILY_RUNS,
    DAILY_SCORES,
    HOURLY_RUNS,
    HOURLY_SCORES,
    SKETCHES,
    PREDICTIONS,
    PREDICTED,
    DOCUMENTS,
    ALERTS,
    ALERT_EVENTS,
    FORWARD_CURSORS,
    NOTIFICATIONS,
    ACTIVITY,
)
TABLE_NAMES: Final = table_names(TABLES)
# Materialized views: created when the tables that they read have all columns.
COPIES: Final = (tables.SCORES_OF_METRICS.ddl,)
# How long rows live, for tables that are not kept forever, in the order of deletion.
LIVES: Final = (
    Life(Sql("artifacts"), Follows.NAMES, "arrived_ns", topic="artifacts"),
    Life(Sql("artifact_chunks"), Follows.NAMES, "arrived_ns", topic="artifacts"),
    *(table.life for table in tables.DECLARED_TABLES if table.life),
    Life(Sql("documents"), Follows.PROJECT, "saved_ns"),
    Life(Sql("alerts"), Follows.PROJECT, "version"),
    Life(Sql("alert_events"), Follows.PROJECT, "arrived_ns"),
    Life(Sql("notifications"), Follows.PROJECT, "announced_ns"),
    Life(Sql("activity"), Follows.PROJECT, "time_ns"),
    Life(Sql("daily_runs"), Follows.PROJECT, "computed_ns"),
    Life(Sql("daily_scores"), Follows.PROJECT, "computed_ns"),
    Life(Sql("hourly_runs"), Follows.PROJECT, "computed_ns"),
    Life(Sql("hourly_scores"), Follows.PROJECT, "computed_ns"),
    Life(Sql("sketches"), Follows.PROJECT, "computed_ns"),
    Life(Sql("predictions"), Follows.RUN, "computed_ns"),
    Life(Sql("predicted"), Follows.PROJECT, "predicted_ns"),
)
