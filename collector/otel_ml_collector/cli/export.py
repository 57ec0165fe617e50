"""``otel-ml export``: writes all runs of a project that match into one file, of any size."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from otel_ml_collector.cli.failure import DONE, CommandFailed
from otel_ml_collector.cli.reading import add_command, add_filter, add_project, open_reader

if TYPE_CHECKING:
    from argparse import _SubParsersAction

FORMATS: Final = ("jsonl", "csv", "parquet")
_PART_S: Final = 120.0  # a filter may leave out nearly all for a while


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    description = (
        "Writes the runs that have ended, oldest first. A file is there when it is whole, or not "
        "at all."
    )
    parser = add_command(commands, "export", "write runs into a file", description, run)
    add_project(parser)
    add_filter(parser)
    parser.add_argument("--format", choices=FORMATS, default="jsonl", help="[jsonl]")
    parser.add_argument(
        "--columns", metavar="A,B", default="", help="these, or * for all with payload"
    )
    parser.add_argument(
        "--output", metavar="FILE", default="-", help="file to write, - for the output [-]"
    )


def run(flags: argparse.Namespace) -> int:
    """Write the file.

    Raises:
        BadSetting: A flag is wrong.
        CommandFailed: It cannot be read or written.
    """
    with open_reader(flags, _PART_S) as reader:
        from otel_ml_collector.cli.asking import asking  # heavy
        from otel_ml_collector.cli.output import refuse_terminal

        if flags.output == "-" and flags.format == "parquet":
            refuse_terminal()
        within = {name: getattr(flags, name) for name in ("start", "end", "columns")}
        parts = reader.export(flags.format, flags.where, **within)
        if flags.output == "-":
            with asking():
                _write_out(parts)
            return DONE
        with asking(), _file(Path(flags.output)) as file:
            for part in _watched(parts):
                file.write(part)
    return DONE


def _write_out(parts: Iterator[bytes]) -> None:
    """Write to the output; to a terminal as text that does nothing to it."""
    if not sys.stdout.isatty():
        for part in parts:
            sys.stdout.buffer.write(part)
        return
    from otel_ml.reader.errors import show  # heavy
    from otel_ml.reader.listing import lines_of

    for line in lines_of(parts):
        sys.stdout.write(show(line.decode("utf-8", "replace")) + "\n")


@contextmanager
def _file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its name when all of it is on disk.

    Raises:
        CommandFailed: It cannot be written.
    """
    from otel_ml.reader import ReaderError  # heavy

    try:
        if path.exists() and not path.is_file():  # such as /dev/null: it is no file to replace
            with path.open("wb") as file:
                yield file
            return
        target = path.resolve()
        part = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
    except ReaderError:
        raise
    except OSError as error:
        raise CommandFailed(f"The file {path} cannot be written: {error.strerror}") from error


def _watched(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Tell how far it is, where somebody looks."""
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield from parts
        return
    from rich.console import Console  # takes 0.1 s
    from rich.progress import DownloadColumn, Progress, TimeElapsedColumn, TransferSpeedColumn

    columns = (DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        for part in parts:
            yield part
            progress.advance(task, len(part))
