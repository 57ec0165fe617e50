"""Programs made of doc snippets and of preambles that the docs leave out, run as processes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.collector import CollectorProcess

_HERE: Final = Path(__file__).parent


def snippet(name: str) -> str:
    """Return a snippet of the docs."""
    return (_HERE / "snippets" / f"{name}.py").read_text()


def preamble(name: str) -> str:
    """Return the preamble with the names that the docs leave out."""
    return (_HERE / "preambles" / f"{name}.py").read_text()


def start(folder: Path, text: str, endpoint: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a program in `folder` with pipes for its input and output."""
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
    """Wait until a program exits without errors or stderr output; return its stdout."""
    printed, complained = program.communicate(said, timeout=180)
    assert (program.returncode, complained) == (0, "")
    return printed


def run(folder: Path, text: str, collector: CollectorProcess, *arguments: str) -> str:
    """Run a program until it exits; return its output."""
    return finish(start(folder, text, collector.endpoint, *arguments))
