"""The table of keys."""

from typing import Final

from otel_ml_collector.store.schema.settings import DURABLE

# Who may send and read. A row with a higher version holds: 1 when the key is made, 2 when it is
# revoked; none is ever deleted, so a store that has had keys never falls back to none.
ACCESS_KEYS: Final = f"""
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
  version UInt64
)
ENGINE = ReplacingMergeTree(version) ORDER BY id SETTINGS {DURABLE}
"""
