"""Runs a user's script as a separate process that exports to a collector."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.collector import CollectorProcess


def run_script(script: Path, collector: CollectorProcess, *arguments: str) -> str:
    """Run a script until it exits; return its output."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "OTEL_ML_ENDPOINT": collector.endpoint},
    )
    return done.stdout
