"""A process that gets SIGTERM, with and without `flush_on_sigterm`."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.folders import ROOT
from tests.support.otel_ml.otlp_sink import Received, Reply, Sink, open_sink
from tests.support.otel_ml.scripts import ask_script, run_script
from tests.support.sampling import at_night, sampled
from tests.support.waiting import elapsed, wait_until

LATE_MS = "60000"
LONG_S = 20.0
LIMIT_S = 2.0
# Time for everything else at exit. Three clients, one after another, would take 6 s.
END_S = 2.5

CALLS = """
import os, signal, sys, threading, time
from otel_ml import Client

client = Client("shop", flush_on_sigterm=True)

@client.trace
def model(a):
    return a

for number in range(1_000):
    model(number)
"""
TERMINATE = "os.kill(os.getpid(), signal.SIGTERM)\n"
# A signal that arrives just before the main thread blocks is handled when it wakes, which is
# CPython's behaviour, so this wakes often.
WAIT = """
from tests.support.waiting import wait_until
print("ready", flush=True)
wait_until(lambda: False, 60)
"""


def outputs(sink: Sink) -> list[int]:
    return sorted(int(span["otel_ml.outputs"]) for span in sink.spans)


@contextmanager
def started(directory: Path, text: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start a script and wait for its first line; kill it at the end."""
    path = directory / "started.py"
    path.write_text(dedent(text))
    with subprocess.Popen(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


@contextmanager
def hanging(sink: Sink) -> Iterator[None]:
    """Make the sink silent during the block."""
    over = threading.Event()

    def hang(_: Received) -> Reply:
        over.wait(LONG_S)
        return Reply()

    sink.reply = hang
    try:
        yield
    finally:
        over.set()


def test_all_calls_are_delivered(tmp_path: Path, sink: Sink) -> None:
    """A script that gets SIGTERM delivers its calls and ends by the signal."""
    run_script(tmp_path, CALLS + TERMINATE, status=-15, OTEL_ML_ENDPOINT=sink.address)
    assert outputs(sink) == list(range(1_000))


@sampled(1)
@pytest.mark.parametrize(
    "waiting",
    [
        "threading.Event().wait()",
        "import select\nselect.select([], [], [])",
        "import asyncio\nasyncio.run(asyncio.Event().wait())",
        "while True: pass",
    ],
    ids=["lock", "system call", "loop", "work"],
)
def test_waiting_process_delivers(tmp_path: Path, sink: Sink, waiting: str) -> None:
    """Whatever the main thread does, SIGTERM delivers the calls and ends the process."""
    script = CALLS + "print('ready', flush=True)\n" + waiting
    with started(tmp_path, script, OTEL_ML_ENDPOINT=sink.address) as process:
        process.terminate()
        assert process.wait(LONG_S) == -15
    assert outputs(sink) == list(range(1_000))


@at_night
def test_slow_delivery_outlives_the_program(tmp_path: Path, sink: Sink) -> None:
    """A program that ends during the delivery that SIGTERM started loses nothing."""

    def reply(_: Received) -> Reply:
        wait_until(elapsed(1.0))
        return Reply()

    sink.reply = reply
    run_script(tmp_path, CALLS + TERMINATE, status=-15, OTEL_ML_ENDPOINT=sink.address)
    assert outputs(sink) == list(range(1_000))


@at_night
def test_signal_during_the_last_delivery(tmp_path: Path, sink: Sink) -> None:
    """A SIGTERM during the delivery at exit loses no calls."""

    def reply(_: Received) -> Reply:
        wait_until(elapsed(1.0))
        return Reply()

    sink.reply = reply
    variables = {"OTEL_ML_ENDPOINT": sink.address, "OTEL_BSP_SCHEDULE_DELAY": LATE_MS}
    with started(tmp_path, CALLS + "print('ready', flush=True)", **variables) as process:
        wait_until(lambda: bool(sink.requests))
        process.terminate()
        assert process.wait(LONG_S) in {0, -15}
    assert outputs(sink) == list(range(1_000))


def test_signal_in_the_middle_of_calls(tmp_path: Path, sink: Sink) -> None:
    """A process that gets SIGTERM in a tight loop delivers each call that has returned."""
    script = CALLS + "while True:\n    number += 1\n    model(number)\n    print(number)\n"
    with started(tmp_path, script, OTEL_ML_ENDPOINT=sink.address, PYTHONUNBUFFERED="1") as process:
        assert process.stdout is not None
        returned = [int(process.stdout.readline()) for _ in range(500)]
        process.terminate()
        process.stdout.read()
        assert process.wait(LONG_S) == -15
    assert {*range(1_000), *returned} <= set(outputs(sink))


def test_children_of_multiprocessing_deliver(tmp_path: Path, sink: Sink) -> None:
    """Terminated worker processes deliver their calls."""
    script = """
        import multiprocessing, threading
        from otel_ml import Client

        client = Client("shop", flush_on_sigterm=True)

        @client.trace
        def model(a):
            return a

        def work(number, ready):
            model(number)
            ready.set()
            threading.Event().wait()

        context = multiprocessing.get_context("fork")
        ready = [context.Event() for _ in range(2)]
        workers = [context.Process(target=work, args=item) for item in enumerate(ready)]
        for worker, event in zip(workers, ready):
            worker.start()
            event.wait()
        for worker in workers:
            worker.terminate()
            worker.join()
        print([worker.exitcode for worker in workers])
    """
    result = run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    assert (result.stdout, outputs(sink)) == ("[-15, -15]\n", [0, 1])


def test_without_the_opt_in_it_ends_at_once(tmp_path: Path, sink: Sink) -> None:
    """Without `flush_on_sigterm`, SIGTERM ends the process at once, and pending calls are lost."""
    script = CALLS.replace("flush_on_sigterm=True", "") + TERMINATE
    variables = {"OTEL_ML_ENDPOINT": sink.address, "OTEL_BSP_SCHEDULE_DELAY": LATE_MS}
    run_script(tmp_path, script, status=-15, **variables)
    assert sink.requests == []


# Cases in which no handler is installed.


@sampled(1)
@pytest.mark.parametrize("handler", ["lambda *_: print('mine')", "signal.SIG_IGN"])
def test_handler_of_the_program_stays(tmp_path: Path, sink: Sink, handler: str) -> None:
    """A program's own SIGTERM handler stays, and a warning says so."""
    script = f"import signal\nsignal.signal(signal.SIGTERM, {handler})\n{CALLS}{TERMINATE}"
    result = run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    assert result.stdout == ("mine\n" if "mine" in handler else "")
    assert result.stderr == "flush_on_sigterm is off: the program has its own SIGTERM handler\n"
    assert outputs(sink) == list(range(1_000))


def test_handler_that_comes_later_wins(tmp_path: Path, sink: Sink) -> None:
    """A handler that the program sets after creating the client replaces otel-ml's."""
    script = f"{CALLS}signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n{TERMINATE}"
    run_script(tmp_path, script, status=7, OTEL_ML_ENDPOINT=sink.address)
    assert outputs(sink) == list(range(1_000))


def test_other_threads_install_nothing(tmp_path: Path) -> None:
    """A client created in another thread does not change the handler, and a warning says so."""
    script = """
        import json, signal, threading
        from otel_ml import Client

        thread = threading.Thread(target=Client, args=("shop",), kwargs={"flush_on_sigterm": True})
        thread.start()
        thread.join()
        print(json.dumps(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL))
    """
    path = run_script(tmp_path, script)
    assert path.stdout == "true\n"
    assert path.stderr == "flush_on_sigterm is off: the client was not created in the main thread\n"


def test_clients_without_it_install_nothing(tmp_path: Path) -> None:
    """A client without `flush_on_sigterm` does not change the handler."""
    script = """
        import json, signal
        from otel_ml import Client

        Client("shop").trace(lambda: 1)()
        print(json.dumps(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL))
    """
    assert ask_script(tmp_path, script, OTEL_SDK_DISABLED="true") is True


# A silent collector.


@sampled(1)
@pytest.mark.parametrize("clients", [1, 3])
def test_hanging_collector_costs_two_seconds(tmp_path: Path, sink: Sink, clients: int) -> None:
    """With a silent collector, the process ends after 2 s, however many clients it has."""
    script = CALLS + (
        f"more = [Client(str(n), flush_on_sigterm=True) for n in range(1, {clients})]\n"
        "for client in more:\n    client.trace(lambda: 1)()\n"
    )
    with (
        hanging(sink),
        started(tmp_path, script + WAIT, OTEL_ML_ENDPOINT=sink.address) as process,
    ):
        began = time.monotonic()
        process.terminate()
        assert process.wait(LONG_S) == -15
        assert time.monotonic() - began < LIMIT_S + END_S


@at_night
def test_hanging_collector_costs_no_other_client(tmp_path: Path, sink: Sink) -> None:
    """A client with a silent collector does not delay another client's delivery."""
    with open_sink() as silent, hanging(silent):
        script = (
            f"from otel_ml import Client\n"
            f"first = Client('first', endpoint={silent.address!r}, flush_on_sigterm=True)\n"
            f"first.trace(lambda: 1)()\n{CALLS}{TERMINATE}"
        )
        run_script(tmp_path, script, status=-15, OTEL_ML_ENDPOINT=sink.address)
    assert outputs(sink) == list(range(1_000))


def test_hanging_judge_costs_two_seconds(tmp_path: Path, sink: Sink) -> None:
    """With a hanging judge, the process ends after 2 s, and the judged run is delivered."""
    script = CALLS + (
        "from otel_ml import Judge\n"
        "judge = Judge('hanging', '', lambda: threading.Event().wait())\n"
        "client.assess(judge, name='judged')(lambda: 1_000)()\n"
    )
    with started(tmp_path, script + WAIT, OTEL_ML_ENDPOINT=sink.address) as process:
        began = time.monotonic()
        process.terminate()
        assert process.wait(LONG_S) == -15
        assert time.monotonic() - began < LIMIT_S + END_S
    assert sorted(int(run["otel_ml.outputs"]) for run in sink.runs) == list(range(1_001))


@at_night
def test_second_signal_ends_at_once(tmp_path: Path, sink: Sink) -> None:
    """A second SIGTERM ends the process during the delivery that the first one started."""
    variables = {"OTEL_ML_ENDPOINT": sink.address, "OTEL_BSP_SCHEDULE_DELAY": LATE_MS}
    with hanging(sink), started(tmp_path, CALLS + WAIT, **variables) as process:
        process.terminate()
        wait_until(lambda: bool(sink.requests))
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG_S) == -15
        assert time.monotonic() - began < 1.0
