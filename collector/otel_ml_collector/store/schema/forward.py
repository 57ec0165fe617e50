"""The table of how far records were sent on."""

from typing import Final

from otel_ml_collector.store.schema.settings import DURABLE

# Up to where each target has acknowledged the records of a kind that a collector stored. A cursor
# never goes back.
FORWARD_CURSORS: Final = f"""
CREATE TABLE IF NOT EXISTS forward_cursors (
  target String,
  kind LowCardinality(String),
  collector String,
  arrived_ns Int64
)
ENGINE = ReplacingMergeTree(arrived_ns) ORDER BY (target, kind, collector) SETTINGS {DURABLE}
"""
