"""``otel-ml projects``: lists the projects of a running collector that a key may read."""

import argparse
from typing import TYPE_CHECKING, Final

from otel_ml_collector.cli.remote import add_places, ask, endpoint_of, places_of
from otel_ml_collector.cli.table import write_table

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_COLUMNS: Final = ("project", "runs", "errors", "other_spans", "artifacts", "last_start_time")


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "projects",
        help="list projects",
        description="Asks the collector, with the key in OTEL_ML_API_KEY when it has keys.",
    )
    add_places(parser)
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """List the projects.

    Raises:
        BadSetting: They cannot be read; the message says why.
    """
    found = ask(endpoint_of(flags, places_of(flags)), "/projects")["projects"]
    write_table(_COLUMNS, [[str(one[column]) for column in _COLUMNS] for one in found])
    return 0
