"""Compare the findings of otel-ml, Evidently and NannyML in the same ten streams, 10 draws each."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.bench.monitors_cases import DRAWS, STREAMS
from tests.bench.process import run_module
from tests.bench.table import print_table

MONITORS_PYTHON: Final = Path(__file__).parents[2] / ".venv-monitors" / "bin" / "python"
# The distribution, whose version is printed, and the display name.
MONITORS: Final[Mapping[str, str]] = {
    "otel-ml": "otel-ml",
    "evidently": "Evidently",
    "nannyml": "NannyML",
}
HEADS: Final = ("stream", "should be said", *MONITORS.values())


def measure(name: str) -> dict[str, Any]:
    """Let one of the three judge all streams in a separate process.

    Returns:
        Its `version`, and its results by stream title under `said`.
    """
    python = sys.executable if name == "otel-ml" else str(MONITORS_PYTHON)
    measured: dict[str, Any] = json.loads(
        run_module("monitors_child", name, python=python).splitlines()[-1]
    )
    return measured


def cell(told: Mapping[str, Any]) -> str:
    """Return the text of a tool's result for a stream."""
    if told["errors"]:
        return str(told["errors"][0]).replace("|", "/")
    words = " or ".join(told["words"])
    return f"{told['said']} of {DRAWS}" + (f": {words}" if words else "")


def rows_of(measured: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield a row for each stream."""
    for title, stream in STREAMS.items():
        cells = [cell(told["said"][title]) for told in measured.values()]
        yield [title, "yes" if stream.changed else "no", *cells]


def report() -> None:
    """Run all three sequentially and print the table."""
    if not MONITORS_PYTHON.exists():
        print("There is no .venv-monitors, so monitors is left out: make .venv-monitors/stamp\n")
        return
    measured = {name: measure(name) for name in MONITORS}
    print(", ".join(f"{MONITORS[name]} {told['version']}" for name, told in measured.items()))
    print(f"load average {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    print_table(HEADS, [*rows_of(measured)])
