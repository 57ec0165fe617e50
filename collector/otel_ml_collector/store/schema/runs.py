"""Tables of runs: light rows for lists, payloads beside them, runs that have not ended."""

from typing import Final

from otel_ml_collector.store.schema.settings import BUCKETS, DURABLE, MERGES

# One row a span, light enough for lists; ended runs only.
RUNS: Final = f"""
CREATE TABLE IF NOT EXISTS runs (
  project LowCardinality(String),
  start_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  trace_id FixedString(16),
  span_id FixedString(8),
  parent_span_id FixedString(8),
  latency_ns Int64 CODEC(T64, ZSTD(1)),
  kind LowCardinality(String),
  name LowCardinality(String),
  span_kind LowCardinality(String),
  model LowCardinality(String),
  digest LowCardinality(String),
  structure LowCardinality(String),
  outcome LowCardinality(String),
  error_type LowCardinality(String),
  error_message String,
  inputs_preview String,
  outputs_preview String,
  tags Map(LowCardinality(String), String) COMMENT 'JSON text by name',
  tag_kv Array(String) COMMENT 'name=text, for equality from the index alone',
  session String,
  user String,
  environment LowCardinality(String),
  release LowCardinality(String),
  provider LowCardinality(String),
  provider_model LowCardinality(String),
  input_tokens Nullable(Int64),
  output_tokens Nullable(Int64),
  cached_tokens Nullable(Int64),
  reasoning_tokens Nullable(Int64),
  cost Nullable(Float64),
  dialect LowCardinality(String),
  process LowCardinality(String),
  seq Int64 CODEC(DoubleDelta, ZSTD(1)),
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  collector LowCardinality(String) COMMENT 'which one stored it',
  rank UInt64,
  INDEX by_tag tag_kv TYPE text(tokenizer = 'array'),
  INDEX by_arrival arrived_ns TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
PRIMARY KEY (project, start_ns) ORDER BY (project, start_ns, trace_id, span_id)
SETTINGS index_granularity = 1024, {BUCKETS}, {MERGES}, {DURABLE}
"""

# What only the page of one run needs, under the same key. Words of the input and the output are
# found by their indexes, which are built when parts are merged.
PAYLOADS: Final = f"""
CREATE TABLE IF NOT EXISTS payloads (
  project LowCardinality(String),
  start_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  trace_id FixedString(16),
  span_id FixedString(8),
  inputs String CODEC(ZSTD(1)),
  outputs String CODEC(ZSTD(1)),
  params String CODEC(ZSTD(1)),
  tag_details String CODEC(ZSTD(1)) COMMENT 'JSON: type and group by tag',
  logs String CODEC(ZSTD(1)) COMMENT 'JSON: lines of text',
  events String CODEC(ZSTD(1)) COMMENT 'JSON: other span events',
  links String CODEC(ZSTD(1)),
  attributes String CODEC(ZSTD(1)) COMMENT 'JSON: what no field holds',
  resource String CODEC(ZSTD(1)),
  scope String CODEC(ZSTD(1)),
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  rank UInt64,
  INDEX by_input inputs TYPE text(tokenizer = 'splitByNonAlpha'),
  INDEX by_output outputs TYPE text(tokenizer = 'splitByNonAlpha')
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
PRIMARY KEY (project, start_ns) ORDER BY (project, start_ns, trace_id, span_id)
SETTINGS index_granularity = 256, {MERGES}, {DURABLE}
"""

# Runs that said that they began, with what is known of them; `outcome` is computed when read. The
# key is the run's, so that two deliveries are one row; rows whose run has ended are swept.
OPEN_RUNS: Final = f"""
CREATE TABLE IF NOT EXISTS open_runs (
  project LowCardinality(String),
  start_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  trace_id FixedString(16),
  span_id FixedString(8),
  parent_span_id FixedString(8),
  kind LowCardinality(String),
  name LowCardinality(String),
  span_kind LowCardinality(String),
  model LowCardinality(String),
  digest LowCardinality(String),
  structure LowCardinality(String),
  inputs_preview String,
  tags Map(LowCardinality(String), String) COMMENT 'JSON text by name',
  tag_kv Array(String) COMMENT 'name=text',
  session String,
  user String,
  environment LowCardinality(String),
  release LowCardinality(String),
  provider LowCardinality(String),
  provider_model LowCardinality(String),
  dialect LowCardinality(String),
  process String,
  inputs String CODEC(ZSTD(1)) COMMENT 'JSON: often a preview only',
  params String CODEC(ZSTD(1)),
  tag_details String CODEC(ZSTD(1)) COMMENT 'JSON: type and group by tag',
  logs String CODEC(ZSTD(1)) COMMENT 'JSON: lines of text',
  events String CODEC(ZSTD(1)) COMMENT 'JSON: other span events',
  links String CODEC(ZSTD(1)),
  attributes String CODEC(ZSTD(1)) COMMENT 'JSON: what no field holds',
  resource String CODEC(ZSTD(1)),
  scope String CODEC(ZSTD(1)),
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  collector LowCardinality(String) COMMENT 'which one stored it',
  rank UInt64
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))
ORDER BY (project, trace_id, span_id)
SETTINGS index_granularity = 1024, {DURABLE}
"""
