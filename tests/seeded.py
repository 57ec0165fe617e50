"""Show which tests detect 24 small defects: ``python -m tests.seeded [--all] [NAME ...]``.

It copies the project, working tree included, into a temporary folder. There it makes one defect
after another and runs the chosen tests until the first fails: those of ``make test``, and if they
all pass, those that CI adds. A test that fails counts only if it fails again alone, and passes
without the defect.

By default these are the tests that `tests.support.defects` names. ``--all`` runs whole tiers, which
takes 24 times as long as CI. Each NAME is a part of the name of a defect, to try only some.

The exit status is 1 if ``make test`` misses more than eight of the defects, or CI misses one. CI
runs ``make test`` first, so it detects whatever that detects.
"""

# ruff: noqa: T201 - it prints a table and its progress

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.defects import DEFECTS, Defect
from tests.support.folders import ROOT

UNIT: Final = ("unit",)
OTHERS: Final = ("store", "process", "browser")
SMOKE: Final = "process/test_smoke.py"
MAY_MISS: Final = 8  # of all defects, by `make test`
_LIMIT_S: Final = 3_600.0  # a test that hangs has detected something, too
_PASSED, _FAILED = 0, 1  # exit statuses of pytest
_FAILURE: Final = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one stage of tests.

    Attributes:
        failed: The first test that failed; empty if all passed.
    """

    failed: str

    @property
    def word(self) -> str:
        """The word for the table."""
        return "detects it" if self.failed else "misses it"


class SeededError(Exception):
    """The defects or their tests do not fit the project."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print which stage detects which defect; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.seeded", description="Show which tests detect 24 small defects."
    )
    parser.add_argument("--all", action="store_true", help="run whole tiers for each defect")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a part of a defect's name")
    options = parser.parse_args(arguments)
    defects = [
        defect
        for defect in DEFECTS
        if not options.names or any(name in defect.name for name in options.names)
    ]
    try:
        return try_defects(defects, is_all=options.all)
    except SeededError as error:
        print(f"seeded: {error}", file=sys.stderr)
        return 2


def try_defects(defects: Sequence[Defect], *, is_all: bool) -> int:
    """Make one defect after another in a copy of the project; return the exit status."""
    with tempfile.TemporaryDirectory(prefix="otel-ml-seeded-") as folder:
        copy = Path(folder) / "project"
        copy_project(copy)
        for defect in defects:
            read_with_defect(copy, defect)
        stages = {defect.name: choose_tests(copy, None if is_all else defect) for defect in defects}
        rows = []
        for defect in defects:
            began_s = time.monotonic()
            outcomes = try_defect(copy, defect, stages[defect.name])
            rows.append((defect, outcomes, time.monotonic() - began_s))
    print_table(rows)
    by_make_test = sum(bool(first.failed) for _, (first, _), _ in rows)
    by_ci = sum(bool(second.failed) for _, (_, second), _ in rows)
    print(f"\nmake test detects {by_make_test} of {len(rows)}, CI {by_ci} of {len(rows)}.")
    return int(by_make_test < len(rows) - MAY_MISS or by_ci < len(rows))


def copy_project(copy: Path) -> None:
    """Copy the files that git tracks, and new files that it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, copy / name
        if source.is_file():  # neither deleted in the working tree, nor a link to a folder
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    # Some tests read the list of files from git.
    for arguments in (("init", "--quiet"), ("add", "--all")):
        subprocess.run(["git", *arguments], cwd=copy, check=True)


def read_with_defect(copy: Path, defect: Defect) -> str:
    """Return the text of a file with its defect.

    Raises:
        SeededError: The text to replace is not in the file, or occurs several times.
    """
    file = copy / defect.file
    if not file.is_file():
        raise SeededError(f"{defect.name}: there is no file {defect.file}")
    text = file.read_text()
    if (number := text.count(defect.old)) != 1:
        raise SeededError(
            f"{defect.name}: expected {defect.old!r} once in {defect.file}, found it {number} times"
        )
    return text.replace(defect.old, defect.new)


def choose_tests(copy: Path, defect: Defect | None) -> tuple[list[str], list[str]]:
    """Return the tests of `make test` and those CI adds; without a defect, those of whole tiers."""
    if defect is None:
        added = [f"tests/{tier}" for tier in OTHERS if (copy / "tests" / tier).is_dir()]
        return ["tests/unit", f"tests/{SMOKE}"], [*added, f"--deselect=tests/{SMOKE}"]
    units = find_tests(copy, defect.packages, UNIT)
    others = find_tests(copy, defect.others, OTHERS)
    if not others:
        raise SeededError(f"{defect.name}: found none of {', '.join(defect.others)}")
    return [*units, f"tests/{SMOKE}"], others


def find_tests(copy: Path, names: Iterable[str], tiers: Sequence[str]) -> list[str]:
    """Return the tests with these names, without their tier's folder, in the given tiers."""
    paths = [f"tests/{tier}/{name}" for name in names for tier in tiers]
    return [path for path in paths if (copy / path).exists()]


def try_defect(
    copy: Path, defect: Defect, stage: tuple[list[str], list[str]]
) -> tuple[Outcome, Outcome]:
    """Run the tests with a defect, and remove the defect afterwards.

    Returns:
        The results of ``make test`` and of CI.

    Raises:
        SeededError: The test that failed also fails without the defect.
    """
    file = copy / defect.file
    text = file.read_text()
    file.write_text(read_with_defect(copy, defect))
    try:
        by_make_test = find_failure(copy, stage[0])
        by_ci = by_make_test if by_make_test.failed else find_failure(copy, stage[1])
    finally:
        file.write_text(text)
    if "::" in by_ci.failed and run_tests(copy, [by_ci.failed]).failed:
        raise SeededError(f"{defect.name}: without the defect, {by_ci.failed} fails too")
    for what, outcome in (("make test", by_make_test), ("CI", by_ci)):
        found = f": {outcome.failed}" if outcome.failed else ""
        print(f"{defect.name}: {what} {outcome.word}{found}", file=sys.stderr, flush=True)
    return by_make_test, by_ci


def find_failure(copy: Path, tests: Sequence[str]) -> Outcome:
    """Run tests until one fails that also fails alone. A test of times may fail by chance."""
    by_chance: list[str] = []
    while True:
        outcome = run_tests(copy, [*tests, *(f"--deselect={test}" for test in by_chance)])
        if "::" not in outcome.failed or run_tests(copy, [outcome.failed]).failed:
            return outcome
        by_chance.append(outcome.failed)


def run_tests(copy: Path, tests: Sequence[str]) -> Outcome:
    """Run tests of the copy until the first fails.

    Raises:
        SeededError: They could not be run.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    paths = os.pathsep.join([str(copy), str(copy / "collector")])
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(f"a test that takes longer than {_LIMIT_S:.0f} s")
    if done.returncode == _PASSED:
        return Outcome("")
    failures = _FAILURE.findall(done.stdout)
    if done.returncode != _FAILED or not failures:
        raise SeededError(f"{' '.join(command)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return Outcome(failures[0])


def print_table(rows: Iterable[tuple[Defect, tuple[Outcome, Outcome], float]]) -> None:
    """Print a Markdown table."""
    print("| defect | file | `make test` | CI | seconds |\n| --- | --- | --- | --- | ---: |")
    for defect, (first, second), seconds in rows:
        cells = (defect.name, f"`{defect.file}`", first.word, second.word, f"{seconds:.0f}")
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    sys.exit(main())
