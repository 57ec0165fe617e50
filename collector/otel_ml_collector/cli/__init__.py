"""The program ``otel-ml``: one module a command, each with ``add_parser`` and ``run``."""

from otel_ml_collector.cli.program import main

__all__ = ["main"]
