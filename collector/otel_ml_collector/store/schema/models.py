"""The table of model and judge versions."""

from typing import Final

from otel_ml_collector.store.schema.settings import DURABLE

# Kept for ever: the small number of a version is its rank by first arrival.
MODEL_VERSIONS: Final = f"""
CREATE TABLE IF NOT EXISTS model_versions (
  project LowCardinality(String),
  kind LowCardinality(String),
  name String,
  digest String,
  structure String,
  first_arrived_ns SimpleAggregateFunction(min, Int64),
  last_seen_ns SimpleAggregateFunction(max, Int64),
  definition SimpleAggregateFunction(max, String) CODEC(ZSTD(3)),
  stored SimpleAggregateFunction(maxMap, Map(String, Int64)) DEFAULT map('', first_arrived_ns)
    COMMENT 'when which collector stored something of it last'
)
ENGINE = AggregatingMergeTree ORDER BY (project, kind, name, digest, structure)
SETTINGS index_granularity = 256, {DURABLE}
"""
