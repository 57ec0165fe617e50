"""``otel-ml check``: says what is wrong with a file of settings, or what is in force here."""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from otel_ml_collector.cli.given import add_settings, file_of, settings_of
from otel_ml_collector.config import choose, load, warnings_of

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "check",
        help="check settings without starting",
        description=(
            "Checks a file by itself, without variables. Without a file it shows what `otel-ml "
            "serve` would run with here, and which source says it."
        ),
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="TOML file to check")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Check; returns 0 when all is right.

    Raises:
        BadSetting: Something is wrong; a line of its message for each.
    """
    if flags.file:
        settings = load(settings_of(flags), {}, Path(flags.file))
        sys.stdout.write(f"{flags.file} is right\n")
    else:
        settings = load(settings_of(flags), os.environ, file_of(flags))
        _show(flags)
        _warn(warnings_of(os.environ))
    if not settings.insecure:
        _warn(
            f"Listening at {address} needs keys: while there are none, it is refused"
            for address in (settings.http, settings.grpc)
            if not address.is_loopback
        )
    return 0


def _show(flags: argparse.Namespace) -> None:
    chosen, _ = choose(settings_of(flags), os.environ, file_of(flags))
    rows = [(name, said.shown or "-", said.told_by) for name, said in chosen.items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, source in rows:
        sys.stdout.write(f"{name:{widths[0]}}  {value:{widths[1]}}  {source}\n")


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        sys.stderr.write(f"otel-ml: {warning}\n")
