"""``otel-ml serve``: runs the collector."""

import argparse
import logging
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from otel_ml_collector.cli.given import add_settings, file_of, settings_of
from otel_ml_collector.config import load, warnings_of
from otel_ml_collector.errors import BadSetting
from otel_ml_collector.log_format import start_logging

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_NEEDED: Final = ("chdb", "clickhouse_connect", "fastapi", "grpc", "jinja2", "pyarrow", "uvicorn")

_logger = logging.getLogger(__name__)


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "serve",
        help="run the collector",
        description="Receives OpenTelemetry spans, keeps their records, serves API and pages.",
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Run until it is told to end.

    Raises:
        BadSetting: It cannot start as it was told.
    """
    if any(find_spec(module) is None for module in _NEEDED):
        raise BadSetting("The collector is not installed: run pip install 'otel-ml[collector]'")
    settings = load(settings_of(flags), os.environ, file_of(flags))
    start_logging(settings.log_level, settings.log_format)
    for warning in warnings_of(os.environ):
        _logger.warning("%s", warning)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC prints what peers say, as they said it
    from otel_ml_collector.app import serve  # heavy

    return serve(settings)
