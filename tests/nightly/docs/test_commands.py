"""Slow cases of tests/process/test_commands.py."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.test_commands import IN_FRESH, INSTALLS, Block, Terminal, terminal
from tests.support.folders import ROOT


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Terminal]:
    """Open a terminal in a clone, with a separate environment that has only pip."""
    unwanted = shutil.ignore_patterns(".venv*", ".git", ".*_cache", ".cache", "node_modules")
    clone = shutil.copytree(ROOT, tmp_path / "clone", ignore=unwanted)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    with terminal(clone, tmp_path / "env" / "bin", OTEL_ML_HTTP="127.0.0.1:0") as shell:
        yield shell


@pytest.mark.parametrize("block", IN_FRESH, ids=lambda block: f"{block.page}: {block.text[:20]}")
def test_fresh_environment(block: Block, fresh: Terminal) -> None:
    """The install and start commands of a page work from a clone in a fresh environment."""
    for statement in block.statements:
        fresh.type(statement)


@pytest.mark.parametrize(
    ("page", "line"), INSTALLS, ids=[f"{page}: {line}" for page, line in INSTALLS]
)
def test_install(page: str, line: str, fresh: Terminal, tmp_path: Path) -> None:
    """Each documented install command works unchanged in a fresh environment."""
    if line.startswith("pipx "):
        fresh.environment = {
            **fresh.environment,
            "PIPX_HOME": str(tmp_path / "pipx"),
            "PIPX_BIN_DIR": str(tmp_path / "pipx" / "bin"),
        }
        fresh.type("pip install pipx")
    if "wheels/" in line:  # the page builds the wheel first
        fresh.type("pip wheel --quiet --no-deps --wheel-dir wheels .")
    fresh.type(line)


def test_oldest_python(tmp_path: Path) -> None:
    """On Python 3.10, the extra installs without errors; serving names the required version."""
    installed = sorted(Path(sys.base_prefix).parent.glob("3.10.*/bin/python"))  # pyenv
    python = installed[0] if installed else shutil.which("python3.10")
    if python is None:
        pytest.skip("There is no python3.10 on the PATH")
    subprocess.run([python, "-m", "venv", tmp_path / "env"], check=True)
    programs = tmp_path / "env" / "bin"
    with terminal(ROOT, programs) as shell:
        shell.type("pip install --quiet '.[collector]'")
        said = shell.type("(otel-ml serve || echo $?) 2>&1")
    assert re.fullmatch(r"otel-ml: [^\n]*Python 3.11[^\n]*\n2\n", said)
