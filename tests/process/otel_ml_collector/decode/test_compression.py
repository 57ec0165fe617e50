"""Cases of tests/unit/otel_ml_collector/decode/test_compression.py that start processes."""

import subprocess
import sys
from typing import Final

from tests.support.sampling import sampled
from tests.unit.otel_ml_collector.decode.test_compression import COMPRESS, MIB, on_each_compression

UNPACK: Final = """
import resource, sys
from otel_ml_collector.decode.compression import decompress
from otel_ml_collector.errors import TooLarge
bomb = sys.stdin.buffer.read()
decompress(bomb[:0], sys.argv[1], 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decompress(bomb, sys.argv[1], 2**20)
except TooLarge:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@sampled(3)
@on_each_compression
def test_bomb(encoding: str) -> None:
    """A small body that unpacks to 256 MiB never takes more memory than a few times the limit."""
    bomb = COMPRESS[encoding](bytes(256 * MIB))
    command = [sys.executable, "-c", UNPACK, encoding]
    mebibytes = subprocess.run(command, input=bomb, capture_output=True, check=True).stdout
    assert int(mebibytes) < 32
