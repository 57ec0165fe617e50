"""A pytest plugin that keeps how long each test of a run took.

With ``--keep-durations NAME``, a run writes the file ``.cache/durations/NAME-<UTC time>.tsv``. Its
lines contain the seconds and the ID of a test. The seconds include those of the fixtures that the
test is the first to need. At its end, the run prints its most expensive modules.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from tests.support.folders import ROOT

Seconds = Mapping[str, float]
"""How long each test took, by its ID, or each module, by its path."""

FOLDER: Final = Path(".cache", "durations")  # in the root of the project
TABLE: Final = ROOT / "tests" / "support" / "durations.tsv"
LONG_S: Final = 5.0  # the table contains the modules of CI that take longer
_KEPT: Final = 10  # files of one name
_SHOWN: Final = 30
_FILE: Final = re.compile(r"(.+)-\d{8}T\d{6}\.tsv")
_NIGHTLY: Final = "nightly"  # how the names of nightly runs begin
_COMPLETE: Final = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


def read_seconds(place: Path) -> Seconds:
    """Read a file, or the newest runs of CI in a folder.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is not a number, a tab and a test.
    """
    files = find_runs(place).values() if place.is_dir() else [place]
    return dict(pair for file in files for pair in map(_read_line, file.read_text().splitlines()))


def find_runs(folder: Path, *, at_night: bool = False) -> Mapping[str, Path]:
    """Return the newest file of each name, of CI or of nightly runs."""
    return {
        name: files[-1]
        for name, files in _find_files(folder).items()
        if name.startswith(_NIGHTLY) is at_night
    }


def write_seconds(file: Path, seconds: Seconds) -> None:
    """Write a line for each test or module, the slowest first."""
    slowest = sorted(seconds.items(), key=lambda pair: (-round(pair[1], 3), pair[0]))
    file.write_text("".join(f"{spent_s:.3f}\t{test}\n" for test, spent_s in slowest))


def keep_run(folder: Path, name: str, seconds: Seconds, ended: datetime) -> None:
    """Write the file of a run, and delete the oldest files of the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-{ended:%Y%m%dT%H%M%S}.tsv"
    unfinished = file.with_suffix(".part")  # another run may read the folder now
    write_seconds(unfinished, seconds)
    unfinished.rename(file)
    for old in _find_files(folder)[name][:-_KEPT]:
        old.unlink(missing_ok=True)


def sum_modules(seconds: Seconds) -> Seconds:
    """Return the seconds of each module."""
    return _sum(seconds, lambda test: test.partition("::")[0])


def sum_tiers(seconds: Seconds) -> Seconds:
    """Return the seconds of each folder of tests."""
    return _sum(seconds, lambda test: "/".join(test.split("/")[:2]))


def find_longest(folder: Path, *, at_night: bool) -> list[str]:
    """Return the modules that take longer than 5 s, the longest first.

    The newest runs in the folder count, those of CI or nightly ones. The committed table replaces
    modules that they did not run.
    """
    modules = dict(read_seconds(TABLE))
    for file in find_runs(folder, at_night=at_night).values():
        modules.update(sum_modules(read_seconds(file)))
    longest = sorted(modules, key=lambda module: (-modules[module], module))
    return [module for module in longest if modules[module] > LONG_S]


def print_modules(seconds: Seconds, write_line: Callable[[str], object]) -> None:
    """Print the most expensive modules, with their share of all seconds."""
    modules = Counter(sum_modules(seconds))
    total_s = sum(modules.values())
    tests = Counter(test.partition("::")[0] for test in seconds)
    write_line(
        f"The {min(_SHOWN, len(modules))} most expensive of {len(modules):,} modules, "
        f"with their share of {total_s:,.0f} s:"
    )
    write_line("  share  seconds  tests  module")
    for module, spent_s in modules.most_common(_SHOWN):
        write_line(f"{spent_s / (total_s or 1):7.1%} {spent_s:8.1f} {tests[module]:6,}  {module}")


def _read_line(line: str) -> tuple[str, float]:
    spent_s, _, test = line.partition("\t")
    return test, float(spent_s)


def _find_files(folder: Path) -> Mapping[str, list[Path]]:
    """Return the files of each name, the oldest first."""
    files: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(folder.glob("*.tsv")):
        if match := _FILE.fullmatch(file.name):
            files[match[1]].append(file)
    return files


def _sum(seconds: Seconds, place_of: Callable[[str], str]) -> Seconds:
    places: dict[str, float] = defaultdict(float)
    for test, spent_s in seconds.items():
        places[place_of(test)] += spent_s
    return places


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the run."""
    parser.addoption("--keep-durations", metavar="NAME", help="keep how long each test took")


def pytest_configure(config: pytest.Config) -> None:
    """Watch a run that has a name, in the process that receives the reports of all tests."""
    name = config.getoption("--keep-durations")
    if name is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Watch(name, config.rootpath / FOLDER))


class _Watch:
    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder
        self._seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: pytest.ExitCode
    ) -> None:
        if exitstatus in _COMPLETE and self._seconds:
            keep_run(self._folder, self._name, self._seconds, datetime.now(UTC))
            terminalreporter.section("modules")
            print_modules(self._seconds, terminalreporter.write_line)
