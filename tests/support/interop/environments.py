"""Programs that run in another environment's Python, with our package from the source tree."""

import json
import os
import subprocess
import sys
from typing import Any, Final

import pytest

from tests.support.folders import ROOT

NEWEST: Final = "sdk-newest"
SDKS: Final = ("sdk-1.25", "sdk-1.36", "sdk-1.44", NEWEST)
_SETTINGS: Final = ("OTEL_", "LANGFUSE_", "LOGFIRE_")


class Answers:
    """The results of a program's cases, by name."""

    def __init__(self, found: dict[str, Any], raised: dict[str, str]) -> None:
        self._found = found
        self._raised = raised

    def __getitem__(self, case: str) -> Any:
        """Return the result of a case; fail the test if the case raised."""
        assert case not in self._raised, self._raised[case]
        return self._found[case]


def ask(environment: str, program: str, *arguments: str, **variables: str) -> Answers:
    """Run a module of `tests.support.interop.programs` and return its results.

    Args:
        environment: ``sdk-1.25`` is ``.venv-sdk-1.25``, made by ``make .venv-sdk-1.25/stamp``;
            ``sdk-newest`` is the tests' environment, which has the newest SDK.
        program: The module.
        arguments: The program's arguments.
        variables: Environment variables; the program gets no other telemetry variables.
    """
    kept = {key: item for key, item in os.environ.items() if not key.startswith(_SETTINGS)}
    done = subprocess.run(
        [_python(environment), "-m", f"tests.support.interop.programs.{program}", *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Answers(**json.loads(done.stdout.splitlines()[-1]))


def _python(environment: str) -> str:
    if environment == NEWEST:
        return sys.executable
    python = ROOT / f".venv-{environment}" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"There is no .venv-{environment}: make .venv-{environment}/stamp")
    return str(python)
