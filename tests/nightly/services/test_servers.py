"""Workers of web servers with several processes deliver their runs when they end."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.collector import CollectorProcess
from tests.support.interop.receiver import open_receiver
from tests.support.services.processes import NEVER_BY_ITSELF, Service, serving
from tests.support.waiting import wait_until

WEB: Final = "tests.nightly.services.programs.web"
UVICORN: Final = ("uvicorn", f"{WEB}:app", "--port", "0", "--workers", "2")
GUNICORN: Final = ("gunicorn", "--bind", "127.0.0.1:0", "--workers", "2")
UVICORN_WORKER: Final = ("--worker-class", "uvicorn.workers.UvicornWorker", f"{WEB}:app")
SERVERS: Final = {
    "gunicorn": (*GUNICORN, f"{WEB}:application"),
    "gunicorn-preload": (*GUNICORN, "--preload", f"{WEB}:application"),
    "gunicorn-gthread": (*GUNICORN, "--worker-class", "gthread", f"{WEB}:application"),
    "gunicorn-asgi": (*GUNICORN, "--worker-class", "asgi", f"{WEB}:app"),
    "gunicorn-uvicorn": (*GUNICORN, *UVICORN_WORKER),
    "gunicorn-uvicorn-preload": (*GUNICORN, "--preload", *UVICORN_WORKER),
    "uvicorn": UVICORN,
}
# These exit by the signal itself after their shutdown, so atexit handlers do not run.
NEED_LIFESPAN: Final = {"gunicorn-uvicorn", "gunicorn-uvicorn-preload", "uvicorn"}
Runs = Counter[tuple[int, int]]


@contextmanager
def two_workers(server: str, **variables: str) -> Iterator[Service]:
    """Start a server with two workers that, by default, deliver only when they have to."""
    told = NEVER_BY_ITSELF | variables
    times = 1 if "--preload" in SERVERS[server] else 2
    with serving(*SERVERS[server], ready="is loaded", times=times, variables=told) as service:
        service.wait_for("http://127.0.0.1:")
        wait_until(service.listens)
        yield service


def ask_both(service: Service) -> Runs:
    """Call the model concurrently until both workers have handled calls, and return the calls."""
    asked: Runs = Counter()
    with ThreadPoolExecutor(4) as pool:
        while len({pid for _, pid in asked}) < 2:
            assert len(asked) < 2_400, asked
            numbers = range(len(asked), len(asked) + 24)
            pids = pool.map(lambda number: service.get(f"/{number}"), numbers)
            asked.update(zip(numbers, pids, strict=True))
    return asked


def recorded(collector: CollectorProcess, project: str) -> Runs:
    """Count the delivered runs in the same form."""
    return Counter((_number(run), run["tags"]["pid"]) for run in collector.runs(project))


def _number(run: dict[str, Any]) -> int:
    assert (run["name"], run["outcome"]) == ("predict", "ok")
    return int(run["outputs"]) // 2


@pytest.mark.parametrize("server", SERVERS)
def test_stopped(server: str, collector: CollectorProcess) -> None:
    """After the server has stopped, each run of both workers has been delivered once."""
    project = f"stopped-{server}"
    closing = "lifespan" if server in NEED_LIFESPAN else "nothing"
    variables = {"OTEL_ML_PROJECT": project, "CLOSING": closing}
    with two_workers(server, OTEL_ML_ENDPOINT=collector.endpoint, **variables) as service:
        asked = ask_both(service)
        assert service.stop() == 0, service.output
    assert recorded(collector, project) == asked


def test_first_call_before_the_fork(collector: CollectorProcess) -> None:
    """A call before the fork is recorded once, and so are all calls of the workers."""
    project = "warm"
    variables = {"OTEL_ML_ENDPOINT": collector.endpoint, "OTEL_ML_PROJECT": project, "WARM": "1"}
    with two_workers("gunicorn-preload", **variables) as service:
        asked = ask_both(service)
        service.stop()
    found = recorded(collector, project)
    [(warm, times)] = (found - asked).items()
    assert (warm[0], times) == (1_000_000, 1)
    assert found - Counter([warm]) == asked


def test_workers_are_processes_of_their_own() -> None:
    """Each worker has its own process id on the wire, and numbers its runs from 1."""
    with open_receiver() as receiver:
        variables = {"OTEL_ML_ENDPOINT": receiver.address, "WARM": "1"}
        with two_workers("gunicorn-preload", **variables) as service:
            asked = ask_both(service)
            service.stop()
    numbers: dict[tuple[int, str], list[int]] = {}
    for span in receiver.spans.values():
        told = span["attributes"]
        process = (told["otel_ml.tag.pid"], told["otel_ml.process"])
        numbers.setdefault(process, []).append(told["otel_ml.seq"])
    calls = Counter(pid for _, pid in asked)
    assert len({name for _, name in numbers}) == len(numbers) == len(calls) + 1
    for (pid, _), seen in numbers.items():
        assert sorted(seen) == list(range(1, calls.get(pid, 1) + 1))


def kill_one(service: Service) -> Runs:
    """Call the model in both workers, kill one, and return the calls after its end."""
    asked = ask_both(service)
    killed = min(pid for _, pid in asked)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not _exists(killed))
    return asked


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("server", ["gunicorn", "gunicorn-uvicorn", "uvicorn"])
def test_worker_killed(server: str, collector: CollectorProcess, tmp_path: Path) -> None:
    """With a spool, runs of a killed worker are delivered once when the others end."""
    project = f"killed-{server}"
    variables = {"OTEL_ML_PROJECT": project, "SPOOL": str(tmp_path), "CLOSING": "lifespan"}
    with two_workers(server, OTEL_ML_ENDPOINT=collector.endpoint, **variables) as service:
        asked = kill_one(service)
        service.stop()
    assert recorded(collector, project) == asked


def test_worker_killed_while_others_go_on(collector: CollectorProcess, tmp_path: Path) -> None:
    """With a spool, the other worker delivers the runs of a killed worker without a new call."""
    project = "killed"
    variables = {"OTEL_ML_PROJECT": project, "SPOOL": str(tmp_path)}
    own_pace = {"OTEL_ML_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "1000"}
    with two_workers("gunicorn", **own_pace, **variables) as service:
        asked = kill_one(service)
        wait_until(lambda: recorded(collector, project) == asked)
