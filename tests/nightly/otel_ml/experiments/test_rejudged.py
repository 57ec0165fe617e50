"""Slow cases of tests/unit/otel_ml/experiments/test_rejudged.py."""

import subprocess
import sys
from typing import Final

import pytest

# Stores runs in sessions of five, compares and reads them, and prints the peak memory.
MEASURED: Final = """
import sys
from pathlib import Path
from otel_ml.experiments.rejudged import RejudgedRuns
from otel_ml.experiments.rows import RejudgedRun
from otel_ml.judges.answer import Judgement
from otel_ml.statistics.scored_runs import (JudgeScore)

kept, has_passes = RejudgedRuns(), sys.argv[2] == "passes"
for place in range(int(sys.argv[1])):
    passed = (place % 7 > 1, place % 5 > 1) if has_passes else (None, None)
    before = JudgeScore(passed[0], place / 3, "a1")
    after = Judgement("brief", "b2", place / 2, passed[1], "label", f"because of {place}")
    session = f"session {place * 7919 % 1_000_003 // 5}"
    kept.keep(place, RejudgedRun(f"{place:032x}-{place:016x}", place, session, before, after))
change = kept.compare()
assert change.runs == len(kept) == sum(1 for _ in kept)
assert len(kept.flips[:10]) == 10 * has_passes
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def measure_kb(runs: int, kind: str) -> int:
    command = [sys.executable, "-c", MEASURED, str(runs), kind]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("kind", ["passes", "scores"])
def test_memory_is_bounded(kind: str) -> None:
    """100,000 more runs take less than 0.05 kB of memory each, because they are on disk."""
    few, many = measure_kb(50_000, kind), measure_kb(150_000, kind)
    assert many - few < 5_000, (few, many)
