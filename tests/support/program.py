"""Runs ``otel-ml`` until it exits, without the variables of the test's environment."""

import os
import subprocess
import sys
from typing import Final

_READ: Final = ("OTEL_", "HTTP", "NO_PROXY", "ALL_PROXY")  # prefixes of the variables it reads
_ENDS_S: Final = 120


def otel_ml(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in the current folder with the given variables."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_READ)}
    return subprocess.run(
        [sys.executable, "-m", "otel_ml_collector", *arguments],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=_ENDS_S,
        check=False,
    )
