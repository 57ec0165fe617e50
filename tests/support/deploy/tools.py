"""What the checks of ``deploy/`` share: its files, the programs that judge them, broken copies."""

import importlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.folders import ROOT

DEPLOY: Final = ROOT / "deploy"
_TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a program said of a file: its exit status and both its streams."""

    status: int
    output: str
    errors: str


def find_program(name: str) -> str:
    """Find a program beside the interpreter or on the path; a missing one fails the test."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.fail(f"{name} is not installed: `make check-deploy` brings it")
    return found


def run(name: str, *arguments: str | Path, stdin: str = "", folder: Path | None = None) -> Verdict:
    """Run a program to its end, in a folder where one is named."""
    ended = subprocess.run(
        [find_program(name), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=_TIMEOUT_S,
        check=False,
    )
    return Verdict(ended.returncode, ended.stdout, ended.stderr)


def read_yaml(file: Path) -> Any:
    """Read a YAML file; raises what the parser raises for a broken one."""
    # Installed by `make check-deploy` alone, so neither mypy nor `make test` may need it.
    yaml = importlib.import_module("ruamel.yaml")
    return yaml.YAML(typ="safe", pure=True).load(file)


def change(file: Path, folder: Path, old: str, new: str) -> Path:
    """Copy a file into a folder with one place changed; the place must be there."""
    text = file.read_text()
    assert old in text, f"{old!r} is not in {file}"
    copy = folder / file.name
    copy.write_text(text.replace(old, new, 1))
    return copy


def image_of(service: str) -> str:
    """Return the image with its tag that the compose file pins for a service."""
    image: str = read_yaml(DEPLOY / "compose.yaml")["services"][service]["image"]
    return image
