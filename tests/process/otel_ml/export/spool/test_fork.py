"""Which process owns a spool's files and locks after a fork."""

from pathlib import Path

import pytest

from tests.support.folders import ROOT
from tests.support.otel_ml.scripts import ask_script
from tests.support.sampling import at_night

FORKING = """
import json, os, signal, sys
from pathlib import Path
from tests.support.otel_ml.export.spool.spools import drain, files, fill, key, make_spool, segments

def numbers(frames):
    return [int.from_bytes(one, "big") for one, _ in frames]

directory = Path("spool")
spool = make_spool(directory, segment_bytes=1_000)
fill(spool, range(20))

def in_child(work):
    child = os.fork()
    if child == 0:
        spool.after_fork_in_child()
        work()
        os._exit(0)
    return child

def ended(child):
    assert os.waitpid(child, 0)[1] == 0
"""


def ask_fork(directory: Path, script: str) -> object:
    root = str(ROOT)
    return ask_script(directory, FORKING + script, PYTHONPATH=root)


def test_child_begins_its_own_file_at_first_append(tmp_path: Path) -> None:
    """A forked child creates its own file, and only at its first append."""
    script = """
def work():
    before = files(directory)
    assert spool.pending() == 0 and drain(spool) == []
    assert files(directory) == before
    fill(spool, range(100, 103))
    assert len(set(files(directory)) - set(before)) == 1
    assert numbers(drain(spool)) == [100, 101, 102]
    fill(spool, range(103, 105))

ended(in_child(work))
print(json.dumps([numbers(drain(spool, 100)), spool.counts.adopted]))
"""
    assert ask_fork(tmp_path, script) == [[*range(20), 103, 104], 2]


def test_child_does_not_unlock_the_parent(tmp_path: Path) -> None:
    """While the parent lives, nobody adopts its file, even after a child has ended."""
    script = """
ended(in_child(lambda: fill(spool, range(100, 101))))
ended(in_child(spool.close))
print(json.dumps([numbers(drain(make_spool(directory))), numbers(drain(spool))]))
"""
    assert ask_fork(tmp_path, script) == [[100], list(range(20))]


def test_child_does_not_hold_the_lock_of_a_killed_parent(tmp_path: Path) -> None:
    """The frames of a killed parent are adopted while its child lives, also by the child."""
    script = """
ready, go = os.pipe(), os.pipe()

def parent():
    def child():
        os.write(ready[1], b"+")
        os.read(go[0], 1)
        result = [numbers(drain(spool)), numbers(drain(make_spool(directory)))]
        os.write(ready[1], json.dumps(result).encode())

    in_child(child)
    signal.pause()

def first():
    fill(spool, range(100, 120))
    parent()

middle = in_child(first)
assert os.read(ready[0], 1) == b"+"
os.kill(middle, signal.SIGKILL)
os.waitpid(middle, 0)
os.write(go[1], b"+")
print(os.read(ready[0], 10_000).decode())
"""
    assert ask_fork(tmp_path, script) == [list(range(100, 120)), []]


@at_night
@pytest.mark.parametrize("end", ["sys.exit(0)", "os._exit(0)"], ids=["ordinarily", "at once"])
def test_child_that_ends_takes_nothing_from_a_killed_parent(tmp_path: Path, end: str) -> None:
    """After children have written and ended, all frames of a killed parent remain."""
    script = f"""
def first():
    for number in range(3):
        child = os.fork()
        if child == 0:
            spool.after_fork_in_child()
            fill(spool, range(200 + number, 201 + number))
            {end}
        ended(child)
        fill(spool, range(100 + number, 101 + number))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    script += """
middle = in_child(first)
assert os.waitstatus_to_exitcode(os.waitpid(middle, 0)[1]) == -signal.SIGKILL
print(json.dumps(sorted(numbers(drain(make_spool(directory))))))
"""
    assert ask_fork(tmp_path, script) == [100, 101, 102, 200, 201, 202]


def test_adopter_that_forks(tmp_path: Path) -> None:
    """A child neither delivers nor returns frames that its parent has adopted."""
    script = """
spool.close()
spool = make_spool(directory)
batch = spool.take(5, 1_000)

def work():
    spool.done(batch)
    assert drain(spool) == []
    spool.close()

ended(in_child(work))
spool.give_back(batch)
print(json.dumps(numbers(drain(spool))))
"""
    assert ask_fork(tmp_path, script) == list(range(20))


def test_child_of_a_closed_spool(tmp_path: Path) -> None:
    """A spool closed before a fork stays closed in the child."""
    script = """
drain(spool)
spool.close()

def work():
    assert not spool.append(key(1), b"")
    assert drain(spool) == []

ended(in_child(work))
print(json.dumps(files(directory)))
"""
    assert ask_fork(tmp_path, script) == []
