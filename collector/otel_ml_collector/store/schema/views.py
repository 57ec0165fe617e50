"""The table of saved views."""

from typing import Final

from otel_ml_collector.store.schema.settings import DURABLE

# What someone looks at often, by a name of theirs. The row with the highest version holds; one
# without a page says that the view was deleted.
VIEWS: Final = f"""
CREATE TABLE IF NOT EXISTS views (
  project LowCardinality(String),
  name String,
  page LowCardinality(String) COMMENT 'empty when the view was deleted',
  parameters String COMMENT 'JSON: texts by name',
  saved_ns Int64,
  version UInt64
)
ENGINE = ReplacingMergeTree(version) ORDER BY (project, name) SETTINGS {DURABLE}
"""
