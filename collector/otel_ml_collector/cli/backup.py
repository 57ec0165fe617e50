"""``otel-ml backup``: writes a backup, also while a collector serves."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otel_ml_collector.cli.remote import add_places, ask, data_dir_of, endpoint_of, places_of
from otel_ml_collector.errors import BadSetting, CollectorError, InUse

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_MOST_S: Final = 3_600.0


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "backup",
        help="write a backup of the store, also while it is served",
        description=(
            "Opens the data directory while no collector holds it, else asks the collector, with "
            "a key of the scope admin over all projects in OTEL_ML_API_KEY once it has keys."
        ),
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="new or empty folder")
    add_places(parser)
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Write a backup and say what it takes.

    Raises:
        BadSetting: It cannot be written here; the message says why.
        CommandFailed: The collector does not write it; the message says why.
    """
    settings = places_of(flags)
    folder = flags.folder.absolute()
    data_dir = data_dir_of(settings)
    if flags.endpoint or data_dir is None:
        size = _ask(endpoint_of(flags, settings), folder)
    else:
        try:
            size = _open(settings.store, data_dir, folder)
        except InUse:
            size = _ask(endpoint_of(flags, settings), folder)
    sys.stdout.write(f"{folder}: {size:,} bytes\n")
    return 0


def _ask(endpoint: str, folder: Path) -> int:
    body: dict[str, Any] = {"folder": str(folder)}
    done = ask(endpoint, ["backup"], method="POST", body=body, timeout_s=_MOST_S)
    return int(done["bytes"])


def _open(store: str, data_dir: Path, folder: Path) -> int:
    from otel_ml_collector.store.backup import Backups  # takes 0.4 s
    from otel_ml_collector.store.connection import Connections
    from otel_ml_collector.store.tombstones import Tombstones

    if not (data_dir / "store").is_dir():
        raise BadSetting(f"There is no store in {data_dir}: expected the --data-dir of a collector")
    connections = Connections(store)
    try:
        return Backups(connections, Tombstones(connections)).write(folder).bytes
    except CollectorError as error:
        raise BadSetting(str(error)) from error
    finally:
        connections.close()
