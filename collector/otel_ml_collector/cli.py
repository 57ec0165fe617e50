"""The program ``otel-ml``. Nothing is imported before it is known to be there."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from otel_ml_collector.errors import BadSetting

_NEEDED: Final = ("chdb", "clickhouse_connect", "fastapi", "grpc", "jinja2", "pyarrow", "uvicorn")
_MIN_PYTHON: Final = (3, 11)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status, 0 after a clean end."""
    try:
        _check_python()
        return _serve(_parser().parse_args(arguments))
    except BadSetting as error:
        print(f"otel-ml: {error}", file=sys.stderr)  # noqa: T201 - a program speaks to its user
        return 2


def _check_python() -> None:
    if sys.version_info < _MIN_PYTHON:
        raise BadSetting("The collector needs Python 3.11 or newer")


def _serve(flags: argparse.Namespace) -> int:
    if any(find_spec(module) is None for module in _NEEDED):
        raise BadSetting("The collector is not installed: run pip install 'otel-ml[collector]'")
    from otel_ml_collector.app import serve
    from otel_ml_collector.config import TABLE, load

    given = {setting.name: getattr(flags, setting.name) for setting in TABLE}
    return serve(load(given, os.environ, Path(flags.config) if flags.config else None))


def _parser() -> argparse.ArgumentParser:
    from otel_ml_collector.config import TABLE  # needs Python 3.11

    parser = argparse.ArgumentParser(
        prog="otel-ml", description="Keeps and shows the records of model calls."
    )
    parser.add_argument("--version", action="version", version=version("otel-ml"))
    commands = parser.add_subparsers(title="commands", required=True)
    serve = commands.add_parser(
        "serve",
        help="run the collector",
        description="Receives OpenTelemetry spans, keeps their records, serves API and pages.",
    )
    serve.add_argument("--config", metavar="FILE", help="TOML file [otel-ml.toml, if there]")
    for setting in TABLE:
        text = f"{setting.help} [{setting.default}]" if setting.default else setting.help
        if setting.is_switch:
            serve.add_argument(setting.flag, action="store_const", const="true", help=setting.help)
        else:
            serve.add_argument(setting.flag, metavar="VALUE", help=text)
    return parser
