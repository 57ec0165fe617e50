"""``otel-ml doctor``: looks at everything between this program and a collector's answer."""

from otel_ml_collector.cli.doctor.command import add_parser, run

__all__ = ["add_parser", "run"]
