"""Tables of the daily rollup: what statistics need of a day, recomputed as a whole.

A recomputation is known by when it began: rows of another one than the day's newest do not count.
"""

from typing import Final

from otel_ml_collector.store.schema.settings import DURABLE

_CELL: Final = """
  project LowCardinality(String),
  day_ns Int64 COMMENT 'where the day begins, UTC',
  computed_ns Int64,
  kind LowCardinality(String),
  model LowCardinality(String),
  digest LowCardinality(String),
  structure LowCardinality(String),
  outcome LowCardinality(String)"""

# Times are by the store's clock. Of a day that was marked after it was computed the runs count.
DAILY: Final = f"""
CREATE TABLE IF NOT EXISTS daily (
  project LowCardinality(String),
  day_ns Int64 COMMENT 'where the day begins, UTC; -1 for all days of the project',
  marked_ns SimpleAggregateFunction(max, Int64),
  computed_ns SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree ORDER BY (project, day_ns)
SETTINGS index_granularity = 1024, {DURABLE}
"""

DAILY_RUNS: Final = f"""
CREATE TABLE IF NOT EXISTS daily_runs ({_CELL},
  runs UInt64,
  last_ns Int64,
  latency AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.99), Int64),
  input_tokens Int64,
  output_tokens Int64,
  cached_tokens Int64,
  reasoning_tokens Int64,
  cost Int256 COMMENT 'in 1e-15, so that any order of sums is the same',
  priced UInt64 COMMENT 'how many runs have a cost'
)
ENGINE = MergeTree ORDER BY (project, day_ns, computed_ns)
SETTINGS index_granularity = 256, {DURABLE}
"""

DAILY_SCORES: Final = f"""
CREATE TABLE IF NOT EXISTS daily_scores ({_CELL},
  judge LowCardinality(String),
  evaluations UInt64,
  failed UInt64,
  score Int256 COMMENT 'in 1e-15',
  scored UInt64,
  passed UInt64,
  judged UInt64
)
ENGINE = MergeTree ORDER BY (project, day_ns, computed_ns)
SETTINGS index_granularity = 256, {DURABLE}
"""
