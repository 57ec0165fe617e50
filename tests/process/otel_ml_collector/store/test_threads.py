"""Tests of how many threads the engine starts when it removes parts."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.sampling import at_night

PARTS: Final = 150
# A separate process, so that no other store has started threads before.
PROGRAM: Final = """
import sys
from pathlib import Path
from otel_ml_collector.store.migrations import connect

client = connect("chdb://" + sys.argv[1]).open()
client.command("SYSTEM STOP MERGES runs")
for _ in range(int(sys.argv[2])):
    client.command("INSERT INTO runs (project, start_ns) SELECT 'p', 1")
before = len(list(Path("/proc/self/task").iterdir()))
client.command("ALTER TABLE runs DROP PARTITION ID '197001'")
parts = "SELECT count() FROM system.parts WHERE table = 'runs' AND active AND rows > 0"
assert client.query(parts).result_rows == [(0,)]
print(before, len(list(Path("/proc/self/task").iterdir())), flush=True)
"""


@at_night
def test_removal(tmp_path: Path) -> None:
    """Removing more than a hundred parts at once starts hardly any threads."""
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "data"), str(PARTS)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    before, after = map(int, told.split())
    assert after <= before + 16
