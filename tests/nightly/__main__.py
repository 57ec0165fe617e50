"""Run one part of the nightly run: ``python -m tests.nightly 2/8``; ``list`` prints all parts."""

import os
import subprocess
import sys
from collections import Counter

from tests.nightly.parts import PARTS, Part, find_ignored, find_modules
from tests.support.folders import ROOT

_USAGE = (
    f"Type a part from 1/{len(PARTS)} to {len(PARTS)}/{len(PARTS)}, or list: PART=2/{len(PARTS)}"
)

_SOME_FAILED = 1  # exit status of pytest


def main(arguments: list[str]) -> int:
    """Run the named part and return the exit status of its tests."""
    if arguments == ["list"]:
        sys.stdout.writelines(describe(number, part) for number, part in enumerate(PARTS, 1))
        return 0
    names = [f"{number}/{len(PARTS)}" for number in range(1, len(PARTS) + 1)]
    if len(arguments) != 1 or arguments[0] not in names:
        sys.stderr.write(f"Invalid part {' '.join(arguments)!r}. {_USAGE}\n")
        return 2
    return run(PARTS[names.index(arguments[0])])


def describe(number: int, part: Part) -> str:
    """Return the number, the name and the test modules per folder of a part, as text."""
    folders = Counter("/".join(module.parts[:3]) for module in find_modules(part))
    lines = [f"  {folder}: {count} test modules\n" for folder, count in sorted(folders.items())]
    return f"PART={number}/{len(PARTS)}  {part.name}\n{''.join(lines)}"


def run(part: Part) -> int:
    """Install the prerequisites of a part, run its tests, and return their exit status."""
    if part.targets:
        subprocess.run(["make", "--no-print-directory", *part.targets], cwd=ROOT, check=True)
    command = [
        *(sys.executable, "-m", "pytest", "--numprocesses", "3", "--dist", "worksteal"),
        *("--durations", "40", "-o", "faulthandler_timeout=300", "--forbid-skips"),
        "--cache-clear",
        *("-m", "not image and not booted"),
        *(f"--ignore={path}" for path in find_ignored(part)),
        *(path for path in part.paths if path not in part.run_by_targets),
    ]
    environment = {**os.environ, "OTEL_ML_TESTS": "nightly"}
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if status == _SOME_FAILED:
        again = [sys.executable, "-m", "tests.alone"]
        status = subprocess.run(again, cwd=ROOT, env=environment, check=False).returncode
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
