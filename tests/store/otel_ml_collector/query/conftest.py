"""Fixtures for the query tests."""

from tests.support.otel_ml_collector.query.fixtures import arrivals, line, store

__all__ = ["arrivals", "line", "store"]
