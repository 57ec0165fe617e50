"""Run one part of the nightly run: ``python -m tests.nightly 2/11``; ``list`` prints all parts."""

import os
import subprocess
import sys
from collections import Counter

from tests.nightly.parts import PARTS, Part, find_ignored, find_modules
from tests.support.folders import ROOT

_USAGE = (
    f"Type a part from 1/{len(PARTS)} to {len(PARTS)}/{len(PARTS)}, or list: PART=2/{len(PARTS)}"
)

# Exit statuses of pytest.
_SOME_FAILED = 1
_NONE_COLLECTED = 5
_UNITS = "tests/unit"
_RUNNABLE = "not image and not booted"


def main(arguments: list[str]) -> int:
    """Run the named part and return the exit status of its tests."""
    if arguments == ["list"]:
        sys.stdout.writelines(describe(number, part) for number, part in enumerate(PARTS, 1))
        return 0
    names = [f"{number}/{len(PARTS)}" for number in range(1, len(PARTS) + 1)]
    if len(arguments) != 1 or arguments[0] not in names:
        sys.stderr.write(f"Invalid part {' '.join(arguments)!r}. {_USAGE}\n")
        return 2
    number = names.index(arguments[0]) + 1
    return run(PARTS[number - 1], f"nightly-{number}")


def describe(number: int, part: Part) -> str:
    """Return the number, the name and the test modules per folder of a part, as text."""
    folders = Counter("/".join(module.parts[:3]) for module in find_modules(part))
    lines = [f"  {folder}: {count} test modules\n" for folder, count in sorted(folders.items())]
    return f"PART={number}/{len(PARTS)}  {part.name}\n{''.join(lines)}"


def run(part: Part, name: str) -> int:
    """Install the prerequisites of a part, run its tests, and return their exit status.

    Args:
        part: The part.
        name: How the files of its durations begin.
    """
    if part.targets:
        subprocess.run(["make", "--no-print-directory", *part.targets], cwd=ROOT, check=True)
    options = [
        *("-p", "tests.support.durations", "-p", "tests.support.progress", "--forbid-skips"),
        *("-o", "console_output_style=classic", "-o", "faulthandler_timeout=300"),
        *(f"--ignore={path}" for path in find_ignored(part)),
    ]
    paths = [path for path in part.paths if path not in part.run_by_targets]
    # Threads of other tests may go on in their process, but unit tests must start nothing.
    units = [path for path in paths if path.startswith(_UNITS)]
    others = [path for path in paths if path not in units]
    statuses = []
    for kind, chosen in (("units", units), ("beside", others)):
        if chosen:
            status = _pytest(
                *("-m", f"{_RUNNABLE} and not measures", "--keep-durations", f"{name}-{kind}"),
                *("--numprocesses", "3", "--dist", "worksteal", "--cache-clear"),
                *options,
                *chosen,
            )
            statuses.append(_python("tests.alone") if status == _SOME_FAILED else status)
    measures = ("-m", f"{_RUNNABLE} and measures", "--keep-durations", f"{name}-alone")
    statuses.append(_pytest(*measures, *options, *paths))
    return max(0 if status == _NONE_COLLECTED else status for status in statuses)


def _pytest(*arguments: str) -> int:
    return _python("pytest", *arguments)


def _python(module: str, *arguments: str) -> int:
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "OTEL_ML_TESTS": "nightly"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
