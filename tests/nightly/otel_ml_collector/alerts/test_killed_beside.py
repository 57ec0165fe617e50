"""Of two collectors that evaluate the rules of one store, either may be killed at any moment.

Each is a process of its own before one server. They begin every look together, and what the one
that lives on stores and sends is what a collector alone does.
"""

import json
import random
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml_collector.alerts.evaluation import AlertEvaluator
from otel_ml_collector.store.notifications import NotificationBox
from tests.process.otel_ml_collector.alerts.test_delivery import delivering
from tests.process.otel_ml_collector.alerts.test_killed_looks import (
    LOOKS_NS,
    MOMENTS,
    Ending,
    Moment,
    Undisturbed,
    check,
    fill,
    heard,
    read_outcome,
    run_process,
)
from tests.support.clickhouse import clickhouse
from tests.support.otel_ml_collector.alerts.world import make_target
from tests.support.otel_ml_collector.stores import open_connected
from tests.support.otlp_sink import Sink, http_sink
from tests.support.waiting import wait_until

_PATIENCE_S: Final = 120.0
_COLLECTORS: Final = ("first", "second")
_COURSES: Final = 1
# Kills of each of the two in such a course.
_KILLS: Final = 3


def count_begun(folder: Path, name: str) -> int:
    """Count the looks that a collector has begun."""
    begun = folder / f"{name}-begun"
    return len(begun.read_text().splitlines()) if begun.exists() else 0


def look_beside(folder: Path, url: str, name: str, address: str, moment: Moment) -> None:
    """Go on with the course, beside the others; in the end its outcome lies in the folder."""
    first = max(0, *(count_begun(folder, each) - 1 for each in _COLLECTORS))
    clock = [LOOKS_NS[first]]
    target = make_target("webhook", address, "/hook")
    ending = Ending(moment)
    with open_connected(url) as store:
        ending.watch()
        with delivering(store, target, clock=lambda: clock[0]) as announcer:
            looking = AlertEvaluator(
                store.reader, store.connections, announcer, clock=lambda: clock[0]
            )
            kept = NotificationBox(store.connections)
            for place, now_ns in enumerate(LOOKS_NS[first:], first):
                meet(folder, name, place)
                clock[0] = now_ns
                looking.evaluate()
                wait_until(lambda: not kept.count_waiting(target.name), _PATIENCE_S)
        sys.setprofile(None)
        outcome = read_outcome(store) | {"calls": ending.count}
    (folder / f"{name}-outcome").write_text(json.dumps(outcome))


def meet(folder: Path, name: str, place: int) -> None:
    """Begin a look when the other collector does, unless that one is gone."""
    with (folder / f"{name}-begun").open("a") as file:
        file.write("x\n" * (place + 1 - count_begun(folder, name)))
    others = [each for each in _COLLECTORS if each != name]

    def is_met() -> bool:
        return all(
            count_begun(folder, each) > place or (folder / f"{each}-gone").exists()
            for each in others
        )

    wait_until(is_met, _PATIENCE_S)


def keep_running(
    folder: Path, url: str, name: str, sink: Sink, moments: Sequence[Moment], *, comes_back: bool
) -> int:
    """Run a collector to the end of the course, through kills; returns how many these were."""
    gone = folder / f"{name}-gone"
    for kills, moment in enumerate((*moments, Moment())):
        gone.unlink(missing_ok=True)
        status = run_process(look_beside, folder, url, name, sink.address, moment)
        gone.touch()
        if status == 0:
            return kills
        assert status == -signal.SIGKILL, f"{name} ended with {status}"
        if not comes_back:
            return kills + 1
    raise AssertionError("the last process was killed too")


def run_both(
    folder: Path, url: str, sink: Sink, kills: Iterable[Sequence[Moment]], *, comes_back: bool
) -> list[int]:
    """Run two collectors at once; returns how often each was killed."""
    with ThreadPoolExecutor(len(_COLLECTORS)) as pool:
        running = [
            pool.submit(keep_running, folder, url, name, sink, moments, comes_back=comes_back)
            for name, moments in zip(_COLLECTORS, kills, strict=True)
        ]
        return [each.result() for each in running]


def read_ended(folder: Path) -> dict[str, Any]:
    """Read the outcome that the last collector has written."""
    written = max(folder.glob("*-outcome"), key=lambda path: path.stat().st_mtime_ns)
    outcome: dict[str, Any] = json.loads(written.read_text())
    return outcome


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a server with the runs and the rules, at which no process has looked."""
    folder = tmp_path_factory.mktemp("course")
    assert run_process(fill, folder) == 0
    (folder / "store/status").unlink(missing_ok=True)  # names the process that had it open
    return folder / "store"


@contextmanager
def serve(course: Path, folder: Path) -> Iterator[str]:
    """Give the address of a server with a copy of the course."""
    shutil.copytree(course, folder / "server", symlinks=True)
    with clickhouse(folder / "server") as started:
        yield started.url()


@pytest.fixture
def url(course: Path, tmp_path: Path) -> Iterator[str]:
    """A server with the course, for one test."""
    with serve(course, tmp_path) as address:
        yield address


@pytest.fixture(scope="module")
def undisturbed(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The outcome of the course of a collector alone that nobody kills."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "second-gone").touch()
    with http_sink(takes_otlp=False) as sink, serve(course, folder) as address:
        assert not keep_running(folder, address, "first", sink, [], comes_back=False)
    outcome = read_ended(folder)
    assert len(sink.requests) == len(outcome["notifications"]) == 7  # each is sent once
    return Undisturbed(outcome, outcome.pop("calls"), heard(sink))


def test_nobody_is_killed(url: str, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Two collectors at once store and send as one does, each message under its one id."""
    with http_sink(takes_otlp=False) as sink:
        assert run_both(tmp_path, url, sink, [[], []], comes_back=False) == [0, 0]
        check(read_ended(tmp_path), sink, undisturbed)


@pytest.mark.parametrize("seed", range(_COURSES))
def test_both_are_killed(seed: int, url: str, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Two that are killed again and again, and come back, end as one that nobody disturbs."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    most = undisturbed.calls // len(LOOKS_NS)
    moments = [[Moment(times=draw.randint(1, most)) for _ in range(_KILLS)] for _ in _COLLECTORS]
    with http_sink(takes_otlp=False) as sink:
        kills = run_both(tmp_path, url, sink, moments, comes_back=True)
        check(read_ended(tmp_path), sink, undisturbed)
    assert min(kills) >= 1


@pytest.mark.parametrize("name", MOMENTS)
def test_first_is_killed(name: str, url: str, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """One of two that is killed at a moment, and does not come back, is not missed."""
    with http_sink(takes_otlp=False) as sink:
        kills = run_both(tmp_path, url, sink, [[MOMENTS[name]], []], comes_back=False)
        check(read_ended(tmp_path), sink, undisturbed)
    # The other may have stored or sent it before the first came to that moment.
    assert kills in ([1, 0], [0, 0])
