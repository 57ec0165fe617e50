"""``otel-ml retention``: says or sets how long a project is kept."""

import argparse
import sys
from typing import TYPE_CHECKING

from otel_ml_collector.cli.remote import add_places, ask, endpoint_of, places_of
from otel_ml_collector.errors import BadSetting

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "retention",
        help="say or set how long a project is kept",
        description=(
            "Counted from when a record arrives. Asks the collector, with a key of the scope admin "
            "in OTEL_ML_API_KEY once it has keys."
        ),
    )
    parser.add_argument("project", metavar="PROJECT")
    for name, what in (("records", "all of it"), ("payloads", "inputs, outputs, lines, data")):
        parser.add_argument(
            f"--{name}",
            metavar="DAYS|configured",
            help=f"days that {what} is kept: 0 for ever, 'configured' for the collector's setting",
        )
    add_places(parser)
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Set what was given, then say what holds.

    Raises:
        BadSetting: A flag is wrong.
        CommandFailed: The collector does not set or say it; the message says why.
    """
    endpoint = endpoint_of(flags, places_of(flags))
    path = ["projects", flags.project, "retention"]
    holds = ask(endpoint, path)
    if flags.records is not None or flags.payloads is not None:
        wanted = {
            "record_days": _days(flags.records, holds["record_days"]),
            "payload_days": _days(flags.payloads, holds["payload_days"]),
        }
        holds = ask(endpoint, path, method="PUT", body=wanted)
    for what in ("record", "payload"):
        days = holds[f"holds_{what}_days"]
        sys.stdout.write(f"{what}s: {f'{days} days' if days else 'for ever'}\n")
    return 0


def _days(text: str | None, before: int | None) -> int | None:
    if text is None:
        return before
    if text == "configured":
        return None
    if not text.isdecimal():
        raise BadSetting(f"Invalid days {text!r}: expected a whole number or 'configured'")
    return int(text)
