"""Cases of tests/unit/otel_ml/export/spool/test_threads.py that start processes."""

from pathlib import Path

from tests.support.folders import ROOT
from tests.support.otel_ml.scripts import ask_script
from tests.support.sampling import at_night

FINALISERS = """
import gc, json
from pathlib import Path
from tests.support.otel_ml.export.spool.spools import drain, files, key, make_spool, once

directory = Path("spool")
spool = make_spool(directory, segment_bytes=4_000)
inner = 0

class Loud:
    def __del__(self):
        global inner
        inner += 1
        assert spool.append(key(1_000_000 + inner), b"inner" * 20)

def make_garbage(phase, info):
    if phase == "stop" and inner < 5_000:
        loud = Loud()
        loud.self = loud

gc.callbacks.append(make_garbage)
gc.set_threshold(3, 1, 1)
make_garbage("stop", None)
delivered = []
for number in range(10_000):
    if number % 3 == 0:
        assert spool.append(key(number), b"outer" * 20, provisional=True)
    assert spool.append(key(number), b"outer" * 20)
    if number % 50 == 0:
        delivered += drain(spool, 20)
gc.callbacks.clear()
gc.set_threshold(700)
gc.collect()
keys = {int.from_bytes(one, "big") for one in once(delivered + drain(spool))}
spool.close()
print(json.dumps([
    inner > 100,
    keys == {*range(10_000), *range(1_000_001, 1_000_001 + inner)},
    spool.counts.damaged,
    files(directory),
]))
"""


def test_finaliser_appends(tmp_path: Path) -> None:
    """A finaliser that appends during garbage collection loses and duplicates nothing."""
    root = str(ROOT)
    assert ask_script(tmp_path, FINALISERS, PYTHONPATH=root) == [True, True, 0, []]


# Acts at the n-th line that the spool runs, for every n, as a signal handler may. A line that runs
# again counts up to three times.
AT_EACH_LINE = """
import json, resource, shutil, sys
from collections import Counter
from itertools import count
from pathlib import Path
from tests.support.otel_ml.export.spool.spools import drain, files, key, make_spool, once

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def at_line(number, act):
    left, runs = number, Counter()

    def trace(frame, event, argument):
        global where
        nonlocal left
        if "otel_ml/export/spool" not in frame.f_code.co_filename.replace("tests/otel_ml", ""):
            return None
        place = f"{frame.f_code.co_name}:{frame.f_lineno}"
        if event == "line" and runs[place] < 3:
            runs[place] += 1
            left -= 1
            if left == 0:
                sys.settrace(None)
                where = place
                act()
        return trace

    sys.settrace(trace)
    return lambda: left > 0

def append(spool, number, provisional=False):
    if spool.append(key(number), b"outer" * 20, provisional=provisional) and not provisional:
        acknowledged.add(key(number))
"""


INNER = """
def interrupt():
    for number in (1_000, 1_001):
        if spool.append(key(number), b"inner" * 20):
            acknowledged.add(key(number))

for line in count(1):
    directory, acknowledged, delivered = Path("spool"), set(), []
    spool = make_spool(directory, segment_bytes=500)
    is_over = at_line(line, interrupt)
    append(spool, 0, provisional=True)
    for number in range(8):
        append(spool, number)
    delivered += drain(spool, 3)
    append(spool, 9)
    limit(400)
    for number in range(10, 14):
        append(spool, number)
    limit(resource.RLIM_INFINITY)
    delivered += drain(spool, 3)
    over = is_over()
    sys.settrace(None)
    delivered += drain(spool)
    spool.close()
    assert set(once(delivered)) == acknowledged, where
    assert spool.counts.damaged <= 1 and files(directory) == [], where
    if over:
        break
print(json.dumps(line > 500))
"""


RAISING = """
class Enough(Exception):
    pass

def interrupt():
    raise Enough

for line in count(1):
    directory, acknowledged = Path("spool"), set()
    spool = make_spool(directory, segment_bytes=500)
    is_over = at_line(line, interrupt)
    limit(800)
    for number in range(20):
        try:
            append(spool, number, provisional=number % 5 == 0)
        except Enough:
            pass
    over = is_over()
    sys.settrace(None)
    limit(resource.RLIM_INFINITY)
    append(spool, 20)
    append(spool, 21)
    delivered = drain(spool)
    assert acknowledged <= set(once(delivered)), where
    assert spool.pending() == 0 and spool.counts.damaged <= 1, where
    spool.close()
    shutil.rmtree(directory)
    if over:
        break
print(json.dumps(line > 200))
"""


@at_night
def test_inner_append_at_each_line(tmp_path: Path) -> None:
    """A nested append at any line of any method loses and duplicates nothing."""
    root = str(ROOT)
    assert ask_script(tmp_path, AT_EACH_LINE + INNER, PYTHONPATH=root) is True


def test_exception_at_each_line(tmp_path: Path) -> None:
    """An exception that interrupts an append at any line loses no other frame."""
    root = str(ROOT)
    assert ask_script(tmp_path, AT_EACH_LINE + RAISING, PYTHONPATH=root) is True
