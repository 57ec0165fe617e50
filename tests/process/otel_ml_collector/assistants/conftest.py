"""A collector whose project shop has known versions, errors, scores and experiments."""

from tests.support.otel_ml_collector.assistants.fixtures import service

__all__ = ["service"]
