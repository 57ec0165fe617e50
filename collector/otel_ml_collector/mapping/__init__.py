"""Spans and log records to records: pure, and the same in any order, split or repetition."""

from otel_ml_collector.mapping.prices import Prices

__all__ = ["Prices"]
