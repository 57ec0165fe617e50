"""Runs a command and shows every 5 s what it does: ``python heartbeat.py NAME COMMAND...``.

With ``--into FOLDER``, the command installs packages with pip, uv or apt-get. Then the lines name
the packages that were fetched or installed since the last line, with their size. Other output of
the command follows only if it fails. FOLDER is the virtual environment.

The Makefile uses this file before any package is installed.
"""

import argparse
import csv
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import Final

EVERY_S: Final = 5.0
_NAMED: Final = 5  # packages of one line
_INTERRUPTED: Final = 130
_TAIL: Final = 60  # lines of a failed command
_UNITS: Final = {"": 1e0, "k": 1e3, "ki": 2**10, "m": 1e6, "mi": 2**20, "g": 1e9, "gi": 2**30}
_SIZE: Final = r"([\d.,]+) ?([kmg]?i?)b"
_FETCHED: Final = (
    # pip writes "Downloading numpy-2.3.1-cp311-….whl (16.5 MB)", uv "Downloading numpy (15.8MiB)"
    re.compile(rf"(?:Downloading|Using cached) (?:\S*/)?(\S+) \({_SIZE}\)", re.IGNORECASE),
    # apt-get writes "Get:7 ADDRESS bookworm/main amd64 nodejs amd64 18.20 [320 kB]"
    re.compile(rf"Get:\d+ \S+ \S+ \S+ (\S+) \S+ \S+ \[{_SIZE}\]", re.IGNORECASE),
)
_FILE: Final = re.compile(r"([^-\s]+)-([^-\s]+?)(?:-\S+)?(?:\.whl|\.tar\.gz)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="heartbeat")
    parser.add_argument("--every", type=float, default=EVERY_S, metavar="SECONDS")
    parser.add_argument("--into", type=Path, metavar="FOLDER")
    parser.add_argument("name", help="what the command does")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    packages = Packages(options.into) if options.into else None
    began_s, ended = time.monotonic(), Event()
    write_line(options.name)

    def beat() -> None:
        while not ended.wait(options.every):
            news = packages.describe_news() if packages else ""
            write_line(f"{time.monotonic() - began_s:6.0f} s: {news or options.name}")

    thread = Thread(target=beat)
    thread.start()
    try:
        if packages is None:
            return subprocess.call(options.command)
        status = packages.run(options.command)
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        ended.set()
        thread.join()
    if status == 0:
        write_line(f"{time.monotonic() - began_s:6.0f} s: {packages.sum_up()}")
    return status


def write_line(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Packages:
    """The packages that an installer fetches, and installs into a virtual environment.

    Args:
        folder: The environment. What it contains already does not count.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fetched: dict[str, float] = {}
        self._before = self._find_installed()
        self._written: set[tuple[str, str]] = set()

    def run(self, command: Sequence[str]) -> int:
        """Run the installer and return its exit status. If it fails, print its last lines."""
        lines: list[str] = []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            for line in process.stdout or ():
                lines.append(line)
                self._fetched.update(read_fetched(line))
        if process.returncode:
            sys.stdout.writelines(lines[-_TAIL:])
        return process.returncode

    def describe_news(self) -> str:
        """Name the packages that were fetched or installed since the last call; empty if none."""
        news = []
        for verb, packages in (("fetched", self._fetched.copy()), ("installed", self._find_new())):
            new = {
                name: size for name, size in packages.items() if (verb, name) not in self._written
            }
            self._written |= {(verb, name) for name in new}
            if new:
                news.append(f"{verb} {name_packages(new)}")
        return "; ".join(news)

    def sum_up(self) -> str:
        """Return how many packages are new, and their size."""
        new = self._find_new()
        verb, new = ("installed", new) if new else ("fetched", self._fetched)
        return f"{verb} {write_count(len(new), 'package')}, {write_size(sum(new.values()))}"

    def _find_new(self) -> dict[str, float]:
        """Return the size of each package that is now complete and was not before."""
        new = self._find_installed() - self._before
        return {name_version(f"{file.parent.stem}.whl"): read_size(file) for file, _ in new}

    def _find_installed(self) -> set[tuple[Path, int]]:
        """Return the list of files of each package, which installers write last, and its time."""
        records = self._folder.glob("lib/python*/site-packages/*.dist-info/RECORD")
        return {(file, file.stat().st_mtime_ns) for file in records}


def read_fetched(line: str) -> dict[str, float]:
    """Return the name and the size of the package that a line reports; empty if it reports none."""
    for pattern in _FETCHED:
        if (match := pattern.search(line)) and not match[1].endswith(".metadata"):
            return {
                name_version(match[1]): float(match[2].replace(",", "")) * _UNITS[match[3].lower()]
            }
    return {}


def name_version(file: str) -> str:
    """Return the name and the version in the name of a package's file, or the name unchanged."""
    return _FILE.sub(lambda match: f"{match[1].replace('_', '-')} {match[2]}", file)


@cache
def read_size(record: Path) -> float:
    """Return the size of an installed package, in bytes, from the list of its files."""
    with record.open(newline="") as file:
        return sum(float(row[2]) for row in csv.reader(file) if row[2])


def name_packages(packages: Mapping[str, float]) -> str:
    """Name the largest packages with their size, and count the others."""
    largest = sorted(packages, key=lambda name: (-packages[name], name))
    named = ", ".join(f"{name} ({write_size(packages[name])})" for name in largest[:_NAMED])
    others = {name: packages[name] for name in largest[_NAMED:]}
    if not others:
        return named
    count = write_count(len(others), "smaller one")
    return f"{named} and {count} ({write_size(sum(others.values()))})"


def write_count(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def write_size(size: float) -> str:
    """Write a number of bytes."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.0f} kB"


if __name__ == "__main__":
    sys.exit(main())
