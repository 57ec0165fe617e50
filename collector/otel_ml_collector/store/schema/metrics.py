"""Tables of numbers: points and scores."""

from typing import Final

from otel_ml_collector.store.schema.settings import DURABLE

# Points and scores, by what they are about: mostly a run. A point is (record_id, position), a
# judge's score (owner, judge, version).
METRICS: Final = f"""
CREATE TABLE IF NOT EXISTS metrics (
  project LowCardinality(String),
  owner String,
  owner_start_ns Int64,
  name LowCardinality(String),
  source LowCardinality(String),
  judge_version LowCardinality(String),
  record_id String,
  position UInt32,
  value Nullable(Float64),
  step Int64,
  time_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  mode LowCardinality(String),
  passed Nullable(Bool),
  label LowCardinality(String),
  explanation String CODEC(ZSTD(1)),
  error String CODEC(ZSTD(1)),
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  collector LowCardinality(String) COMMENT 'which one stored it',
  rank UInt64,
  INDEX by_arrival arrived_ns TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))
ORDER BY (project, owner, name, source, judge_version, record_id, position)
SETTINGS index_granularity = 1024, {DURABLE}
"""

# The judges' scores again, by the run's own key: filters and statistics join on it.
SCORES: Final = f"""
CREATE TABLE IF NOT EXISTS scores_by_judge (
  project LowCardinality(String),
  judge LowCardinality(String),
  start_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  trace_id FixedString(16),
  span_id FixedString(8),
  judge_version LowCardinality(String),
  score Nullable(Float64),
  passed Nullable(Bool),
  failed Bool COMMENT 'the judge raised: no score, no pass',
  time_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  rank UInt64
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
PRIMARY KEY (project, judge, start_ns)
ORDER BY (project, judge, start_ns, trace_id, span_id, judge_version)
SETTINGS index_granularity = 1024, {DURABLE}
"""
