"""Shared helpers for the checks of ``deploy/``: its files, the checking programs, broken copies."""

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
    """The result of a program for a file: its exit status and both output streams."""

    status: int
    output: str
    errors: str


def find_program(name: str) -> str:
    """Find a program next to the interpreter or on the path; fail the test if it is missing."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.fail(f"{name} is not installed: `make check-deploy` brings it")
    return found


def run(name: str, *arguments: str | Path, stdin: str = "", folder: Path | None = None) -> Verdict:
    """Run a program until it exits, optionally in a folder."""
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
    """Read a YAML file; raise the parser's error for a broken one."""
    # Installed by `make check-deploy` alone, so neither mypy nor `make test` may need it.
    yaml = importlib.import_module("ruamel.yaml")
    return yaml.YAML(typ="safe", pure=True).load(file)


def change(file: Path, folder: Path, old: str, new: str) -> Path:
    """Copy a file into a folder with one text replaced, which must occur in it."""
    text = file.read_text()
    assert old in text, f"{old!r} is not in {file}"
    copy = folder / file.name
    copy.write_text(text.replace(old, new, 1))
    return copy


def image_of(service: str) -> str:
    """Return the image with its tag that the compose file pins for a service."""
    image: str = read_yaml(DEPLOY / "compose.yaml")["services"][service]["image"]
    return image
