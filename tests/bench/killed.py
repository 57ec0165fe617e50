"""Kill -9 a program with a spool at random moments and count lost calls that had returned."""

import mmap
import random
import struct
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Final

from otel_ml import Client
from tests.bench.pace import pace
from tests.bench.process import run_module, start_module
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess
from tests.support.waiting import wait_until

ROUNDS: Final = 50
PROJECT: Final = "killed"
_BURST: Final = 50
_PAUSE_S: Final = 0.02
_LATEST_S: Final = 1.0
_START_S: Final = 30.0
_SETTLE_S: Final = 60.0
_MOST_RESTARTS: Final = 10
_NUMBER: Final = struct.Struct("Q")  # native: one store, which no kill can tear


@dataclass(frozen=True, slots=True)
class Killed:
    """The outcome of all calls.

    Attributes:
        kills: How often the program was killed.
        returned: Calls that had returned before a kill, and the calls that delivered the rest.
        lost: Returned calls that the collector does not have.
        twice: Runs beyond the first of each call, counted or listed.
        unknown: Runs that belong to no call.
        restarts: How many processes it took in the end until the spool was empty.
    """

    kills: int
    returned: int
    lost: int
    twice: int
    unknown: int
    restarts: int


def measure(rounds: int = ROUNDS, seed: int | None = None) -> Killed:
    """Kill a program many times, deliver the rest of the spool, and read all runs back.

    After every second kill, a process with the same spool makes one call and flushes. After the
    other kills, the next program that is killed delivers the rest.

    Args:
        rounds: How often to kill.
        seed: Seed of the random moments.
    """
    moments = random.Random(seed)  # noqa: S311 - they guard nothing
    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder) / "data")
        try:
            collector.wait_ready()
            trial = _Trial(collector.endpoint, Path(folder))
            for number in range(rounds):
                trial.kill(number, moments.uniform(0, _LATEST_S))
                if number % 2:
                    trial.deliver(f"after.{number}")
            restarts = trial.deliver_rest()
            total, stored = _read(collector, len(trial.returned))
        finally:
            collector.kill()
    return Killed(
        kills=rounds,
        returned=len(trial.returned),
        lost=len(trial.returned - stored.keys()),
        twice=max(total, stored.total()) - len(stored),
        unknown=len(stored.keys() - trial.returned - trial.begun),
        restarts=restarts,
    )


def report() -> None:
    """Measure and print."""
    found = measure()
    heads = ("kill -9 with a spool", "returned", "lost", "stored twice", "", "processes at last")
    reached = not (found.lost or found.twice or found.unknown)
    counts = (f"{found.kills} kills", f"{found.returned:,}", f"{found.lost}", f"{found.twice}")
    print_table(heads, [(*counts, verdict(reached), f"{found.restarts}")])


class _Trial:
    """One spool, and all calls that wrote to it."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self._endpoint = endpoint
        self._folder = folder
        self.returned: set[str] = set()
        self.begun: set[str] = set()

    def kill(self, number: int, after_s: float) -> None:
        """Kill a program the given time after its first call, and note which calls had returned."""
        shared = self._folder / f"returned-{number}"
        shared.write_bytes(bytes(_NUMBER.size))
        with start_module("killed", "call", number, self._endpoint, self._folder) as program:
            try:
                wait_until(lambda: _returned(shared) > 0 or _is_over(program), _START_S)
                pace(after_s)  # kill at a random moment
            finally:
                program.kill()
        calls = _returned(shared)
        self.returned |= {f"{number}.{call}" for call in range(calls)}
        self.begun.add(f"{number}.{calls}")  # it may be written without having returned

    def deliver(self, name: str) -> None:
        """Start a process with the same spool that makes one call and flushes."""
        run_module("killed", "deliver", name, self._endpoint, self._folder)
        self.returned.add(name)

    def deliver_rest(self) -> int:
        """Start such processes until the spool is empty; return how many it took."""
        for restarts in range(_MOST_RESTARTS):
            self.deliver(f"rest.{restarts}")
            if not list((self._folder / "spool").rglob("*.spool")):
                return restarts + 1
        return _MOST_RESTARTS


def _returned(shared: Path) -> int:
    [number] = _NUMBER.unpack(shared.read_bytes())
    return int(number)


def _is_over(program: "Popen[str]") -> bool:
    assert program.poll() is None, f"the program ended with status {program.returncode}"
    return False


def _read(collector: CollectorProcess, expected: int) -> tuple[int, "Counter[str]"]:
    """Return how many runs the collector counts, and how many it lists for each call.

    Waits until the expected number has arrived.
    """

    def counted() -> int:
        return sum(int(project["runs"]) for project in collector.get("/projects")["projects"])

    with suppress(AssertionError):  # some are lost, and are counted below
        wait_until(lambda: counted() >= expected, _SETTLE_S)
    return counted(), Counter(run["outputs"] for run in collector.runs(PROJECT))


def _run(what: str, name: str, endpoint: str, folder: str) -> None:
    client = Client(PROJECT, endpoint=endpoint, spool=Path(folder) / "spool")

    @client.trace
    def model(text: str) -> str:
        return text

    if what == "deliver":
        model(name)
        client.flush()
        return
    path = Path(folder) / f"returned-{name}"
    with path.open("r+b") as file, mmap.mmap(file.fileno(), _NUMBER.size) as returned:
        call = 0
        while True:
            for _ in range(_BURST):
                model(f"{name}.{call}")
                call += 1
                _NUMBER.pack_into(returned, 0, call)
            pace(_PAUSE_S)


if __name__ == "__main__":
    _run(*sys.argv[1:])
