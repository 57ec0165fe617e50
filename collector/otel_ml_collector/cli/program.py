"""The program ``otel-ml``: its commands, in the order in which its help lists them.

This file and what it imports are read by Python 3.10, too, so that it can say what it needs.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from otel_ml_collector.cli.failure import BROKEN_PIPE, INTERRUPTED, USAGE, CommandFailed
from otel_ml_collector.errors import BadSetting

_MIN_PYTHON: Final = (3, 11)
# Where each stands: a module is imported when a command of it is run. And what it is for.
_COMMANDS: Final = {
    "serve": ("administration:serve", "run the collector"),
    "check": ("administration:check", "check settings without starting"),
    "doctor": ("doctor:doctor", "find out why runs do not arrive, or what a version is"),
    "keys": ("administration:keys", "make, list and revoke keys"),
    "projects": ("records:projects", "list projects"),
    "runs": ("records:runs", "list runs"),
    "open": ("records:open_run", "show the page of a run in a browser"),
    "sessions": ("records:sessions", "list sessions, or the turns of one"),
    "models": ("records:models", "list models and versions"),
    "release": ("records:release", "say whether new versions are worse than those before"),
    "findings": ("records:findings", "say what is wrong, or other than before"),
    "slices": ("records:slices", "say which clients, apps, ... do worse than the rest"),
    "variability": ("records:variability", "say how alike answers to the same inputs are"),
    "fields": ("records:fields", "say which fields of a model are other than before"),
    "targets": ("targets:targets", "say how good predictions were once their truth came"),
    "alerts": ("alerts:alerts", "watch rules, and send a trial to who is told of them"),
    "alias": ("records:alias", "name versions of a model, such as champion"),
    "metrics": ("records:metrics", "list metrics and their points"),
    "export": ("records:export", "write runs into a file"),
    "evaluate": ("experiments:evaluate", "run a function over a data set, and compare"),
    "judge": ("judges:judge", "ask a judge about stored runs, and compare with its last version"),
    "replay": ("experiments:replay", "run recorded inputs on today's code, and compare"),
    "dataset": ("datasets:dataset", "list, show, compare and change data sets"),
    "queue": ("queues:queue", "list, show and make queues of runs that people judge"),
    "experiments": ("records:experiments", "list experiments"),
    "compare": ("experiments:compare", "compare experiments, or versions, with a baseline"),
    "baseline": ("experiments:baseline", "name the experiment that others are compared with"),
    "mcp": ("assistants:mcp", "let a coding agent or a shell ask the collector"),
    "storage": ("administration:storage", "show and free disk space"),
    "retention": ("administration:retention", "say or set how long a project is kept"),
    "backup": ("administration:backup", "write a backup of the store, also while it is served"),
    "restore": ("administration:restore", "make a data directory of a backup"),
}


class Program(click.Group):
    """Says how a command ended: one line on the standard error, and the exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in their order."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"otel_ml_collector.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the purpose of each command, and import none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; returns its exit status, 0 after a clean end."""
        try:
            status = super().invoke(ctx)
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


@click.group(cls=Program)
@click.version_option(package_name="otel-ml", message="%(version)s")
def program() -> None:
    """Keeps and shows the records of model calls."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status, 0 after a clean end."""
    if sys.version_info < _MIN_PYTHON:
        here = ".".join(map(str, sys.version_info[:2]))
        sys.stderr.write(
            f"otel-ml: This is Python {here}: the program needs Python 3.11 or newer, the SDK does "
            "not\n"
        )
        return USAGE
    try:
        status: int = program.main(arguments, prog_name="otel-ml", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return status
