"""Spans and log records to records: pure, and the same in any order, split or repetition."""

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.logs import NO_TRACE, NO_TRACE_MEANS, map_logs
from otel_ml_collector.mapping.spans import map_spans

__all__ = ["NO_TRACE", "NO_TRACE_MEANS", "Filing", "map_logs", "map_spans"]
