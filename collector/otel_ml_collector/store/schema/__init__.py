"""Tables of the store by topic, and the version that a program and a store agree on.

Measured reasons for the shapes: docs/design/002-store.md.

A new table is a constant in the module of its topic here, a name in `tables.TABLES`, and a line in
the list of tables in tests/otel_ml_collector/store/test_schema.py. An older store gets it when it
is opened. A new column, and rows that older stores lack, are also a step in `store.migrations`.
"""

from otel_ml_collector.store.schema.meta import META
from otel_ml_collector.store.schema.tables import SCHEMA_VERSION, TABLE_NAMES, TABLES

__all__ = ["META", "SCHEMA_VERSION", "TABLES", "TABLE_NAMES"]
