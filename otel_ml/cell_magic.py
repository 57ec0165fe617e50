"""The cell magic ``%%trace`` of IPython and Jupyter, loaded with ``%load_ext otel_ml``."""

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from otel_ml.client import Client
from otel_ml.errors import quiet

if TYPE_CHECKING:
    from otel_ml.reader import Runs

_UNNAMED: Final = "cell"


def register(shell: Any) -> None:
    """Add ``%%trace`` to an IPython shell."""
    shell.register_magic_function(partial(trace_cell, shell), "cell", "trace")


def trace_cell(shell: Any, line: str, cell: str) -> "Runs | None":
    """Run a cell inside a run, and return the runs of its trace, which the notebook displays.

    The run belongs to the first client among the notebook's variables, else to the default client.
    If the cell raises, the shell shows the error, and the run has failed.

    Args:
        shell: The IPython shell.
        line: What follows ``%%trace``: the name of the run. Empty for ``cell``.
        cell: The lines below.
    """
    from otel_ml import default
    from otel_ml.experiments.stored_results import open_reader

    clients = (value for value in shell.user_ns.values() if type(value) is Client)
    client = next(clients, default._CLIENT)
    run = client.run(line.strip() or _UNNAMED, kind="chain")
    with contextlib.suppress(Exception, KeyboardInterrupt), run:
        shell.run_cell(cell).raise_error()
    with quiet("trace"):
        return open_reader(client._recorder).runs(f'trace_id == "{run.trace_id}"', order="oldest")
    return None
