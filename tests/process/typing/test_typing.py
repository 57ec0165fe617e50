"""The typed samples under pyright; mypy reads them with everything else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.folders import NODE

HERE = Path(__file__).parent
PYRIGHT = NODE / "node_modules" / "pyright" / "index.js"


def check(node: str, file: str) -> list[dict[str, Any]]:
    """Run pyright over one file; returns what it found."""
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
    """Pyright, as strict as it can be, finds nothing in the samples of the API."""
    assert check(node, "api.py") == []


def test_wrong_uses_are_errors(node: str) -> None:
    """Pyright finds an error in every line that is wrong, and in no other one."""
    found = {item["range"]["start"]["line"] for item in check(node, "wrong.py")}
    lines = (HERE / "wrong.py").read_text().splitlines()
    assert found == {number for number, line in enumerate(lines) if line.endswith("# wrong")}
