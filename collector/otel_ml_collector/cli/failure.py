"""Ends of commands: the exit statuses that a shell can act on, and the errors behind them."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

DONE: Final = 0
NOTHING: Final = 1  # nothing matched, or it failed in a way that has no status of its own
USAGE: Final = 2
UNREACHABLE: Final = 3
REFUSED: Final = 4
NOT_FOUND: Final = 5
INTERRUPTED: Final = 130  # as shells say of SIGINT
BROKEN_PIPE: Final = 141  # as shells say of SIGPIPE

HELP: Final = (
    "Ends with status 0; 1 when nothing matches or something else fails; 2 when the command or the "
    "filter is wrong; 3 when the collector does not answer; 4 when it refuses the key; 5 when "
    "there is no such project or record."
)
# There is no release on any index: these are typed in a clone, as the README has it.
INSTALL_COLLECTOR: Final = (
    "The collector is not installed: run pip install '.[collector]' in a clone of the repository"
)
_INSTALL_CLI: Final = "run pip install '.[cli]' in a clone of the repository"


class CommandFailed(Exception):
    """The command ends here.

    Args:
        message: For its user: a line, and perhaps a place in a filter below it.
        status: The exit status.
    """

    def __init__(self, message: str, status: int = NOTHING) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def asking() -> Iterator[None]:
    """Ask a collector in this block, with errors turned into ends of the command.

    Raises:
        CommandFailed: There is no answer, or nowhere to write it.
        BrokenPipeError: Nobody reads what is written any more.
    """
    from otel_ml.reader.errors import ReaderError  # takes 0.1 s

    if isinstance(sys.stdout, io.TextIOWrapper):  # whatever the data holds and the terminal knows
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except ReaderError as error:
        raise failure_of(error) from error
    except ValueError as error:  # the reader refuses an argument before it asks
        raise CommandFailed(str(error), USAGE) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"The output cannot be written: {error.strerror}") from error
    except ImportError as error:
        raise CommandFailed(f"{error}: {_INSTALL_CLI}") from error


def failure_of(error: Exception) -> CommandFailed:
    """Say why a question has no answer, with the status that it ends the command with."""
    from otel_ml.reader.errors import BadQuery, Forbidden, NotFound, Unreachable

    if isinstance(error, Forbidden):
        text = f"{error}: put a key with the scope that is needed into OTEL_ML_API_KEY"
        return CommandFailed(text, REFUSED)
    if type(error) is Unreachable:
        return CommandFailed(f"{error}; say where it is with --endpoint URL", UNREACHABLE)
    statuses = {BadQuery: USAGE, NotFound: NOT_FOUND, Unreachable: UNREACHABLE}
    failure = (status for kind, status in statuses.items() if isinstance(error, kind))
    return CommandFailed(str(error), next(failure, NOTHING))
