"""Tables of what was deleted, and of how long each project is kept."""

from typing import Final

from otel_ml_collector.store.schema.settings import DURABLE

# What was asked to be deleted: a row with a higher stage holds. `deleted_ns` is when it was asked.
DELETIONS: Final = f"""
CREATE TABLE IF NOT EXISTS deletions (
  project LowCardinality(String),
  kind LowCardinality(String) COMMENT 'run, session, user, model or project',
  target String COMMENT 'run id or name; empty for a project',
  deleted_ns Int64,
  stage UInt8 COMMENT '1 asked, 2 carried out'
)
ENGINE = ReplacingMergeTree(stage) ORDER BY (project, kind, target, deleted_ns)
SETTINGS index_granularity = 1024, {DURABLE}
"""

# Each deleted run: when it comes again, it is acknowledged and not stored.
DELETED_RUNS: Final = f"""
CREATE TABLE IF NOT EXISTS deleted_runs (
  project LowCardinality(String),
  trace_id FixedString(16),
  span_id FixedString(8),
  start_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  deleted_ns Int64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'names the deletion'
)
ENGINE = ReplacingMergeTree ORDER BY (project, trace_id, span_id, deleted_ns)
SETTINGS index_granularity = 256, {DURABLE}
"""

# What else is about deleted runs alone: responses of providers, keys of traces that are gone. What
# was told of them before is not stored either.
DELETED_OWNERS: Final = f"""
CREATE TABLE IF NOT EXISTS deleted_owners (
  project LowCardinality(String),
  owner String,
  deleted_ns Int64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'names the deletion'
)
ENGINE = ReplacingMergeTree ORDER BY (project, owner, deleted_ns)
SETTINGS index_granularity = 256, {DURABLE}
"""

# How long a project's records and payloads are kept where that is not as configured. The row that
# was set last holds.
RETENTION: Final = f"""
CREATE TABLE IF NOT EXISTS retention (
  project LowCardinality(String),
  record_days Nullable(UInt32) COMMENT 'null as configured, 0 for ever',
  payload_days Nullable(UInt32) COMMENT 'null as configured, 0 for ever',
  set_ns Int64
)
ENGINE = ReplacingMergeTree(set_ns) ORDER BY project SETTINGS {DURABLE}
"""
