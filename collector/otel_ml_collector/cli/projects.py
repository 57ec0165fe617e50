"""``otel-ml projects``: lists the projects of a running collector that a key may read."""

import argparse
from typing import TYPE_CHECKING, Final

from otel_ml_collector.cli.reading import add_command, add_format, columns_of, open_api

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_COLUMNS: Final = ("project", "runs", "errors", "other_spans", "artifacts", "last_start_time")


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    description = "Lists the projects that the key may read, the one that ran last first."
    parser = add_command(commands, "projects", "list projects", description, run)
    add_format(parser)


def run(flags: argparse.Namespace) -> int:
    """List the projects.

    Raises:
        BadSetting: A flag is wrong.
        CommandFailed: They cannot be read.
    """
    api = open_api(flags)
    from otel_ml_collector.cli.asking import asking  # heavy
    from otel_ml_collector.cli.output import write_rows

    with asking():
        answer = api.get("projects")
        return write_rows(answer["projects"], answer, flags.format, columns_of(flags) or _COLUMNS)
