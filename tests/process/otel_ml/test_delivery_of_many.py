"""All of 100,000 calls in a tight loop arrive, however their process ends."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.sink import count, open_sink
from tests.support.otel_ml.scripts import run_script
from tests.support.sampling import at_night, sampled

CALLS = 100_000
SCRIPT = """
import os, signal, sys
from otel_ml import Client

client = Client("many", endpoint={address!r}, {options})

@client.trace(name="model")
def model(a):
    return a

for number in range({calls}):
    model(number)
{end}
"""
TERMINATE = "os.kill(os.getpid(), signal.SIGTERM)"
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(scope="module")
def sink() -> Iterator[str]:
    """Yield the address of a receiver in another process, which the tests share."""
    with open_sink(keep=True) as address:
        yield address


def run_calls(
    directory: Path, sink: str, end: str, status: int, *, options: str = "", calls: int = CALLS
) -> None:
    script = SCRIPT.format(address=sink, options=options, calls=calls, end=end)
    run_script(directory, script, status=status)


@at_night
@pytest.mark.parametrize(
    ("end", "status", "options"),
    [
        ("", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("raise ValueError('wrong')", 1, ""),
        (TERMINATE, -signal.SIGTERM, "flush_on_sigterm=True"),
    ],
    ids=["end", "exit", "exception", "sigterm"],
)
def test_all_arrive(tmp_path: Path, sink: str, end: str, status: int, options: str) -> None:
    """All calls arrive once, and the process has the same exit status as without otel-ml."""
    run_calls(tmp_path, sink, end, status, options=options)
    assert count(sink) == (CALLS, CALLS)


@sampled(1)
@pytest.mark.parametrize("end", [TERMINATE, KILL], ids=["sigterm", "sigkill"])
def test_spool_outlives_its_process(tmp_path: Path, sink: str, end: str) -> None:
    """The next process delivers spans that a process with a spool left when a signal ended it."""
    spool = f"spool={str(tmp_path / 'spool')!r}"
    status = -signal.SIGTERM if end == TERMINATE else -signal.SIGKILL
    run_calls(tmp_path, sink, end, status, options=spool)
    run_calls(tmp_path, sink, "", 0, options=spool, calls=1)
    _, different = count(sink)
    assert different == CALLS + 1


def test_children_deliver_their_tasks(tmp_path: Path, sink: str) -> None:
    """Ten forked children that each make one call deliver ten calls."""
    script = f"""
        import multiprocessing
        from otel_ml import Client

        client = Client("many", endpoint={sink!r})
        model = client.trace(name="model")(lambda a: a)
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=model, args=(number,)) for number in range(10)]
        for child in children:
            child.start()
        for child in children:
            child.join()
    """
    run_script(tmp_path, script)
    assert count(sink) == (10, 10)
