"""Programs made of snippets and what the texts leave out, run as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.collector import CollectorProcess

_HERE: Final = Path(__file__).parent


def snippet(name: str) -> str:
    """A snippet of the texts."""
    return (_HERE / "snippets" / f"{name}.py").read_text()


def preamble(name: str) -> str:
    """The names that the texts leave out."""
    return (_HERE / "preambles" / f"{name}.py").read_text()


def start(folder: Path, text: str, endpoint: str, *arguments: str) -> subprocess.Popen[str]:
    """Begin a program in `folder`; what it prints can be read, and what it reads be written."""
    script = folder / "program.py"
    script.write_text(text)
    kept = {key: item for key, item in os.environ.items() if not key.startswith("OTEL_")}
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env={**kept, "OTEL_ML_ENDPOINT": endpoint},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(program: subprocess.Popen[str], said: str = "") -> str:
    """Let a program end well and without complaints; returns what it printed."""
    printed, complained = program.communicate(said, timeout=180)
    assert (program.returncode, complained) == (0, "")
    return printed


def run(folder: Path, text: str, collector: CollectorProcess, *arguments: str) -> str:
    """Run a program to its end; returns what it printed."""
    return finish(start(folder, text, collector.endpoint, *arguments))
