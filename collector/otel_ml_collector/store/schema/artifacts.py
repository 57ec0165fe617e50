"""Tables of logged data: what was logged under a name, and documents in chunks."""

from typing import Final

from otel_ml_collector.store.schema.settings import DURABLE

# What was logged under a name, by what it is about. The document stands here when it came along,
# else among the artifacts, where its hash finds it.
OBJECTS: Final = f"""
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
SETTINGS index_granularity = 256, {DURABLE}
"""

# Documents that were uploaded, each a row once all of its chunks are stored: one without is not
# there. `arrived_ns` is when it was uploaded last.
ARTIFACTS: Final = f"""
CREATE TABLE IF NOT EXISTS artifacts (
  project LowCardinality(String),
  sha256 FixedString(32),
  bytes Int64,
  arrived_ns Int64 CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(arrived_ns) ORDER BY (project, sha256)
SETTINGS index_granularity = 1024, {DURABLE}
"""

# Their bytes, 1 MiB a row. A granule of one row and merges of few parts keep the memory of merges
# small: with the engine's own settings 1 GB of uploads raised it by 600 MB.
ARTIFACT_CHUNKS: Final = f"""
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
  max_bytes_to_merge_at_max_space_in_pool = 268435456, {DURABLE}
"""
