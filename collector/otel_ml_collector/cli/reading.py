"""What commands that ask a collector have in common: their flags, and how they are read."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_ml_collector.cli.failure import HELP
from otel_ml_collector.cli.given import add_settings
from otel_ml_collector.cli.remote import endpoint_of, places_of
from otel_ml_collector.errors import BadSetting

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from otel_ml.reader import Reader
    from otel_ml.reader.api import Api

FORMATS: Final = ("table", "json", "csv", "parquet")
_MOST_KEY_CHARS: Final = 1_000


def add_command(
    commands: "_SubParsersAction[argparse.ArgumentParser]",
    name: str,
    text: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """Add a command that asks a collector, with the flags that say which."""
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{description} The key is OTEL_ML_API_KEY, when the collector has keys.",
        epilog=HELP,
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="collector to ask [OTEL_ML_ENDPOINT, then --http]"
    )
    parser.add_argument("--api-key-file", metavar="FILE", help="file that holds the key")
    add_settings(parser, ("http",))
    parser.set_defaults(run=run)
    return parser


def add_project(parser: argparse.ArgumentParser) -> None:
    """Add the flag that says which project."""
    parser.add_argument("--project", metavar="P", help="project [OTEL_ML_PROJECT]")


def add_filter(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which runs."""
    parser.add_argument("--where", metavar="EXPR", default="", help="such as 'model == \"answer\"'")
    parser.add_argument("--start", metavar="TIME", help="started then or later, such as 2026-11-20")
    parser.add_argument("--end", metavar="TIME", help="started before then, UTC without an offset")


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how it is shown."""
    parser.add_argument("--format", choices=FORMATS, default="table", help="[table]")
    parser.add_argument("--columns", metavar="A,B", default="", help="these, in this order")


def open_reader(flags: argparse.Namespace, timeout_s: float = 30.0) -> "Reader":
    """Make the reader of the project that the flags and the environment ask for.

    Raises:
        BadSetting: One of them is wrong or missing.
    """
    from otel_ml.reader import Reader  # takes 0.1 s

    return Reader(project_of(flags), _key(flags), _endpoint(flags), timeout_s=timeout_s)


def open_api(flags: argparse.Namespace, timeout_s: float = 30.0) -> "Api":
    """Make what asks the API that the flags and the environment name.

    Raises:
        BadSetting: One of them is wrong.
    """
    from otel_ml.reader.api import Api  # takes 0.1 s

    return Api(_endpoint(flags), _key(flags), timeout_s)


def project_of(flags: argparse.Namespace) -> str:
    """Read which project is meant.

    Raises:
        BadSetting: None is named.
    """
    project = flags.project or os.environ.get("OTEL_ML_PROJECT")
    if not project:
        raise BadSetting("Say which project with --project P, or OTEL_ML_PROJECT")
    return str(project)


def columns_of(flags: argparse.Namespace) -> list[str]:
    """Read which columns are wanted; empty for the usual ones."""
    return [name.strip() for name in flags.columns.split(",") if name.strip()]


def _endpoint(flags: argparse.Namespace) -> str:
    here = None if flags.http or flags.config else os.environ.get("OTEL_ML_ENDPOINT", "").strip()
    if endpoint := flags.endpoint or here:
        if not endpoint.startswith(("http://", "https://")):
            raise BadSetting(f"Invalid endpoint {endpoint!r}: expected http://HOST:PORT")
        return str(endpoint)
    return endpoint_of(flags, places_of(flags))


def _key(flags: argparse.Namespace) -> str | None:
    if not flags.api_key_file:
        return None
    try:
        with Path(flags.api_key_file).open(encoding="utf-8") as file:
            return file.read(_MOST_KEY_CHARS).strip()
    except (OSError, ValueError) as error:
        raise BadSetting(f"The key of --api-key-file cannot be read: {error}") from error
