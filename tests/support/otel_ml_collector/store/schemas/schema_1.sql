-- The tables of schema 1, as the program of its time made them.

CREATE TABLE IF NOT EXISTS store_meta (name String, value UInt64)
ENGINE = ReplacingMergeTree(value) ORDER BY name SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 480, min_bytes_for_wide_part = 134217728;

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
  rank UInt64,
  INDEX by_tag tag_kv TYPE text(tokenizer = 'array')
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
PRIMARY KEY (project, start_ns) ORDER BY (project, start_ns, trace_id, span_id)
SETTINGS index_granularity = 1024, map_serialization_version = 'with_buckets', map_serialization_version_for_zero_level_parts = 'with_buckets', map_buckets_min_avg_size = 0, map_buckets_strategy = 'constant', max_buckets_in_map = 4, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 480, min_bytes_for_wide_part = 134217728;

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
  rank UInt64
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
PRIMARY KEY (project, start_ns) ORDER BY (project, start_ns, trace_id, span_id)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 480, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS trace_index (
  key String,
  project LowCardinality(String),
  trace_id FixedString(16),
  start_ns SimpleAggregateFunction(min, Int64),
  end_ns SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree ORDER BY (key, project, trace_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 480, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS model_versions (
  project LowCardinality(String),
  kind LowCardinality(String),
  name String,
  digest String,
  structure String,
  first_arrived_ns SimpleAggregateFunction(min, Int64),
  last_seen_ns SimpleAggregateFunction(max, Int64),
  definition SimpleAggregateFunction(max, String) CODEC(ZSTD(3))
)
ENGINE = AggregatingMergeTree ORDER BY (project, kind, name, digest, structure)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 480, min_bytes_for_wide_part = 134217728;

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
  rank UInt64
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))
ORDER BY (project, owner, name, source, judge_version, record_id, position)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 480, min_bytes_for_wide_part = 134217728;

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
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 480, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS late_tags (
  project LowCardinality(String),
  owner String,
  name String,
  value String COMMENT 'JSON text',
  type LowCardinality(String),
  `group` LowCardinality(String),
  time_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  record_id String,
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))
ORDER BY (project, owner, name, record_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 480, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS late_logs (
  project LowCardinality(String),
  owner String,
  record_id String,
  position UInt32,
  time_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  severity LowCardinality(String),
  message String CODEC(ZSTD(1)),
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))
ORDER BY (project, owner, record_id, position)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 480, min_bytes_for_wide_part = 134217728;
