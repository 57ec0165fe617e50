"""Exit statuses of the commands, and the errors that lead to them."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from otel_ml_collector.errors import BadInput

DONE: Final = 0
NOTHING: Final = 1  # nothing matched, or an error that has no status below
USAGE: Final = 2
UNREACHABLE: Final = 3
REFUSED: Final = 4
NOT_FOUND: Final = 5
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells report it
BROKEN_PIPE: Final = 141  # 128 + SIGPIPE, as shells report it

HELP: Final = (
    "Exit status: 0 if successful; 1 if nothing matches or another error occurs; 2 if the command "
    "or the filter is invalid; 3 if the collector does not answer; 4 if the collector refuses the "
    "key; 5 if the project or record does not exist."
)
# The package is on no index yet, so users install it from a clone, as the README explains.
INSTALL_COLLECTOR: Final = (
    "The collector is not installed: run pip install '.[collector]' in a clone of the repository"
)
_INSTALL_CLI: Final = "run pip install '.[cli]' in a clone of the repository"


class CommandFailed(Exception):
    """Ends the command with a message for the user.

    Args:
        message: One line. Below it, a filter with a mark at the position of the error may follow.
        status: The exit status.
    """

    def __init__(self, message: str, status: int = NOTHING) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def asking() -> Iterator[None]:
    """Turn errors of requests to a collector in this block into `CommandFailed`.

    Raises:
        CommandFailed: The request failed, or the output cannot be written.
        BrokenPipeError: The reader of the standard output closed the pipe.
    """
    from otel_ml.reader.errors import ReaderError  # takes 0.1 s

    if isinstance(sys.stdout, io.TextIOWrapper):  # the terminal's encoding may lack characters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except ReaderError as error:
        raise failure_of(error) from error
    except ValueError as error:  # the reader refuses an argument before it sends the request
        raise CommandFailed(str(error), USAGE) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"The output cannot be written: {error.strerror}") from error
    except ImportError as error:
        raise CommandFailed(f"{error}: {_INSTALL_CLI}") from error


def point_at_error(error: BadInput, where: str) -> str:
    """Return the message of an error in a filter, with a caret below the place of the error."""
    from otel_ml.reader.errors import point_at

    if error.column is None or not where:
        return str(error)
    return f"{error}\n{point_at(where, error.column)}"


def failure_of(error: Exception) -> CommandFailed:
    """Return the message and exit status for an error of the reader."""
    from otel_ml.reader.errors import BadQuery, Forbidden, NotFound, Unreachable

    if isinstance(error, Forbidden):
        text = f"{error}: set OTEL_ML_API_KEY to a key with the required scope"
        return CommandFailed(text, REFUSED)
    if type(error) is Unreachable:
        return CommandFailed(f"{error}; set the address with --endpoint URL", UNREACHABLE)
    statuses = {BadQuery: USAGE, NotFound: NOT_FOUND, Unreachable: UNREACHABLE}
    failure = (status for kind, status in statuses.items() if isinstance(error, kind))
    return CommandFailed(str(error), next(failure, NOTHING))
