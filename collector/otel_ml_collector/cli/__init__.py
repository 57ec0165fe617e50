"""The program ``otel-ml``: its commands, and what they have in common."""

from otel_ml_collector.cli.program import main

__all__ = ["main"]
