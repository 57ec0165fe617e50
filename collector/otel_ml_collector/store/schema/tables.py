"""Every table of the store, and the version that a program and a store agree on."""

from typing import Final

from otel_ml_collector.store.schema.access import ACCESS_KEYS
from otel_ml_collector.store.schema.artifacts import ARTIFACT_CHUNKS, ARTIFACTS, OBJECTS
from otel_ml_collector.store.schema.daily import DAILY, DAILY_RUNS, DAILY_SCORES
from otel_ml_collector.store.schema.deletions import (
    DELETED_OWNERS,
    DELETED_RUNS,
    DELETIONS,
    RETENTION,
)
from otel_ml_collector.store.schema.forward import FORWARD_CURSORS
from otel_ml_collector.store.schema.late import LATE_LOGS, LATE_TAGS
from otel_ml_collector.store.schema.meta import META
from otel_ml_collector.store.schema.metrics import METRICS, SCORES
from otel_ml_collector.store.schema.models import MODEL_VERSIONS
from otel_ml_collector.store.schema.processes import ARRIVALS, PROCESSES
from otel_ml_collector.store.schema.runs import OPEN_RUNS, PAYLOADS, RUNS
from otel_ml_collector.store.schema.traces import TRACE_INDEX, TRACE_KEYS
from otel_ml_collector.store.schema.views import VIEWS
from otel_ml_collector.store.sql import table_names

# One more with each release that changes a table. What it changes stands in `store.migrations`.
SCHEMA_VERSION: Final = 6

# In the order in which they are made. Making one that is there is harmless.
TABLES: Final = (
    META,
    RUNS,
    OPEN_RUNS,
    PROCESSES,
    PAYLOADS,
    TRACE_INDEX,
    TRACE_KEYS,
    MODEL_VERSIONS,
    METRICS,
    SCORES,
    LATE_TAGS,
    LATE_LOGS,
    OBJECTS,
    ARTIFACTS,
    ARTIFACT_CHUNKS,
    ARRIVALS,
    ACCESS_KEYS,
    DELETIONS,
    DELETED_RUNS,
    DELETED_OWNERS,
    RETENTION,
    DAILY,
    DAILY_RUNS,
    DAILY_SCORES,
    VIEWS,
    FORWARD_CURSORS,
)
TABLE_NAMES: Final = table_names(TABLES)
