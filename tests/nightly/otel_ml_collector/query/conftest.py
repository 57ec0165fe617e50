"""Fixtures for tests of queries."""

from tests.support.otel_ml_collector.query.fixtures import store

__all__ = ["store"]
