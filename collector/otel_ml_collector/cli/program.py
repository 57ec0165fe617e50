"""The program ``otel-ml``: its commands, grouped as ``otel-ml --help`` lists them.

This file and its imports must also load in Python 3.10, so that ``main`` can report that the
program needs a newer Python.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from otel_ml_collector.cli.failure import BROKEN_PIPE, INTERRUPTED, NOTHING, USAGE, CommandFailed
from otel_ml_collector.errors import BadSetting, StoreUnreachable

_MIN_PYTHON: Final = (3, 11)
# For each command: its function as module:function, and its line in `otel-ml --help`. Grouped by
# the user's task. A module is imported only when one of its commands is run.
_COMMANDS_BY_TASK: Final = {
    "Start": {
        "serve": ("administration:serve", "Run the collector"),
        "doctor": ("doctor:doctor", "Find out why runs do not arrive, or explain a version"),
        "import": ("imports:import_", "Import predictions from a table"),
        "mcp": ("assistants:mcp", "Let a coding agent query the collector (MCP)"),
    },
    "Look at recorded runs": {
        "projects": ("records:projects", "List projects"),
        "runs": ("records:runs", "List runs"),
        "open": ("records:open_run", "Open the page of a run in a browser"),
        "sessions": ("records:sessions", "List sessions, or the turns of one session"),
        "models": ("records:models", "List models, or the versions of one model"),
        "metrics": ("records:metrics", "List runs with metrics, or the points of one run"),
        "export": ("records:export", "Write runs to a file"),
        "share": ("share:share", "Write a trace, experiment or comparison as one HTML file"),
    },
    "Compare and evaluate": {
        "evaluate": (
            "experiments:evaluate",
            "Run a function over a data set and score the outputs",
        ),
        "replay": ("experiments:replay", "Run recorded inputs through today's code and compare"),
        "judge": ("judges:judge", "Score recorded runs with a judge"),
        "compare": ("experiments:compare", "Compare experiments or model versions with a baseline"),
        "experiments": ("records:experiments", "List experiments"),
        "baseline": ("experiments:baseline", "Choose the experiment to compare others with"),
        "dataset": ("datasets:dataset", "List, show, compare and change data sets"),
        "alias": ("records:alias", "Give model versions names such as champion"),
        "variability": (
            "records:variability",
            "Show how often the same input gets different answers",
        ),
    },
    "Monitor and alert": {
        "findings": ("records:findings", "List the problems of a project, the worst first"),
        "release": ("records:release", "Check whether new versions are worse than the old ones"),
        "slices": ("records:slices", "List clients, apps and other groups with worse results"),
        "fields": ("records:fields", "Show drift of a model's inputs and outputs"),
        "targets": ("targets:targets", "Compare predictions with ground truth"),
        "activity": ("activity:activity", "List who changed what"),
        "alerts": ("alerts:alerts", "List, check and mute alert rules, and test receivers"),
    },
    "Review": {
        "queue": ("queues:queue", "List, show and create labelling queues"),
    },
    "Operate the collector": {
        "judge-worker": (
            "judge_worker:judge_worker",
            "Run rubric judges on another machine",
        ),
        "check": ("administration:check", "Check the settings without starting the collector"),
        "keys": ("administration:keys", "Create, list and revoke API keys"),
        "storage": ("administration:storage", "Show and free disk space"),
        "find": ("administration:find", "Find records that contain a person's name"),
        "retention": ("administration:retention", "Show or set how long records are kept"),
        "backup": ("administration:backup", "Back up the store, even while the collector runs"),
        "restore": ("administration:restore", "Create a data directory from a backup"),
    },
}
_COMMANDS: Final = {
    name: where for group in _COMMANDS_BY_TASK.values() for name, (where, _) in group.items()
}


class Program(click.Group):
    """The top-level command group of ``otel-ml``.

    The help lists the commands by topic. An error of a command is printed to standard error in
    one line, and `invoke` returns the exit status.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; returns None for an unknown name."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"otel_ml_collector.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group of commands, without importing any command."""
        for title, commands in _COMMANDS_BY_TASK.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; returns the exit status, 0 for success."""
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BadSetting as error:
            for line in str(error).splitlines():
                sys.stderr.write(f"otel-ml: {line}\n")
            return NOTHING if isinstance(error, StoreUnreachable) else USAGE
        except CommandFailed as error:
            sys.stderr.write(f"otel-ml: {error}\n")
            return error.status
        except BrokenPipeError:  # the reader closed the pipe, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        except KeyboardInterrupt:
            return INTERRUPTED
        return status


@click.group(cls=Program)
@click.version_option(package_name="otel-ml", message="%(version)s")
def program() -> None:
    """Record, compare and monitor the calls of your models."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: The command line without the program's name; None for ``sys.argv``.

    Returns:
        The exit status, 0 for success.
    """
    if sys.version_info < _MIN_PYTHON:
        here = ".".join(map(str, sys.version_info[:2]))
        sys.stderr.write(
            f"otel-ml: Python {here} is too old: the command otel-ml needs Python 3.11 or newer "
            "(the SDK also works with older versions)\n"
        )
        return USAGE
    try:
        status: int = program.main(arguments, prog_name="otel-ml", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return status
