"""Spans and log records to records: pure, and the same in any order, split or repetition."""

from otel_ml_collector.mapping.filing import NOT_ALLOWED, Filing
from otel_ml_collector.mapping.logs import NO_TRACE, NO_TRACE_MEANS, map_logs
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.spans import map_spans

__all__ = ["NOT_ALLOWED", "NO_TRACE", "NO_TRACE_MEANS", "Filing", "Prices", "map_logs", "map_spans"]
