"""Scripts that run in a separate Python process."""

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
    """Write and run a script; it gets no OpenTelemetry variables but the given ones.

    Args:
        directory: Where the script is written and runs.
        text: The script.
        status: The expected exit status.
        arguments: The script's arguments.
        variables: Environment variables in addition to the test's own.
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
    """Run a script; return the JSON value in its last line of output."""
    printed = run_script(directory, text, status=0, **variables).stdout
    return json.loads(printed.splitlines()[-1])
