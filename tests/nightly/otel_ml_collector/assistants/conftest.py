"""A collector whose project shop has versions, errors, scores and experiments that are known."""

from tests.support.otel_ml_collector.assistants.fixtures import ask_tool, service

__all__ = ["ask_tool", "service"]
