"""The commands of ``otel-ml``, in the order in which its help lists them."""

import os
import sys
from typing import Any, Final

import click

from otel_ml_collector.cli import administration, records
from otel_ml_collector.cli.doctor import doctor
from otel_ml_collector.cli.failure import BROKEN_PIPE, INTERRUPTED, USAGE, CommandFailed
from otel_ml_collector.errors import BadSetting

_COMMANDS: Final = (
    *(administration.serve, administration.check, doctor, administration.keys),
    *(records.projects, records.runs, records.open_run, records.models, records.metrics),
    *(records.export, administration.storage, administration.retention),
    *(administration.backup, administration.restore),
)


class Program(click.Group):
    """Says how a command ended: one line on the standard error, and the exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in their order."""
        return list(self.commands)

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


for _command in _COMMANDS:
    program.add_command(_command)
