"""The command-line program ``otel-ml``."""

from otel_ml_collector.cli.program import main

__all__ = ["main"]
