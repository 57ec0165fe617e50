"""Scripts that run in a Python of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any


def run_script(
    directory: Path, text: str, *, status: int = 0, arguments: Sequence[str] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Write and run a script; it sees no OpenTelemetry variable but the given ones.

    Args:
        directory: Where the script is written and runs.
        text: The script.
        status: The exit status that is expected.
        arguments: Of the script.
        variables: Environment variables on top of the test's own.
    """
    path = directory / "script.py"
    path.write_text(dedent(text))
    kept = {key: item for key, item in os.environ.items() if not key.startswith("OTEL_")}
    result = subprocess.run(
        [sys.executable, str(path), *arguments],
        cwd=directory,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert result.returncode == status, result.stderr
    return result


def ask_script(directory: Path, text: str, **variables: str) -> Any:
    """Run a script; returns the JSON value that it printed last."""
    printed = run_script(directory, text, status=0, **variables).stdout
    return json.loads(printed.splitlines()[-1])
