"""Run programs in an environment with MLflow, transformers and opentelemetry-instrument."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.folders import ROOT

_SETTINGS: Final = ("OTEL_", "MLFLOW_", "HF_", "PYTHON")
_OFFLINE: Final = {
    "AGNO_TELEMETRY": "false",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
    "KERAS_BACKEND": "jax",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def run(
    command: Sequence[str], folder: Path, *, environment: str = "integrations", **variables: str
) -> str:
    """Run a command of the environment in a folder, and return its output.

    Args:
        command: The command; programs of the environment are found first.
        folder: The working folder.
        environment: ``integrations`` selects ``.venv-integrations``.
        variables: Extra environment variables; other telemetry variables are removed.
    """
    programs = ROOT / f".venv-{environment}" / "bin"
    if not (programs / "python").exists():
        pytest.skip(f"There is no .venv-{environment}: make .venv-{environment}/stamp")
    kept = {key: item for key, item in os.environ.items() if not key.startswith(_SETTINGS)}
    path = f"{programs}:{kept['PATH']}"
    done = subprocess.run(
        command,
        env={**kept, **_OFFLINE, "PATH": path, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(program: str, *arguments: str, folder: Path, **variables: str) -> Any:
    """Run a module of `tests.nightly.integrations.programs`, and return its last line as JSON."""
    command = ["python", "-m", f"tests.nightly.integrations.programs.{program}", *arguments]
    output = run(command, folder, PYTHONPATH=str(ROOT), **variables)
    return json.loads(output.splitlines()[-1])
