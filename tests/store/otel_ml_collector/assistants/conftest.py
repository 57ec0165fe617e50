"""A collector with known versions, errors, scores and experiments in project shop."""

from tests.support.otel_ml_collector.assistants.fixtures import ask_tool, service

__all__ = ["ask_tool", "service"]
