"""Children of `multiprocessing` deliver their runs, however they are started and ended."""

import signal
from pathlib import Path
from typing import Final

import pytest

from tests.process.otel_ml.test_sigterm import LATE_MS, LONG_S
from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import ask_script, run_script
from tests.support.sampling import sampled

WAYS: Final = """
import sys
import otel_ml

@otel_ml.trace(name="model")
def model(a):
    return a

def processes(context):
    started = [context.Process(target=model, args=(n,)) for n in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    return [process.exitcode for process in started]

def executor(context):
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        return list(pool.map(model, range(20)))

def pool(context):
    with context.Pool(2) as pool:
        return pool.map(model, range(20))

if __name__ == "__main__":
    way, method, tracing = sys.argv[1:]
    if tracing == "before":
        model(-1)
    assert "multiprocessing.util" not in sys.modules
    import multiprocessing
    print(globals()[way](multiprocessing.get_context(method)))
"""


def outputs(sink: Sink) -> list[int]:
    return sorted(int(run["otel_ml.outputs"]) for run in sink.runs)


@sampled(1)
@pytest.mark.parametrize("tracing", ["before", "never"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("way", ["processes", "executor", "pool"])
def test_all_jobs_arrive(tmp_path: Path, sink: Sink, way: str, method: str, tracing: str) -> None:
    """Each call of each child arrives once, even if the pool ends its workers with SIGTERM."""
    run_script(
        tmp_path,
        WAYS,
        arguments=(way, method, tracing),
        OTEL_ML_ENDPOINT=sink.address,
        OTEL_BSP_SCHEDULE_DELAY=LATE_MS,
    )
    before = [-1] if tracing == "before" else []
    assert outputs(sink) == [*before, *range(3 if way == "processes" else 20)]


ENDLESS: Final = "select.select([], [], [])"
CHILD: Final = """
import hashlib, json, multiprocessing, os, select, signal, sys, time
import otel_ml

@otel_ml.trace(name="model")
def model(a):
    return a

def leave(*_):
    sys.exit(7)

def run(ready, told):
    {job}

if __name__ == "__main__":
    model(0)
    context = multiprocessing.get_context("fork")
    ready, told = context.Event(), context.Event()
    child = context.Process(target=run, args=(ready, told))
    child.start()
    ready.wait()
    began = time.monotonic()
    child.terminate()
    told.set()
    child.join()
    took_s = time.monotonic() - began
    is_as_ever = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    print(json.dumps([child.exitcode, took_s, is_as_ever and signal.set_wakeup_fd(-1) == -1]))
"""


def terminate(directory: Path, sink: Sink, job: str) -> tuple[int, float]:
    """Run a child and terminate it when it is ready; return its status and the duration."""
    script = CHILD.format(job="; ".join(job.splitlines()))
    variables = {"OTEL_ML_ENDPOINT": sink.address, "OTEL_BSP_SCHEDULE_DELAY": LATE_MS}
    status, took_s, is_parent_as_ever = ask_script(directory, script, **variables)
    assert is_parent_as_ever
    return status, took_s


@sampled(1)
@pytest.mark.parametrize(
    "work",
    [
        ENDLESS,
        "[0 for _ in iter(int, 1)]",
        "hashlib.pbkdf2_hmac('md5', b'', b'', 1 << 30)",
    ],
    ids=["system call", "loop", "c"],
)
def test_job_that_goes_on(tmp_path: Path, sink: Sink, work: str) -> None:
    """A child terminated during a job, even in a C call, delivers its runs and ends."""
    status, took_s = terminate(tmp_path, sink, f"model(1)\nready.set()\n{work}")
    assert (status, outputs(sink)) == (-signal.SIGTERM, [0, 1])
    assert took_s < LONG_S


@pytest.mark.parametrize(
    "job",
    [
        "signal.signal(signal.SIGTERM, leave)\nmodel(1)",
        "model(1)\nsignal.signal(signal.SIGTERM, leave)",
    ],
    ids=["before", "after"],
)
def test_handler_of_the_child_stays(tmp_path: Path, sink: Sink, job: str) -> None:
    """A SIGTERM handler that the child sets before or after its first call is called."""
    status, _ = terminate(tmp_path, sink, f"{job}\nready.set()\n{ENDLESS}")
    assert (status, outputs(sink)) == (7, [0, 1])


def test_child_that_ignores_the_signal(tmp_path: Path, sink: Sink) -> None:
    """A child that ignores the signal continues to its end."""
    ignores = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    status, _ = terminate(
        tmp_path, sink, f"model(1); {ignores}; ready.set(); told.wait(); model(2)"
    )
    assert (status, outputs(sink)) == (0, [0, 1, 2])


def test_signal_of_a_grandchild(tmp_path: Path, sink: Sink) -> None:
    """A process forked by the child ends at once on its own SIGTERM, with that status."""
    job = """model(1)
        grandchild = os.fork()
        grandchild or select.select([], [], [])
        os.kill(grandchild, signal.SIGTERM)
        status = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
        model(status)
        signal.signal(signal.SIGTERM, leave)
        ready.set()
        select.select([], [], [])"""
    status, _ = terminate(tmp_path, sink, "\n".join(line.strip() for line in job.splitlines()))
    assert (status, outputs(sink)) == (7, [-signal.SIGTERM, 0, 1])
