-- The tables of schema 41, as the program of its time made them.

CREATE TABLE IF NOT EXISTS store_meta (name String, value UInt64)
ENGINE = ReplacingMergeTree(value) ORDER BY name SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
  actual String,
  annotator LowCardinality(String),
  latency_ms Nullable(Float64),
  cost Nullable(Float64),
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  collector LowCardinality(String) COMMENT 'which one stored it',
  rank UInt64,
  INDEX by_arrival arrived_ns TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))
ORDER BY (project, owner, name, source, judge_version, record_id, position)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS scores (
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
  rank UInt64,
  latency_ms Nullable(Float64),
  cost Nullable(Float64),
  record_id String
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
PRIMARY KEY (project, judge, start_ns)
ORDER BY (project, judge, start_ns, trace_id, span_id, judge_version, record_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS objects (
  project LowCardinality(String),
  owner String,
  record_id String,
  position UInt32,
  ref String,
  type LowCardinality(String),
  bytes Int64,
  sha256 FixedString(32) COMMENT 'of the document, zeros when it has none',
  json String CODEC(ZSTD(1)) COMMENT 'the document, empty when it did not come along',
  is_inline Bool COMMENT 'whether it did',
  preview String CODEC(ZSTD(1)) COMMENT 'JSON',
  time_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  collector LowCardinality(String) COMMENT 'which one stored it',
  rank UInt64,
  INDEX by_sha256 sha256 TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))
ORDER BY (project, owner, record_id, position)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS aliases (
  project LowCardinality(String),
  model String,
  alias LowCardinality(String),
  record_id String,
  owner String,
  digest String,
  is_removed Bool,
  by LowCardinality(String),
  source LowCardinality(String),
  time_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  rank UInt64,
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  collector LowCardinality(String) COMMENT 'which one stored it'
)
ENGINE = ReplacingMergeTree(rank)
ORDER BY (project, model, alias, record_id)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS lineage (
  project LowCardinality(String),
  owner String,
  record_id String,
  position UInt32,
  role LowCardinality(String),
  kind LowCardinality(String),
  name String,
  version String,
  run_id String,
  time_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  rank UInt64,
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  collector LowCardinality(String) COMMENT 'which one stored it',
  INDEX by_name name TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))
ORDER BY (project, owner, record_id, position)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS items (
  project LowCardinality(String),
  digest String,
  inputs String CODEC(ZSTD(1)),
  expected String CODEC(ZSTD(1)),
  tags String CODEC(ZSTD(1)),
  source_run String,
  source_session String,
  capture String,
  is_whole Bool,
  time_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  rank UInt64,
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  collector LowCardinality(String) COMMENT 'which one stored it'
)
ENGINE = ReplacingMergeTree(rank)
ORDER BY (project, digest)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS trace_index (
  key String,
  project LowCardinality(String),
  trace_id FixedString(16),
  start_ns SimpleAggregateFunction(min, Int64),
  end_ns SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree ORDER BY (key, project, trace_id)
SETTINGS index_granularity = 1024, merge_selector_base = 8, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS trace_keys (
  project LowCardinality(String),
  trace_id FixedString(16),
  key String,
  arrived_ns Int64 DEFAULT toInt64(cityHash64(trace_id, key) % 1000000000000000000) COMMENT 'when it came last; below all times where that was not kept',
  collector LowCardinality(String) COMMENT 'which one stored it'
)
ENGINE = ReplacingMergeTree ORDER BY (project, trace_id, key)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS model_versions (
  project LowCardinality(String),
  kind LowCardinality(String),
  name String,
  digest String,
  structure String,
  first_arrived_ns SimpleAggregateFunction(min, Int64),
  last_seen_ns SimpleAggregateFunction(max, Int64),
  definition SimpleAggregateFunction(max, String) CODEC(ZSTD(3)),
  stored SimpleAggregateFunction(maxMap, Map(String, Int64)) DEFAULT map('', first_arrived_ns) COMMENT 'when which collector stored something of it last'
)
ENGINE = AggregatingMergeTree ORDER BY (project, kind, name, digest, structure)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS arrivals (
  project LowCardinality(String),
  process String,
  hour UInt32,
  timely AggregateFunction(groupBitmap, UInt64) DEFAULT bitmapBuild(timely_numbers),
  late AggregateFunction(groupBitmap, UInt64) DEFAULT bitmapBuild(late_numbers),
  highest SimpleAggregateFunction(maxMap, Map(UInt32, UInt64)) COMMENT 'number by the minute (since 1970, UTC) in which it came',
  dropped SimpleAggregateFunction(max, UInt64) COMMENT 'spans that it had dropped by then',
  base SimpleAggregateFunction(max, UInt64) COMMENT 'numbers up to it were not kept here',
  timely_numbers Array(UInt64) EPHEMERAL,
  late_numbers Array(UInt64) EPHEMERAL
)
ENGINE = AggregatingMergeTree ORDER BY (project, process, hour)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS refusals (
  project LowCardinality(String),
  reason LowCardinality(String) COMMENT 'why, as the sender was told',
  process String COMMENT 'empty if the spans name none',
  hour UInt32,
  last_ns SimpleAggregateFunction(max, Int64) COMMENT 'when the last one arrived',
  numbers AggregateFunction(groupBitmap, UInt64) DEFAULT bitmapBuild(span_numbers),
  unnumbered SimpleAggregateFunction(sum, UInt64) COMMENT 'how many have no number',
  span_numbers Array(UInt64) EPHEMERAL
)
ENGINE = AggregatingMergeTree ORDER BY (project, reason, process, hour)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS call_points (
  project LowCardinality(String),
  service LowCardinality(String),
  metric LowCardinality(String),
  model LowCardinality(String),
  provider LowCardinality(String),
  operation LowCardinality(String),
  kind LowCardinality(String),
  error_type LowCardinality(String) COMMENT 'empty if the calls succeeded',
  series String COMMENT 'digest of all attributes',
  start_ns Int64 COMMENT 'since when it counts',
  time_ns Int64 COMMENT 'until when it counts',
  slot Int64 COMMENT 'points of one slot replace each other',
  is_delta Bool COMMENT 'whether it counts since the last point',
  count UInt64 COMMENT 'number of values; 0 for a counter',
  total Float64 COMMENT 'sum of the values',
  bounds Array(Float64) COMMENT 'upper bounds of the buckets',
  buckets Array(UInt64) COMMENT 'number of values in each',
  arrived_ns Int64
)
ENGINE = ReplacingMergeTree(time_ns) ORDER BY (project, metric, series, start_ns, slot)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
  rank UInt64,
  experiment LowCardinality(String),
  dataset LowCardinality(String),
  item String,
  item_digest String,
  repeat UInt32
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))
ORDER BY (project, trace_id, span_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
SETTINGS index_granularity = 256, merge_selector_base = 8, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
  cache_creation_tokens Nullable(Int64),
  cost Nullable(Float64),
  dialect LowCardinality(String),
  process LowCardinality(String),
  seq Int64 CODEC(DoubleDelta, ZSTD(1)),
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  collector LowCardinality(String) COMMENT 'which one stored it',
  rank UInt128 COMMENT 'rank of the record << 64, plus when later facts were read; the highest is kept',
  cost_note LowCardinality(String),
  first_token_ms Nullable(Float64),
  stream_chunks Nullable(Int64),
  experiment LowCardinality(String),
  dataset LowCardinality(String),
  item String,
  item_digest String,
  repeat UInt32,
  record_of FixedString(8) COMMENT 'the run that counts for their call; zeros if this one counts',
  record_trace FixedString(16) COMMENT 'the trace of the run that counts; zeros if it is this trace',
  others String CODEC(ZSTD(1)) COMMENT 'JSON: the other records of its call',
  has_amounts Bool COMMENT 'whether totals count the amounts in the next columns instead of its own',
  other_input_tokens Nullable(Int64),
  other_output_tokens Nullable(Int64),
  other_cached_tokens Nullable(Int64),
  other_reasoning_tokens Nullable(Int64),
  other_cache_creation_tokens Nullable(Int64),
  other_cost Nullable(Float64),
  call_provider LowCardinality(String) COMMENT 'that of another record of its call, if it has none',
  call_provider_model LowCardinality(String) COMMENT 'that of another record of its call, if it has none',
  call_inputs_preview String CODEC(ZSTD(1)) COMMENT 'that of another record of its call, if it has none',
  call_outputs_preview String CODEC(ZSTD(1)) COMMENT 'that of another record of its call, if it has none',
  call_first_token_ms Nullable(Float64) COMMENT 'that of another record of its call, if it has none',
  call_stream_chunks Nullable(Int64) COMMENT 'that of another record of its call, if it has none',
  call_response_id String COMMENT 'the id of the provider for the answer of its call',
  trace_session String COMMENT 'session of its trace, if it names none',
  trace_user String COMMENT 'user of its trace, if it names none',
  trace_experiment String COMMENT 'experiment of its trace, if it names none',
  is_whole Bool COMMENT 'whether its own payload has an input and an output, if its call has other records',
  owners Array(String) COMMENT 'the keys and tags with late records that name it',
  final_scores Map(String, Float64) COMMENT 'newest score of each judge and reviewer that names the run, its trace key or a tag',
  final_passed Map(String, Bool) COMMENT 'the same for pass and fail',
  final_failed Array(String) COMMENT 'the judges whose newest score is an error',
  final_labels Map(String, String) COMMENT 'newest label of each name by a reviewer, as JSON',
  final_truth Map(String, String) COMMENT 'newest ground truth of each name, as JSON',
  final_reports Map(String, String) COMMENT 'newest report of each name by a program, as JSON',
  late_tags Map(LowCardinality(String), String) COMMENT 'newest value as JSON of each tag that arrived later, if its span has no newer one',
  folded_ns UInt64 ALIAS toUInt64(rank) COMMENT 'when the facts in it were read',
  is_counted Bool ALIAS kind NOT IN ('span', 'judge', 'experiment') AND record_of = toFixedString('', 8) AND experiment = '' AND trace_experiment = '' COMMENT 'whether statistics count it',
  counted_input_tokens Nullable(Int64) ALIAS if(has_amounts, other_input_tokens, input_tokens) COMMENT 'as totals count it',
  counted_output_tokens Nullable(Int64) ALIAS if(has_amounts, other_output_tokens, output_tokens) COMMENT 'as totals count it',
  counted_cached_tokens Nullable(Int64) ALIAS if(has_amounts, other_cached_tokens, cached_tokens) COMMENT 'as totals count it',
  counted_reasoning_tokens Nullable(Int64) ALIAS if(has_amounts, other_reasoning_tokens, reasoning_tokens) COMMENT 'as totals count it',
  counted_cache_creation_tokens Nullable(Int64) ALIAS if(has_amounts, other_cache_creation_tokens, cache_creation_tokens) COMMENT 'as totals count it',
  counted_cost Nullable(Float64) ALIAS if(has_amounts, other_cost, cost) COMMENT 'as totals count it',
  final_session String ALIAS if(session = '', trace_session, session),
  final_user String ALIAS if(user = '', trace_user, user),
  final_tags Map(LowCardinality(String), String) ALIAS mapUpdate(tags, late_tags) COMMENT 'its tags with those that arrived later',
  final_provider String ALIAS if(provider = '', call_provider, provider),
  final_provider_model String ALIAS if(provider_model = '', call_provider_model, provider_model),
  final_inputs_preview String ALIAS if(inputs_preview = '', call_inputs_preview, inputs_preview),
  final_outputs_preview String ALIAS if(outputs_preview = '', call_outputs_preview, outputs_preview),
  final_first_token_ms Nullable(Float64) ALIAS ifNull(first_token_ms, call_first_token_ms),
  final_stream_chunks Nullable(Int64) ALIAS ifNull(stream_chunks, call_stream_chunks),
  INDEX by_tag tag_kv TYPE text(tokenizer = 'array'),
  INDEX by_arrival arrived_ns TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
PRIMARY KEY (project, start_ns) ORDER BY (project, start_ns, trace_id, span_id)
SETTINGS index_granularity = 1024, map_serialization_version = 'with_buckets', map_serialization_version_for_zero_level_parts = 'with_buckets', map_buckets_min_avg_size = 0, map_buckets_strategy = 'constant', max_buckets_in_map = 4, merge_selector_base = 8, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS settled (
  project LowCardinality(String),
  start_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  trace_id FixedString(16),
  span_id FixedString(8),
  record_of FixedString(8) COMMENT 'the run that counts for their call; zeros for one that counts itself',
  others String CODEC(ZSTD(1)) COMMENT 'JSON: the other records of its call',
  record_trace FixedString(16) COMMENT 'the trace of the run that counts; zeros if it is this trace',
  input_tokens Nullable(Int64),
  output_tokens Nullable(Int64),
  cached_tokens Nullable(Int64),
  reasoning_tokens Nullable(Int64),
  cache_creation_tokens Nullable(Int64),
  cost Nullable(Float64),
  provider LowCardinality(String),
  provider_model LowCardinality(String),
  inputs_preview String CODEC(ZSTD(1)),
  outputs_preview String CODEC(ZSTD(1)),
  first_token_ms Nullable(Float64),
  stream_chunks Nullable(Int64),
  latency_ns Int64,
  tag_kv Array(String) COMMENT 'the id of the provider for its answer',
  rank UInt64 COMMENT 'when the trace was looked at',
  counts Bool DEFAULT true COMMENT 'whether it is settled what counts of it',
  session String COMMENT 'session of its trace',
  user String COMMENT 'user of its trace',
  experiment String COMMENT 'experiment of its trace',
  is_whole Bool COMMENT 'whether its own payload has an input and an output',
  owners Array(String) COMMENT 'the keys and tags with late records that name it',
  INDEX by_owner owners TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
PRIMARY KEY (project, start_ns) ORDER BY (project, start_ns, trace_id, span_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS artifacts (
  project LowCardinality(String),
  sha256 FixedString(32),
  bytes Int64,
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(arrived_ns) ORDER BY (project, sha256)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
  max_bytes_to_merge_at_max_space_in_pool = 268435456, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
ENGINE = ReplacingMergeTree(version) ORDER BY id SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS key_uses (
  id String COMMENT 'the public part of the key',
  used_ns Int64
)
ENGINE = ReplacingMergeTree(used_ns) ORDER BY id SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS deletions (
  project LowCardinality(String),
  kind LowCardinality(String) COMMENT 'run, session, user, model or project',
  target String COMMENT 'run id or name; empty for a project',
  deleted_ns Int64,
  stage UInt8 COMMENT '1 asked, 2 carried out',
  arrived_ns Int64 DEFAULT deleted_ns COMMENT 'newest time of arrival before the request'
)
ENGINE = ReplacingMergeTree(stage) ORDER BY (project, kind, target, deleted_ns)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS deleted_runs (
  project LowCardinality(String),
  trace_id FixedString(16),
  span_id FixedString(8),
  start_ns Int64 CODEC(DoubleDelta, ZSTD(1)),
  deleted_ns Int64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'names the deletion'
)
ENGINE = ReplacingMergeTree ORDER BY (project, trace_id, span_id, deleted_ns)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS deleted_owners (
  project LowCardinality(String),
  owner String,
  deleted_ns Int64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'names the deletion'
)
ENGINE = ReplacingMergeTree ORDER BY (project, owner, deleted_ns)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS retention (
  project LowCardinality(String),
  record_days Nullable(UInt32) COMMENT 'null as configured, 0 for ever',
  payload_days Nullable(UInt32) COMMENT 'null as configured, 0 for ever',
  set_ns Int64
)
ENGINE = ReplacingMergeTree(set_ns) ORDER BY project SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS daily (
  project LowCardinality(String),
  day_ns Int64 COMMENT 'where the day begins, UTC; -1 for all days of the project',
  marked_ns SimpleAggregateFunction(max, Int64),
  computed_ns SimpleAggregateFunction(max, Int64),
  sketched_ns SimpleAggregateFunction(max, Int64) COMMENT 'the same of its sketches'
)
ENGINE = AggregatingMergeTree ORDER BY (project, day_ns)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS daily_runs (
  project LowCardinality(String),
  day_ns Int64 COMMENT 'where the day begins, UTC',
  computed_ns Int64,
  kind LowCardinality(String),
  model LowCardinality(String),
  digest LowCardinality(String),
  structure LowCardinality(String),
  outcome LowCardinality(String),
  runs UInt64,
  last_ns Int64,
  latency AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.99), Int64),
  input_tokens Int64,
  output_tokens Int64,
  cached_tokens Int64,
  reasoning_tokens Int64,
  cache_creation_tokens Int64,
  cost Int256 COMMENT 'in 1e-15, so that any order of sums is the same',
  priced UInt64 COMMENT 'how many runs have a cost'
)
ENGINE = MergeTree ORDER BY (project, day_ns, computed_ns)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS daily_scores (
  project LowCardinality(String),
  day_ns Int64 COMMENT 'where the day begins, UTC',
  computed_ns Int64,
  kind LowCardinality(String),
  model LowCardinality(String),
  digest LowCardinality(String),
  structure LowCardinality(String),
  outcome LowCardinality(String),
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
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS hourly_runs (
  project LowCardinality(String),
  day_ns Int64 COMMENT 'where the day begins, UTC',
  computed_ns Int64,
  kind LowCardinality(String),
  model LowCardinality(String),
  digest LowCardinality(String),
  structure LowCardinality(String),
  outcome LowCardinality(String),
  hour_ns Int64 COMMENT 'where the hour begins, UTC',
  runs UInt64,
  last_ns Int64,
  latency AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.99), Int64),
  input_tokens Int64,
  output_tokens Int64,
  cached_tokens Int64,
  reasoning_tokens Int64,
  cache_creation_tokens Int64,
  cost Int256 COMMENT 'in 1e-15, so that any order of sums is the same',
  priced UInt64 COMMENT 'how many runs have a cost'
)
ENGINE = MergeTree ORDER BY (project, day_ns, computed_ns)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS hourly_scores (
  project LowCardinality(String),
  day_ns Int64 COMMENT 'where the day begins, UTC',
  computed_ns Int64,
  kind LowCardinality(String),
  model LowCardinality(String),
  digest LowCardinality(String),
  structure LowCardinality(String),
  outcome LowCardinality(String),
  hour_ns Int64 COMMENT 'where the hour begins, UTC',
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
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS predicted (
  project LowCardinality(String),
  rule LowCardinality(String),
  day_ns Int64,
  predicted_ns SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree ORDER BY (project, rule, day_ns)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS forward_cursors (
  target String,
  kind LowCardinality(String),
  collector String,
  arrived_ns Int64
)
ENGINE = ReplacingMergeTree(arrived_ns) ORDER BY (target, kind, collector) SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

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
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728;

CREATE MATERIALIZED VIEW IF NOT EXISTS scores_of_metrics TO scores AS SELECT project AS project, name AS judge, owner_start_ns AS start_ns, toFixedString(unhex(substring(owner, 1, 32)), 16) AS trace_id, toFixedString(unhex(substring(owner, 34, 16)), 8) AS span_id, judge_version AS judge_version, value AS score, passed AS passed, error != '' AS failed, time_ns AS time_ns, toUInt64(time_ns) AS rank, latency_ms AS latency_ms, cost AS cost, record_id AS record_id FROM metrics WHERE NOT (source IN ('logged', 'data')) AND source != 'agent' AND actual = '' AND owner < 'key:';
