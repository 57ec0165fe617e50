"""Fixtures of the recordings' tests."""

from tests.otel_ml_collector.conftest import store

__all__ = ["store"]
