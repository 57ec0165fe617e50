"""A child forked during an import can import the same module."""

from pathlib import Path
from typing import Final

import pytest

from otel_ml.late import WHY
from tests.support.otel_ml.otlp_sink import Sink, closed_address
from tests.support.otel_ml.scripts import ask_script, run_script
from tests.support.sampling import at_night, sampled

# Imports pause in the middle until a fork was made or a timeout is over.
STOPPING: Final = """
import importlib, importlib.abc, json, os, signal, sys, threading, time

class Stop(importlib.abc.MetaPathFinder):
    def __init__(self, name):
        self.name = name
        self.is_importing, self.is_forked = threading.Event(), threading.Event()
        self.forks_at_s = self.imported_at_s = None

    def find_spec(self, name, path=None, target=None):
        if name == self.name and not self.is_importing.is_set():
            self.is_importing.set()
            self.is_forked.wait(0.2)
            self.imported_at_s = time.monotonic()
        return None

def stop(name):
    found = Stop(name)
    sys.meta_path.insert(0, found)
    return found

def fork_while(stopped, work):
    # Returns the status of a child that is forked in the middle and does the work itself.
    assert stopped.is_importing.wait(20)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        work()
        os._exit(0)
    stopped.is_forked.set()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""

LATE: Final = """
from otel_ml.late import WHY, late

def load(name):
    stand_in = late(name)
    return lambda: stand_in.__spec__

def try_fork(name):
    stopped, work = stop("otel_ml." + name), load(name)
    threading.Thread(target=work).start()
    return fork_while(stopped, work)

statuses = {}
for name in WHY:
    if (host := os.fork()) == 0:  # a process that has loaded none of them
        os._exit(try_fork(name) != 0)
    statuses[name] = os.waitstatus_to_exitcode(os.waitpid(host, 0)[1])
print(json.dumps(statuses))
"""


@at_night
def test_fork_within_a_late_import(tmp_path: Path) -> None:
    """A child forked while another thread imports a late module can import it itself."""
    statuses = ask_script(tmp_path, STOPPING + LATE)
    assert statuses == dict.fromkeys(WHY, 0)


RUBRIC: Final = """
from otel_ml import Client, Judge

stopped = stop("wave")  # the host's: the interpreter has not loaded it

def rubric(outputs):
    import wave
    return 1

client = Client("shop", endpoint=os.environ["OTEL_ML_ENDPOINT"], join=False)
model = client.assess(Judge("late", "imports as it judges", rubric))(lambda: 1)
model()
print(fork_while(stopped, model))
assert client.flush()
"""


def test_fork_while_a_rubric_imports(tmp_path: Path, sink: Sink) -> None:
    """A child forked while a rubric imports a module scores its own calls."""
    run_script(tmp_path, STOPPING + RUBRIC, OTEL_ML_ENDPOINT=sink.address)
    assert len(sink.runs) == 1


READER: Final = """
from otel_ml.reader import Reader
from otel_ml.reader.errors import ReaderError

reader = Reader("shop", endpoint=os.environ["OTEL_ML_ENDPOINT"])
stopped = stop(sys.argv[1])

def ask():
    try:
        reader.projects()
    except ReaderError:  # nobody listens
        pass

threading.Thread(target=ask, daemon=True).start()
print(json.dumps(fork_while(stopped, ask)))
"""


@sampled(1)
@pytest.mark.parametrize("name", ["urllib3.exceptions", "encodings.idna"])
def test_fork_while_a_reader_asks(tmp_path: Path, name: str) -> None:
    """A child forked while another thread's request imports modules can make requests itself."""
    program, address = STOPPING + READER, closed_address()
    printed = run_script(tmp_path, program, arguments=[name], OTEL_ML_ENDPOINT=address).stdout
    assert printed.splitlines()[-1] == "0"


STANDING: Final = """
from otel_ml.loading import LOADING

held = threading.Lock()
entered = threading.Event()

def wait():
    entered.set()
    held.acquire()

with held:
    loader = threading.Thread(target=LOADING.load, args=[wait])
    loader.start()
    entered.wait()
    began_s = time.monotonic()
    child = os.fork()
    if child == 0:
        os._exit(0)
    took_s = time.monotonic() - began_s
    os.waitpid(child, 0)
loader.join()
print(json.dumps(took_s))
"""


def test_load_that_waits_for_the_forking_thread(tmp_path: Path) -> None:
    """A fork waits at most 5 s for a load that waits for a lock of the forking thread."""
    took_s = ask_script(tmp_path, STOPPING + STANDING)
    assert 5 <= took_s < 10


HELD_BACK: Final = """
order, loaders, begun = [], [], threading.Event()

def begin_load():  # ours runs before this, as it was registered later
    def run():
        begun.set()
        LOADING.load(lambda: order.append("loaded"))
    loaders.append(threading.Thread(target=run))
    loaders[0].start()
    begun.wait()
    loaders[0].join(0.3)
    order.append("forking")

os.register_at_fork(before=begin_load)
from otel_ml.loading import LOADING

child = os.fork()
if child == 0:
    os._exit(len(order) != 1)
loaders[0].join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(json.dumps(order))
"""


def test_load_waits_for_a_fork(tmp_path: Path) -> None:
    """A load that starts while another thread forks waits until after the fork."""
    assert ask_script(tmp_path, STOPPING + HELD_BACK) == ["forking", "loaded"]


IMPORTS: Final = """
import json, os, sys, threading
import otel_ml.loading

LOAD = otel_ml.loading.LOADING.load.__func__.__code__
bare = []

class Watch:
    def find_spec(self, name, path=None, target=None):
        thread, frame = threading.current_thread().name, sys._getframe(1)
        while frame is not None and frame.f_code is not LOAD:
            frame = frame.f_back
        if thread.startswith("otel-ml") and frame is None:
            bare.append(f"{name} on {thread}")
        return None

sys.meta_path.insert(0, Watch())
import numpy as np
from otel_ml import Client, Judge

fitted = np.ones(3)

async def later(outputs):
    return 0.5

judges = [Judge("now", "", lambda outputs: 1), Judge("later", "", later)]
spool = sys.argv[1] or None
client = Client("shop", spool=spool, join=False)

@client.assess(*judges)
def predict(x):
    return fitted.sum() * x

predict(1.0)
with client.run("long") as run:
    run.log("data", "x" * 3_000_000)
client.flush(3)
client.close()
print(json.dumps(bare))
"""


@sampled(1)
@pytest.mark.parametrize(
    ("is_there", "spool"), [(True, ""), (False, "spool")], ids=["taken", "refused"]
)
def test_threads_import_in_loads_alone(
    tmp_path: Path, sink: Sink, is_there: bool, spool: str
) -> None:
    """otel-ml's threads import modules only inside a load."""
    address = sink.address if is_there else closed_address()
    printed = run_script(tmp_path, IMPORTS, arguments=[spool], OTEL_ML_ENDPOINT=address).stdout
    assert printed.splitlines()[-1] == "[]"
