"""Compare the reports of otel-ml, MLflow and pydantic-evals on equal items, scorer and failures."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.evals_cases import CASES, ITEMS
from tests.bench.process import run_module
from tests.bench.table import print_table
from tests.support.collector import CollectorProcess

_ROOT: Final = Path(__file__).parents[2]
OURS: Final = "otel-ml"
# The distribution, whose version is printed, and the display name.
NAMES: Final[Mapping[str, str]] = {
    OURS: "otel-ml",
    "mlflow": "MLflow",
    "pydantic-evals": "pydantic-evals",
}
PEERS_PYTHON: Final = _ROOT / ".venv-evals" / "bin" / "python"
HEADS: Final = (
    f"{ITEMS} items, what fails",
    "",
    "A passes",
    "B passes",
    "items counted, A and B",
    "what failed of B",
    "verdict",
    "B less A, points",
    "took, s",
)


def measure(name: str) -> dict[str, Any]:
    """Run one of the three over all cases in its own process.

    Returns:
        Its `version`, and a `tests.bench.evals_child.Said` by case title under `said`.
    """
    with tempfile.TemporaryDirectory() as folder:
        if name != OURS:
            printed = run_module("evals_child", name, folder, python=str(PEERS_PYTHON))
        else:
            collector = CollectorProcess(Path(folder) / "data")
            try:
                collector.wait_ready()
                printed = run_module(
                    "evals_child", name, folder, OTEL_ML_ENDPOINT=collector.endpoint
                )
            finally:
                collector.stop()
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def rows_of(name: str, said: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield a row for each case, without the time."""
    for title in CASES:
        yield [title, NAMES[name], *_cells(said[title])]


def words_of(name: str, said: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield the textual report of each case."""
    for title in CASES:
        one = said[title]
        yield [title, NAMES[name], (one["ended_by"] or one["words"]).replace("|", "/")]


def report() -> None:
    """Measure all three, one after the other, and print the tables."""
    if not PEERS_PYTHON.exists():
        print("There is no .venv-evals, so evals_peers is left out: make .venv-evals/stamp\n")
        return
    found = {name: measure(name) for name in NAMES}
    print(", ".join(f"{NAMES[name]} {one['version']}" for name, one in found.items()))
    print(f"load average {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    rows: list[Sequence[str]] = []
    words: list[Sequence[str]] = []
    for name, one in found.items():
        timed = (f"{case['took_s']:.1f}" for case in one["said"].values())
        rows += [[*row, took] for row, took in zip(rows_of(name, one["said"]), timed, strict=True)]
        words += words_of(name, one["said"])
    order = [*CASES]
    rows.sort(key=lambda row: order.index(row[0]))
    words.sort(key=lambda row: order.index(row[0]))
    print_table(HEADS, rows)
    print_table((HEADS[0], "", "says"), words)


def _cells(said: Mapping[str, Any]) -> list[str]:
    if said["ended_by"]:
        ended = f"the run ended: {said['ended_by'].partition(':')[0]}"
        return ["none", "none", "0, 0", ended, "none", "none"]
    rates = [f"{100 * rate:.1f} %" for rate in said["rates"]]
    counted = "{}, {}".format(*said["counted"])
    parts = [
        f"{count} {what}"
        for count, what in (
            (said["not_passed"], "counted as not passed"),
            (said["left_out"], "left out"),
        )
        if count
    ]
    return [
        *rates,
        counted,
        ", ".join(parts) or "nothing",
        said["verdict"] or "none",
        _points(said),
    ]


def _points(said: Mapping[str, Any]) -> str:
    if said["interval"] is None:
        return "no interval"
    low, high = said["interval"]
    one, other, third = (
        f"{100 * number:.1f}".replace("-", "−") for number in (said["difference"], low, high)
    )
    return f"{one} ({other} to {third}), {said['pairs']} pairs"
