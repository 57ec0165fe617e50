"""Programs with a spool that tests run in other processes and kill."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.folders import ROOT

# Appends endlessly, and prints the number of each frame whose append has returned.
APPENDER = """
import os, sys
from pathlib import Path
from otel_ml.export.spool.spool import Spool
from tests.support.otel_ml.export.spool.spools import key, payload

directory, first, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
spool = Spool(directory, b"killed", segment_bytes=200_000)
number = first
while spool.append(key(number), payload(number, size)):
    os.write(1, b"%d\\n" % number)
    number += 1
"""

# Takes and finishes batches, keeps the last one open, prints its size, and waits.
ADOPTER = """
import os, sys
from pathlib import Path
from otel_ml.export.spool.spool import Spool

spool = Spool(Path(sys.argv[1]), b"adopter")
for _ in range(int(sys.argv[2])):
    batch = spool.take(10, 1 << 20)
    spool.done(batch)
batch = spool.take(10, 1 << 20)
os.write(1, b"%d\\n" % len(batch.keys))
sys.stdin.read()
"""

# Delivers the frames of ended processes and prints their keys.
DRAINER = """
import sys
from pathlib import Path
from otel_ml.export.spool.spool import Spool

spool = Spool(Path(sys.argv[1]), b"drainer", check_every_s=0)
sys.stdin.readline()
while (batch := spool.take(7, 1 << 20)) is not None:
    for one in batch.keys:
        print(int.from_bytes(one, "big"))
    spool.done(batch)
spool.close()
"""


@contextmanager
def running(program: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program, and kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def kill_after(process: subprocess.Popen[bytes], lines: int) -> list[int]:
    """Kill a program once it has printed `lines` numbers; return all that it printed."""
    assert process.stdout is not None
    numbers = [int(process.stdout.readline()) for _ in range(lines)]
    process.kill()
    *whole, torn = process.stdout.read().split(b"\n")
    assert torn == b""
    return numbers + [int(line) for line in whole]
