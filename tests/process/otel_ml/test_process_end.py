"""Runs are delivered when a process ends, however it ends."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.support.folders import ROOT
from tests.support.otel_ml.otlp_sink import Sink, closed_address
from tests.support.otel_ml.scripts import run_script
from tests.support.sampling import sampled

CALLS = """
import os, sys, threading, time
import otel_ml

@otel_ml.trace(name="model")
def model(a):
    return a

for number in range(1_000):
    model(number)
"""


def outputs(sink: Sink) -> list[int]:
    return sorted(int(span["otel_ml.outputs"]) for span in sink.spans)


@sampled(2)
@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('wrong')", 1),
        ("raise KeyboardInterrupt", -2),
        ("threading.Thread(target=lambda: [model(n) for n in range(1_000, 1_100)]).start()", 0),
    ],
    ids=["end", "exit", "exception", "interrupt", "thread"],
)
def test_all_runs_are_delivered(tmp_path: Path, sink: Sink, end: str, status: int) -> None:
    """A script that ends in any usual way delivers all runs of its tight loop."""
    run_script(tmp_path, CALLS + end, status=status, OTEL_ML_ENDPOINT=sink.address)
    expected = 1_100 if "Thread" in end else 1_000
    assert outputs(sink) == list(range(expected))


def test_failed_script_tells_its_error(tmp_path: Path, sink: Sink) -> None:
    """The run in which a script failed is delivered with its error."""
    script = """
        import otel_ml

        @otel_ml.trace(name="model")
        def model(a):
            raise ValueError("wrong")

        model(1)
    """
    result = run_script(tmp_path, script, status=1, OTEL_ML_ENDPOINT=sink.address)
    assert result.stderr.splitlines()[-1] == "ValueError: wrong"
    assert [(span["otel_ml.outcome"], span["error.type"]) for span in sink.spans] == [
        ("error", "ValueError")
    ]


def test_running_judge_is_heard_at_exit(tmp_path: Path, sink: Sink) -> None:
    """The score of a judge that is running when the script ends is delivered."""
    script = """
        import threading
        import otel_ml
        from tests.support.waiting import elapsed, wait_until

        entered = threading.Event()

        def rubric(outputs):
            entered.set()
            wait_until(elapsed(0.7))
            return outputs

        @otel_ml.assess(otel_ml.Judge("slow", "", rubric))
        def model(a):
            return a

        model(1)
        entered.wait(10)
    """
    run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address, PYTHONPATH=str(ROOT))
    scores = [
        span.get("otel_ml.score.slow", span.get("otel_ml.score.value")) for span in sink.spans
    ]
    assert 1.0 in scores


def test_hanging_judge_hangs_no_script(tmp_path: Path, sink: Sink) -> None:
    """A judge that never returns does not prevent a script from ending, and no run is lost."""
    script = """
        import threading
        import otel_ml

        entered = threading.Event()

        def rubric(outputs):
            entered.set()
            threading.Event().wait()

        @otel_ml.assess(otel_ml.Judge("hanging", "", rubric))
        def model(a):
            return a

        model(1)
        entered.wait(10)
    """
    run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    runs = [span for span in sink.spans if "otel_ml.outputs" in span]
    [lost] = [span for span in sink.spans if "otel_ml.judge.name" in span]
    assert [span["otel_ml.outputs"] for span in runs] == ["1"]
    assert "lost" in str(lost["error.type"])


def test_held_run_of_a_joined_client_is_delivered(tmp_path: Path, sink: Sink) -> None:
    """A run that waits for its judge is delivered even if the joined provider shuts down first."""
    script = """
        import threading
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from otel_ml import Client, Judge
        from tests.support.waiting import elapsed, wait_until

        client = Client("shop")
        trace.set_tracer_provider(TracerProvider())
        entered = threading.Event()

        def rubric(outputs):
            entered.set()
            wait_until(elapsed(0.1))
            return outputs

        @client.assess(Judge("slow", "", rubric))
        def model(a):
            return a

        model(1)
        entered.wait(10)
    """
    run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address, PYTHONPATH=str(ROOT))
    runs = [span for span in sink.spans if "otel_ml.target.kind" not in span]
    assert [span["otel_ml.outputs"] for span in runs] == ["1"]


def test_forked_child_is_a_process_of_its_own(tmp_path: Path, sink: Sink) -> None:
    """A forked child delivers its runs once, with a new process id and numbers from 1."""
    script = """
        import os, sys
        import otel_ml

        @otel_ml.trace(name="model")
        def model(a):
            return a

        model("parent")
        child = os.fork()
        if child == 0:
            model("child")
            sys.exit(0)
        os.waitpid(child, 0)
        model("parent again")
    """
    run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    assert sorted((span["otel_ml.outputs"], span["otel_ml.seq"]) for span in sink.spans) == [
        ('"child"', 1),
        ('"parent again"', 2),
        ('"parent"', 1),
    ]
    ids = {span["otel_ml.outputs"]: span["otel_ml.process"] for span in sink.spans}
    assert ids['"parent"'] == ids['"parent again"'] != ids['"child"']


def test_forked_child_is_judged(tmp_path: Path, sink: Sink) -> None:
    """A forked child runs its judges in new threads."""
    script = """
        import os, sys
        import otel_ml

        @otel_ml.assess(otel_ml.Judge("same", "", lambda outputs: outputs))
        def model(a):
            return a

        model(1.0)
        otel_ml.flush()
        child = os.fork()
        if child == 0:
            model(2.0)
            otel_ml.flush()
            sys.exit(0)
        os.waitpid(child, 0)
    """
    run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    runs = [span for span in sink.spans if "otel_ml.target.kind" not in span]
    assert sorted(span["otel_ml.score.same"] for span in runs) == [1.0, 2.0]
    assert len(sink.spans) == 4  # each process sends its judge's definition


@sampled(1)
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_of_multiprocessing_deliver(tmp_path: Path, sink: Sink, method: str) -> None:
    """Worker processes of multiprocessing deliver their runs when they end."""
    script = f"""
        import multiprocessing
        import otel_ml

        @otel_ml.trace(name="model")
        def model(a):
            return a

        if __name__ == "__main__":
            context = multiprocessing.get_context("{method}")
            processes = [context.Process(target=model, args=(n,)) for n in range(3)]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            model(3)
    """
    run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    assert outputs(sink) == [0, 1, 2, 3]


@sampled(1)
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_of_a_pool_deliver(tmp_path: Path, sink: Sink, method: str) -> None:
    """Worker processes of an executor deliver their runs when it ends."""
    script = f"""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        import otel_ml

        @otel_ml.trace(name="model")
        def model(a):
            return a

        if __name__ == "__main__":
            context = multiprocessing.get_context("{method}")
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                print(list(pool.map(model, range(4))))
    """
    result = run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    assert result.stdout == "[0, 1, 2, 3]\n"
    assert outputs(sink) == [0, 1, 2, 3]


def test_script_ends_soon_without_a_collector(tmp_path: Path) -> None:
    """A script without a collector ends within seconds, however many runs it made."""
    script = CALLS.replace("1_000", "10_000")
    began = time.monotonic()
    result = run_script(tmp_path, script, OTEL_ML_ENDPOINT=closed_address())
    assert "Traceback" not in result.stderr
    assert time.monotonic() - began < 20


@contextmanager
def silent_address() -> Iterator[str]:
    """Yield a loopback address that accepts no connection, because its backlog is full."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@sampled(1)
@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("is_silent", [False, True], ids=["refuses", "silent"])
def test_exit_without_a_collector_takes_two_seconds(
    tmp_path: Path, clients: int, is_silent: bool
) -> None:
    """Without a collector, a script takes 2 s to end, however many clients it has."""
    script = f"""
        import time
        from otel_ml import Client

        for number in range({clients}):
            Client(str(number)).trace(lambda: 1)()
        print(time.time())
    """
    with silent_address() if is_silent else nullcontext(closed_address()) as address:
        result = run_script(tmp_path, script, OTEL_ML_ENDPOINT=address)
        assert time.time() - float(result.stdout) < 3.5  # it was 5.5 s per client
    reason = "no connection" if is_silent else "connection refused"
    line = f"1 span could not be delivered to {address}: {reason}; Client(spool=DIR) keeps them\n"
    assert result.stderr == line * clients


def test_late_run_in_a_daemon_thread_raises_nothing(tmp_path: Path, sink: Sink) -> None:
    """A daemon thread that keeps calling while the process ends causes no error."""
    script = CALLS + (
        "def work():\n    while True:\n        model(1)\n"
        "threading.Thread(target=work, daemon=True).start()\n"
    )
    result = run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    assert "Traceback" not in result.stderr
    assert len(sink.spans) >= 1_000
