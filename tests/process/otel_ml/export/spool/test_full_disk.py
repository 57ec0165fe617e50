"""Full disks, and processes without free file descriptors."""

from pathlib import Path

from otel_ml.export.spool.spool import SpoolCounts
from tests.support.folders import ROOT
from tests.support.otel_ml.export.spool.spools import drain, frames, make_spool
from tests.support.otel_ml.scripts import ask_script
from tests.support.sampling import at_night

FULL = """
import json, resource, sys
from pathlib import Path
from tests.support.otel_ml.export.spool.spools import drain, files, key, make_spool, payload

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

directory = Path("spool")
spool = make_spool(directory)
"""


def ask_full(directory: Path, script: str) -> object:
    root = str(ROOT)
    return ask_script(directory, FULL + script, PYTHONPATH=root)


def test_full_disk(tmp_path: Path) -> None:
    """A frame that the disk refuses is reported to the caller; all others are delivered once."""
    script = """
limit(20_000)
acknowledged = [number for number in range(100) if spool.append(key(number), payload(number, 333))]
counts = spool.counts
limit(resource.RLIM_INFINITY)
acknowledged += [number for number in range(100, 110) if spool.append(key(number), b"")]
delivered = [int.from_bytes(one, "big") for one, _ in drain(spool)]
print(json.dumps([
    delivered == acknowledged, len(acknowledged), counts.write_failed, spool.counts.damaged
]))
"""
    assert ask_full(tmp_path, script) == [True, 53 + 10, 47, 0]


@at_night
def test_full_disk_then_killed(tmp_path: Path) -> None:
    """A partly written frame leaves nothing in the file."""
    script = """
limit(20_000)
count = sum(spool.append(key(number), payload(number, 333)) for number in range(100))
spool.close()
print(json.dumps(count))
"""
    count = ask_full(tmp_path, script)
    assert isinstance(count, int)
    spool = make_spool(tmp_path / "spool")
    assert drain(spool) == frames(range(count), 333)
    assert spool.counts == SpoolCounts(adopted=count)


def test_disk_full_from_the_start(tmp_path: Path) -> None:
    """If not even a header can be written, no file is left."""
    script = """
limit(10)
refused = not spool.append(key(1), b"a span")
left = files(directory)
limit(resource.RLIM_INFINITY)
print(json.dumps([refused, left, spool.append(key(1), b"a span"), len(drain(spool))]))
"""
    assert ask_full(tmp_path, script) == [True, [], True, 1]


def test_refused_final_frame_ends_the_wait(tmp_path: Path) -> None:
    """If the final frame is refused, its provisional frame does not keep a file."""
    script = """
spool.append(key(1), b"provisional", provisional=True)
limit(100)
assert not spool.append(key(1), b"final")
limit(resource.RLIM_INFINITY)
spool.append(key(2), b"")
drain(spool)
spool.close()
print(json.dumps(files(directory)))
"""
    assert ask_full(tmp_path, script) == []


def test_no_descriptors_left(tmp_path: Path) -> None:
    """Without free descriptors, appends continue in the open file, and nothing is lost."""
    script = """
import os
spool.close()
spool = make_spool(directory, segment_bytes=1_000)
number = 0
def append(count):
    global number
    for number in range(number, number + count):
        assert spool.append(key(number), b"x" * 100)
    number += 1

append(3)
highest = os.dup(0)
os.close(highest)
resource.setrlimit(resource.RLIMIT_NOFILE, (highest, 4_096))
append(2_000)
assert spool.take(10, 1_000) is None
resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, 4_096))
assert len(files(directory)) == 1
append(2_000)
assert len(files(directory)) > 1
numbers = [int.from_bytes(one, "big") for one, _ in drain(spool)]
print(json.dumps([numbers == list(range(4_003)), spool.counts.damaged]))
"""
    assert ask_full(tmp_path, script) == [True, 0]
