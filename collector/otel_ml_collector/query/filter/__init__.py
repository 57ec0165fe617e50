"""Filters as SQL: the condition on runs that an expression of the language becomes."""

from otel_ml_collector.query.filter.compiled import compile_filter
from otel_ml_collector.query.filter.narrow import check_patterns
from otel_ml_collector.query.language.names import FIELDS

__all__ = ["FIELDS", "check_patterns", "compile_filter"]
