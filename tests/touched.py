"""Find and run the nightly tests that a change can affect: ``python -m tests.touched``.

The change is what differs from the branch ``main``, with new files and the working tree. To compare
with another commit, name it with ``--since``. A test module is affected if a changed file is the
module itself, or one that it imports, reads or starts, directly or through other files. See
`tests.support.needs`. The command prints the modules of each nightly part with the reason, and runs
them. With ``--list`` it only prints them.
"""

# ruff: noqa: T201 - it prints the modules

import argparse
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.nightly.__main__ import run
from tests.nightly.parts import PARTS, Part, find_modules
from tests.support.folders import ROOT
from tests.support.needs import Sources

_NIGHTLY: Final = "tests/nightly/"
_SAMPLING: Final = "tests/support/sampling.py"
_PRODUCT: Final = ("otel_ml/", "collector/")
_EVERYWHERE: Final = frozenset({"pyproject.toml", "requirements/dev.txt"})
_ENVIRONMENT: Final = ".venv-{}/stamp"  # the target that installs requirements/{}.txt
_RUNS_TESTS: Final = "check-"  # how targets begin that run the tests of a part themselves


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a module is affected.

    Attributes:
        changed: A changed file.
        through: The file that needs it; the module itself, or one that the module needs.
    """

    changed: str
    through: str

    def write(self, module: str) -> str:
        return (
            self.changed
            if self.through in {module, self.changed}
            else (f"{self.changed}, through {self.through}")
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the affected modules, run them, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.touched",
        description="Run the nightly tests that a change can affect.",
    )
    parser.add_argument("--since", metavar="COMMIT", help="the commit to compare with [main]")
    parser.add_argument("--list", action="store_true", help="only print the modules")
    options = parser.parse_args(arguments)
    try:
        changed = find_changed(ROOT, options.since)
    except subprocess.CalledProcessError as error:
        print(f"touched: {error.stderr.strip()}", file=sys.stderr)
        return 2
    sources, status = Sources(ROOT), 0
    affected = {
        part: find_affected(sources, part, map(str, find_modules(part)), changed) for part in PARTS
    }
    for number, (part, modules) in enumerate(affected.items(), 1):
        if modules:
            print(f"PART={number}/{len(PARTS)}  {part.name}")
        for module, reason in modules.items():
            print(f"  {module}: {reason.write(module)}")
    count = sum(map(len, affected.values()))
    print(f"{len(changed):,} changed files can affect {count:,} nightly modules", flush=True)
    for number, (part, modules) in enumerate(affected.items(), 1):
        if modules and not options.list:
            status = run(narrow(part, list(modules)), f"nightly-{number}-touched") or status
    return status


def find_changed(root: Path, since: str | None) -> set[str]:
    """Return the files that differ from where the branch began, or from a commit.

    Raises:
        CalledProcessError: There is no such commit.
    """
    begin = _git(root, "merge-base", "HEAD", since or _find_main(root)).strip()
    changed = _git(root, "diff", "--name-only", "-z", "--no-renames", begin)
    new = _git(root, "ls-files", "-z", "--others", "--exclude-standard")
    return set(filter(None, f"{changed}{new}".split("\0")))


def _find_main(root: Path) -> str:
    """Return the published main branch if there is one, else the local one."""
    published = ["git", "rev-parse", "--verify", "--quiet", "origin/main"]
    has_published = not subprocess.run(
        published, cwd=root, check=False, capture_output=True
    ).returncode
    return "origin/main" if has_published else "main"


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout


def find_affected(
    sources: Sources,
    part: Part,
    modules: Iterable[str],
    changed: set[str],
) -> Mapping[str, Reason]:
    """Return the nightly modules of a part that a change can affect, with the first reason.

    Args:
        sources: The Python files of the project.
        part: The part.
        modules: Its modules. Those of CI are left out, unless CI leaves cases to the nightly run.
        changed: Paths from the root.
    """
    wide = _EVERYWHERE | {_find_requirements(target) for target in part.targets}
    affected = {}
    for module in modules:
        if not (module.startswith(_NIGHTLY) or _SAMPLING in sources.find_needs(module).run):
            continue
        needs = sources.follow(module)
        reasons = [Reason(file, file) for file in sorted(changed & wide)]
        reasons += [
            Reason(file, through) for file in sorted(changed) if (through := _find(file, needs))
        ]
        if reasons:
            affected[module] = min(reasons, key=lambda reason: reason.through != module)
    return affected


def _find_requirements(target: str) -> str:
    """Return the file of the packages that a target installs."""
    name = target.removeprefix(".venv-").removesuffix("/stamp").removeprefix(_RUNS_TESTS)
    return f"requirements/{name}.txt"


def _find(file: str, needs: Mapping[str, str]) -> str | None:
    """Return the needed file that needs a changed one; None if the change is not needed."""
    if file in needs:
        return needs[file]
    for folder in map(str, Path(file).parents):
        if folder in needs:
            return needs[folder]
    # Templates and other data of the product belong to the modules of their folder.
    if file.endswith(".py") or not file.startswith(_PRODUCT):
        return None
    return next(
        (
            f"{each}/__init__.py"
            for each in map(str, Path(file).parents)
            if f"{each}/__init__.py" in needs
        ),
        None,
    )


def narrow(part: Part, modules: Sequence[str]) -> Part:
    """Return a part with only some of its modules, and with the targets that they need."""
    by_targets = tuple(
        module
        for module in modules
        if any(module.startswith(f"{path}/") for path in part.run_by_targets)
    )
    targets = (
        part.targets
        if by_targets
        else tuple(target for target in part.targets if not target.startswith(_RUNS_TESTS))
    )
    return Part(part.name, tuple(modules), targets, by_targets)


if __name__ == "__main__":
    sys.exit(main())
