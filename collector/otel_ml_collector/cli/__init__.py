"""The program ``otel-ml``: its commands, and their common parts."""

from otel_ml_collector.cli.program import main

__all__ = ["main"]
