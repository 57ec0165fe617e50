"""Tables of sending processes: signs of life, and which of their numbers came."""

from typing import Final

from otel_ml_collector.store.schema.settings import DURABLE

# What is known of sending processes. `arrived_ns` is when anything of theirs last came, the other
# times are by their own clocks.
PROCESSES: Final = f"""
CREATE TABLE IF NOT EXISTS processes (
  project LowCardinality(String),
  process String,
  heartbeat_ns SimpleAggregateFunction(max, Int64),
  goodbye_ns SimpleAggregateFunction(max, Int64),
  seq SimpleAggregateFunction(max, Int64) COMMENT 'highest number given to a span',
  dropped SimpleAggregateFunction(max, Int64) COMMENT 'spans that it dropped',
  arrived_ns SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree ORDER BY (project, process)
SETTINGS index_granularity = 1024, {DURABLE}
"""

# Which numbers of a process came, by the hour (since 1970, UTC) in which their spans ended. Two
# deliveries of a number are one: bitmaps and maxima join the same in any order.
ARRIVALS: Final = f"""
CREATE TABLE IF NOT EXISTS arrivals (
  project LowCardinality(String),
  process String,
  hour UInt32,
  timely AggregateFunction(groupBitmap, UInt64) DEFAULT bitmapBuild(timely_numbers),
  late AggregateFunction(groupBitmap, UInt64) DEFAULT bitmapBuild(late_numbers),
  highest SimpleAggregateFunction(maxMap, Map(UInt32, UInt64))
    COMMENT 'number by the minute (since 1970, UTC) in which it came',
  dropped SimpleAggregateFunction(max, UInt64) COMMENT 'spans that it had dropped by then',
  base SimpleAggregateFunction(max, UInt64) COMMENT 'numbers up to it were not kept here',
  timely_numbers Array(UInt64) EPHEMERAL,
  late_numbers Array(UInt64) EPHEMERAL
)
ENGINE = AggregatingMergeTree ORDER BY (project, process, hour)
SETTINGS index_granularity = 1024, {DURABLE}
"""
