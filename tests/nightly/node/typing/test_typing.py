"""Pyright checks the typed samples; mypy checks them with all other code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.folders import NODE

HERE = Path(__file__).parent
PYRIGHT = NODE / "node_modules" / "pyright" / "index.js"


def check(node: str, file: str) -> list[dict[str, Any]]:
    """Run pyright on one file; return its diagnostics."""
    done = subprocess.run(
        [node, PYRIGHT, "--outputjson", "--pythonpath", sys.executable, file],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    answer = json.loads(done.stdout)
    assert answer["summary"]["filesAnalyzed"] == 1
    found: list[dict[str, Any]] = answer["generalDiagnostics"]
    return found


def test_right_uses_have_no_error(node: str) -> None:
    """Pyright in strict mode finds no errors in the API samples."""
    assert check(node, "api.py") == []


def test_wrong_uses_are_errors(node: str) -> None:
    """Pyright finds an error in every line marked as wrong, and in no others."""
    found = {item["range"]["start"]["line"] for item in check(node, "wrong.py")}
    lines = (HERE / "wrong.py").read_text().splitlines()
    assert found == {number for number, line in enumerate(lines) if line.endswith("# wrong")}
