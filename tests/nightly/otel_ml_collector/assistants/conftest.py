"""Fixtures: a collector whose project shop has known versions, errors, scores and experiments."""

from tests.support.otel_ml_collector.assistants.fixtures import ask_tool, service

__all__ = ["ask_tool", "service"]
