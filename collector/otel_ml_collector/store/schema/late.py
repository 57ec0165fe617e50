"""Tables of what comes after a run, about it: tags and lines of text."""

from typing import Final

from otel_ml_collector.store.schema.settings import DURABLE

LATE_TAGS: Final = f"""
CREATE TABLE IF NOT EXISTS late_tags (
  project LowCardinality(String),
  owner String,
  name String,
  value String COMMENT 'JSON text',
  type LowCardinality(String),
  `group` LowCardinality(String),
  time_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  record_id String,
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  collector LowCardinality(String) COMMENT 'which one stored it',
  INDEX by_arrival arrived_ns TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))
ORDER BY (project, owner, name, record_id)
SETTINGS index_granularity = 1024, {DURABLE}
"""

LATE_LOGS: Final = f"""
CREATE TABLE IF NOT EXISTS late_logs (
  project LowCardinality(String),
  owner String,
  record_id String,
  position UInt32,
  time_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  severity LowCardinality(String),
  message String CODEC(ZSTD(1)),
  event LowCardinality(String) COMMENT 'empty for an ordinary line',
  attributes String CODEC(ZSTD(1)) COMMENT 'JSON text, empty when there are none',
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  collector LowCardinality(String) COMMENT 'which one stored it',
  INDEX by_arrival arrived_ns TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))
ORDER BY (project, owner, record_id, position)
SETTINGS index_granularity = 1024, {DURABLE}
"""
