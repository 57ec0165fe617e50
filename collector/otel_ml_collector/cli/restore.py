"""``otel-ml restore``: makes a data directory of a backup."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from otel_ml_collector.cli.given import add_settings
from otel_ml_collector.cli.remote import data_dir_of, places_of
from otel_ml_collector.errors import BadSetting

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "restore",
        help="make a data directory of a backup",
        description="The data directory has to be empty, and no collector may hold it.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of the backup")
    add_settings(parser, ("data_dir",))
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Restore a backup, whole or not at all.

    Raises:
        BadSetting: It cannot be restored; the message says why.
    """
    data_dir = data_dir_of(places_of(flags))
    if data_dir is None:
        raise BadSetting("A ClickHouse server restores its own backups: use its RESTORE command")
    from otel_ml_collector.store.backup_restore import restore  # takes 0.4 s

    restored = restore(flags.folder, data_dir)
    sys.stdout.write(f"{data_dir}: restored, {restored.parts} parts\n")
    if not restored.is_checked:
        sys.stdout.write("The backup has no checksums: of its files the sizes alone were checked\n")
    return 0
