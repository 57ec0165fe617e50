"""Compare how long the tests of two runs took: ``python -m tests.durations BEFORE AFTER``.

BEFORE and AFTER are files that runs wrote to ``.cache/durations``, or folders with the files of
several runs. With one of them, or with none, the command prints the most expensive modules.
``--write-table`` writes the modules of CI that take longer than 5 s to the table that decides
their order on other machines.
"""

# ruff: noqa: T201 - it prints tables

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.support.durations import (
    FOLDER,
    LONG_S,
    TABLE,
    Seconds,
    find_runs,
    print_modules,
    read_seconds,
    sum_modules,
    sum_tiers,
    write_seconds,
)
from tests.support.folders import ROOT

RUNS: Final = ("test", "rest")  # `make test` and `make test-rest` name their runs so
_SHOWN: Final = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what the arguments ask for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.durations", description="Compare how long the tests of two runs took."
    )
    parser.add_argument("places", nargs="*", type=Path, metavar="FILE", help="a file or a folder")
    parser.add_argument("--write-table", action="store_true", help=f"write {TABLE.name}")
    options = parser.parse_args(arguments)
    try:
        if options.write_table:
            return write_table(ROOT / FOLDER)
        read = [read_seconds(place) for place in options.places or [ROOT / FOLDER]]
    except (OSError, ValueError) as error:
        print(f"durations: {error}", file=sys.stderr)
        return 2
    if len(read) > 2:
        parser.error(f"Invalid number of runs {len(read)}: expected at most 2")
    if len(read) == 1:
        print_modules(read[0], print)
    else:
        print("\n".join(compare(*read)))
    return 0


def write_table(folder: Path) -> int:
    """Write the table of long modules from the newest runs of CI; return the exit status."""
    missing = [name for name in RUNS if name not in find_runs(folder)]
    if missing:
        print(f"durations: no kept run of {' and '.join(missing)}: make test-all", file=sys.stderr)
        return 2
    modules = sum_modules(read_seconds(folder))
    write_seconds(TABLE, {name: spent_s for name, spent_s in modules.items() if spent_s > LONG_S})
    return 0


def compare(before: Seconds, after: Seconds) -> list[str]:
    """Return the lines of the comparison: the sums of each tier, then the modules."""
    modules = sum_modules(before), sum_modules(after)
    changed = sorted(
        modules[0].keys() & modules[1].keys(),
        key=lambda module: -abs(modules[1][module] - modules[0][module]),
    )
    return [
        f"{'before':>9} {'after':>9}  ratio",
        *_rows({"all": sum(before.values())}, {"all": sum(after.values())}, ["all"]),
        *_rows(
            sum_tiers(before), sum_tiers(after), sorted({*sum_tiers(before), *sum_tiers(after)})
        ),
        f"\nThe {_SHOWN} modules that changed most:",
        *_rows(*modules, changed[:_SHOWN]),
        "\nModules only before:",
        *_list(modules[0], modules[0].keys() - modules[1].keys()),
        "\nModules only after:",
        *_list(modules[1], modules[1].keys() - modules[0].keys()),
    ]


def _rows(before: Seconds, after: Seconds, names: Iterable[str]) -> list[str]:
    return [_row(before.get(name, 0.0), after.get(name, 0.0), name) for name in names]


def _row(before_s: float, after_s: float, name: str) -> str:
    ratio = f"{after_s / before_s:.2f}" if before_s else "–"
    return f"{before_s:7.1f} s {after_s:7.1f} s  {ratio:>5}  {name}"


def _list(seconds: Seconds, names: Iterable[str]) -> list[str]:
    longest = sorted(names, key=lambda name: (-seconds[name], name))
    return [f"{seconds[name]:7.1f} s  {name}" for name in longest]


if __name__ == "__main__":
    sys.exit(main())
