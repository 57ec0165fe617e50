"""Runs ``otel-ml``. What needs Python 3.11 is imported once it is known to be there."""

import sys
from collections.abc import Sequence
from typing import Final

_MIN_PYTHON: Final = (3, 11)
_USAGE: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status, 0 after a clean end."""
    if sys.version_info < _MIN_PYTHON:
        here = ".".join(map(str, sys.version_info[:2]))
        sys.stderr.write(
            f"otel-ml: This is Python {here}: the program needs Python 3.11 or newer, the SDK does "
            "not\n"
        )
        return _USAGE
    import click

    from otel_ml_collector.cli.commands import program  # needs Python 3.11

    try:
        status: int = program.main(arguments, prog_name="otel-ml", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return status
