"""The table that every store has first: which schema it is of."""

from typing import Final

from otel_ml_collector.store.schema.settings import DURABLE

META: Final = f"""
CREATE TABLE IF NOT EXISTS store_meta (name String, value UInt64)
ENGINE = ReplacingMergeTree(value) ORDER BY name SETTINGS {DURABLE}
"""
