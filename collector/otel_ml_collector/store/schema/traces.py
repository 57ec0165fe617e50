"""Tables that find traces: by id or key, and which keys a trace has."""

from typing import Final

from otel_ml_collector.store.schema.settings import DURABLE, MERGES

# Trace id in hex, or a key of the user's own, to where the runs of that trace are.
TRACE_INDEX: Final = f"""
CREATE TABLE IF NOT EXISTS trace_index (
  key String,
  project LowCardinality(String),
  trace_id FixedString(16),
  start_ns SimpleAggregateFunction(min, Int64),
  end_ns SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree ORDER BY (key, project, trace_id)
SETTINGS index_granularity = 1024, {MERGES}, {DURABLE}
"""

# The other way round, keys of the user's own only: which keys a trace has.
TRACE_KEYS: Final = f"""
CREATE TABLE IF NOT EXISTS trace_keys (
  project LowCardinality(String),
  trace_id FixedString(16),
  key String,
  arrived_ns Int64 DEFAULT toInt64(cityHash64(trace_id, key) % 1000000000000000000)
    COMMENT 'when it came last; below all times where that was not kept',
  collector LowCardinality(String) COMMENT 'which one stored it'
)
ENGINE = ReplacingMergeTree ORDER BY (project, trace_id, key)
SETTINGS index_granularity = 1024, {DURABLE}
"""
