"""Compare this tree with another commit in alternating rounds, because machines drift."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.progress import measuring
from tests.bench.spread import spread
from tests.bench.table import print_table
from tests.house import unpack
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT

ROUNDS: Final = 5
_RUN_S: Final = 1_800


@dataclass(frozen=True, slots=True)
class Tree:
    """The code of a commit, run by this environment's interpreter and packages.

    Attributes:
        name: The heading of its column.
        folder: The folder of its code.
    """

    name: str
    folder: Path

    @property
    def launcher(self) -> Sequence[str]:
        """The prefix of a command that makes it run this code."""
        path = os.pathsep.join(str(self.folder / part) for part in ("", "collector"))
        # Python searches the working directory before PYTHONPATH, and ours has an `otel_ml` too.
        return ("env", "-C", str(self.folder), f"PYTHONPATH={path}")

    def run(self, code: str) -> str:
        """Run Python code with the product of this tree and our benchmarks; return its output."""
        command = [*self.launcher, sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=self.folder, check=True, stdout=subprocess.PIPE, text=True, timeout=_RUN_S
        )
        return done.stdout

    @contextmanager
    def serve(self, data_dir: Path) -> Iterator[CollectorProcess]:
        """Run a collector of this tree over a data directory, until the block ends."""
        collector = CollectorProcess(data_dir, launcher=self.launcher)
        try:
            collector.wait_ready()
            yield collector
        finally:
            collector.stop()


# Measures a tree once: figures by name, with the unit in the name.
Measure = Callable[[Tree], Mapping[str, float]]


def report(commit: str, measure: Measure, rounds: int = ROUNDS) -> None:
    """Measure a commit and this tree in alternating rounds; print the figures and ratios."""
    found: dict[str, list[tuple[float, float]]] = {}
    with _both(commit) as (then, now):
        for number in range(rounds):
            trees = (then, now) if number % 2 else (now, then)
            said = {}
            for tree in trees:
                with measuring(f"round {number + 1} of {rounds}, {tree.name}"):
                    said[tree.name] = measure(tree)
            for name in [name for name in said[then.name] if name in said[now.name]]:
                found.setdefault(name, []).append((said[then.name][name], said[now.name][name]))
    rows = [
        [
            name,
            f"{statistics.median(before for before, _ in pairs):,.1f}",
            f"{statistics.median(after for _, after in pairs):,.1f}",
            # There is no ratio for a round in which the other commit measured zero.
            spread(ratios)
            if (ratios := [after / before for before, after in pairs if before])
            else "",
        ]
        for name, pairs in found.items()
    ]
    print_table((f"{rounds} rounds, in turns", commit, "now", "now ÷ then"), rows)


@contextmanager
def _both(commit: str) -> Iterator[tuple[Tree, Tree]]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        unpack(commit, folder)
        # The benchmarks of this tree drive both, so both get the same load and questions.
        shutil.rmtree(folder / "tests")
        (folder / "tests").symlink_to(ROOT / "tests")
        yield Tree(commit, folder), Tree("now", ROOT)
