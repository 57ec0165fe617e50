"""Tests of kills during merges, while the replaced parts are being deleted."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.folders import ROOT
from tests.support.otel_ml_collector.merging import GROUPS, RUNS
from tests.support.waiting import elapsed, wait_until

KILLS: Final = 20
STORED: Final = GROUPS * RUNS


def test_kill_during_merges(tmp_path: Path) -> None:
    """After a kill during merges every stored run and payload exists once."""
    moments = random.Random(53)  # noqa: S311 - any moments will do
    found = []
    for _ in range(KILLS + 1):
        command = [sys.executable, "-m", "tests.support.otel_ml_collector.merging", str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            found.append(process.stdout.readline().split())
            process.stdout.readline()  # everything is acknowledged
            wait_until(elapsed(moments.uniform(0, 0.5)))  # the time of the kill varies
            process.kill()
    assert found == [[str(STORED * kills)] * 2 for kills in range(KILLS + 1)]
