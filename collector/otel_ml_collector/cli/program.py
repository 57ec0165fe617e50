"""Reads the command line and runs a command. Nothing heavy is imported before it is needed."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from otel_ml_collector.cli.failure import BROKEN_PIPE, INTERRUPTED, USAGE, CommandFailed
from otel_ml_collector.errors import BadSetting

_MIN_PYTHON: Final = (3, 11)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status, 0 after a clean end."""
    try:
        _check_python()
        flags = _parser().parse_args(arguments)
        status: int = flags.run(flags)
        sys.stdout.flush()
    except BadSetting as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"otel-ml: {line}\n")
        return USAGE
    except CommandFailed as error:
        sys.stderr.write(f"otel-ml: {error}\n")
        return error.status
    except BrokenPipeError:  # who reads has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _check_python() -> None:
    if sys.version_info < _MIN_PYTHON:
        raise BadSetting("The collector needs Python 3.11 or newer")


def _parser() -> argparse.ArgumentParser:
    from otel_ml_collector.cli import (  # need Python 3.11
        backup,
        check,
        doctor,
        export,
        keys,
        metrics,
        models,
        projects,
        restore,
        retention,
        runs,
        serve,
        storage,
    )

    parser = argparse.ArgumentParser(
        prog="otel-ml", description="Keeps and shows the records of model calls."
    )
    parser.add_argument("--version", action="version", version=version("otel-ml"))
    commands = parser.add_subparsers(title="commands", required=True)
    asking = (projects, runs, models, metrics, export, storage)
    for command in (serve, check, doctor, keys, backup, restore, retention, *asking):
        command.add_parser(commands)
    return parser
