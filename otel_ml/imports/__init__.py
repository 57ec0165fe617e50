"""Imports of history: tables of predictions, and the records of other tools."""

from otel_ml.imports.table_import import TableImport, TableOptions, import_table

__all__ = ["TableImport", "TableOptions", "import_table"]
