"""Check that the runs of forked children with one task each all arrive."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from otel_ml import Client
from tests.bench.process import run_module
from tests.bench.sink import count, open_sink
from tests.bench.table import print_table, verdict

CHILDREN: Final = 10

client = Client("bench")  # no thread and no connection before the first call


@client.trace
def model(number: int) -> int:
    """The one task."""
    return number


@dataclass(frozen=True, slots=True)
class Children:
    """The runs that arrived.

    Attributes:
        runs: Runs at the sink, including the parent's.
        different: How many of them have distinct ids.
    """

    runs: int
    different: int

    @property
    def is_whole(self) -> bool:
        """Whether the run of each child and of the parent arrived exactly once."""
        return self.runs == self.different == CHILDREN + 1


def measure(way: str) -> Children:
    """Run a program that calls once, then creates its children in the given way."""
    with open_sink(keep=True) as endpoint:
        run_module("children", way, OTEL_ML_ENDPOINT=endpoint)
        return Children(*count(endpoint))


def report() -> None:
    """Measure every way and print the table."""
    rows = []
    for way in WAYS:
        found = measure(way)
        delivered = f"{found.different} of {CHILDREN + 1}, {found.runs - found.different} twice"
        rows.append([way, delivered, verdict(found.is_whole)])
    print_table((f"a parent and {CHILDREN} children of one call each", "delivered", ""), rows)


def _processes() -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=model, args=(number,)) for number in range(CHILDREN)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0, child.exitcode


def _pool() -> None:
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        pool.map(model, range(CHILDREN), chunksize=1)
        pool.close()
        pool.join()


def _forks() -> None:
    children = []
    for number in range(CHILDREN):
        child = os.fork()
        if child == 0:
            model(number)
            sys.exit(0)
        children.append(child)
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0, status


WAYS: Final[Mapping[str, Callable[[], None]]] = {
    "multiprocessing.Process, fork": _processes,
    "multiprocessing.Pool(maxtasksperchild=1), fork": _pool,
    "os.fork() and sys.exit()": _forks,
}


if __name__ == "__main__":
    model(-1)  # so the children inherit a client with threads and a connection
    client.flush()
    WAYS[sys.argv[1]]()
