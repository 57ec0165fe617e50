"""The programs in docs/how-to/services.md run with the packages that they need."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.services.processes import python, variables_for

PAGE = ROOT / "docs/how-to/services.md"
BLOCK = re.compile(r"^```(?:python|py)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCK.findall(PAGE.read_text()))
def test_block_runs(block: str, collector: CollectorProcess, tmp_path: Path) -> None:
    """Every Python block is a complete program that runs without errors or warnings."""
    script = tmp_path / "block.py"
    script.write_text(block.replace("http://127.0.0.1:4318", collector.endpoint))
    ended = subprocess.run(
        [python(), str(script)],
        env=variables_for({"OTEL_ML_ENDPOINT": collector.endpoint}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
