"""Spans to records: pure, and the same whatever order, split or repetition the spans come in."""

from otel_ml_collector.mapping.spans import Filing, map_spans

__all__ = ["Filing", "map_spans"]
