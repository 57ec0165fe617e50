"""Turns what the reader raises into what a command says and how it ends."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from otel_ml.reader import BadQuery, Forbidden, NotFound, ReaderError, Unreachable
from otel_ml_collector.cli.failure import (
    NOT_FOUND,
    NOTHING,
    REFUSED,
    UNREACHABLE,
    USAGE,
    CommandFailed,
)

_STATUSES = (
    (BadQuery, USAGE),
    (NotFound, NOT_FOUND),
    (Forbidden, REFUSED),
    (Unreachable, UNREACHABLE),
)


@contextmanager
def asking() -> Iterator[None]:
    """Ask a collector in this block, and write what it answers.

    Raises:
        CommandFailed: There is no answer, or nowhere to write it.
        BrokenPipeError: Nobody reads what is written any more.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # whatever the data holds and the terminal knows
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except ReaderError as error:
        status = next((code for kind, code in _STATUSES if isinstance(error, kind)), NOTHING)
        raise CommandFailed(_words(error), status) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"The output cannot be written: {error.strerror}") from error
    except ImportError as error:
        raise CommandFailed(f"{error}: run pip install 'otel-ml[cli]'") from error


def _words(error: ReaderError) -> str:
    if isinstance(error, Forbidden):
        return f"{error}: put a key with the scope that is needed into OTEL_ML_API_KEY"
    if type(error) is Unreachable:
        return f"{error}; say where it is with --endpoint URL"
    return str(error)
