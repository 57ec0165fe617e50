"""Either of two collectors that evaluate the rules of one store may be killed at any moment.

Each collector is a separate process with the same server. Both start every pass together. The
surviving collector stores and sends the same as a single collector does.
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
# Kills of each collector in a sequence.
_KILLS: Final = 3


def count_begun(folder: Path, name: str) -> int:
    """Return how many passes a collector has started."""
    begun = folder / f"{name}-begun"
    return len(begun.read_text().splitlines()) if begun.exists() else 0


def look_beside(folder: Path, url: str, name: str, address: str, moment: Moment) -> None:
    """Continue the sequence together with the other collector, and write the outcome at the end."""
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
    """Start a pass together with the other collector, unless the other is gone."""
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
    """Run a collector to the end of the sequence, through kills, and return how many there were."""
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
    """Run two collectors at once, and return how often each was killed."""
    with ThreadPoolExecutor(len(_COLLECTORS)) as pool:
        running = [
            pool.submit(keep_running, folder, url, name, sink, moments, comes_back=comes_back)
            for name, moments in zip(_COLLECTORS, kills, strict=True)
        ]
        return [each.result() for each in running]


def read_ended(folder: Path) -> dict[str, Any]:
    """Return the outcome that the last collector wrote."""
    written = max(folder.glob("*-outcome"), key=lambda path: path.stat().st_mtime_ns)
    outcome: dict[str, Any] = json.loads(written.read_text())
    return outcome


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create the files of a server with the runs and rules, before any pass."""
    folder = tmp_path_factory.mktemp("course")
    assert run_process(fill, folder) == 0
    (folder / "store/status").unlink(missing_ok=True)  # names the previous process
    return folder / "store"


@contextmanager
def serve(course: Path, folder: Path) -> Iterator[str]:
    """Start a server with a copy of the prepared files, and yield its address."""
    shutil.copytree(course, folder / "server", symlinks=True)
    with clickhouse(folder / "server") as started:
        yield started.url()


@pytest.fixture
def url(course: Path, tmp_path: Path) -> Iterator[str]:
    """Start a server with the prepared files for one test."""
    with serve(course, tmp_path) as address:
        yield address


@pytest.fixture(scope="module")
def undisturbed(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Return the outcome of a single collector that is not killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "second-gone").touch()
    with http_sink(takes_otlp=False) as sink, serve(course, folder) as address:
        assert not keep_running(folder, address, "first", sink, [], comes_back=False)
    outcome = read_ended(folder)
    assert len(sink.requests) == len(outcome["notifications"]) == 7  # each is sent once
    return Undisturbed(outcome, outcome.pop("calls"), heard(sink))


def test_nobody_is_killed(url: str, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Two concurrent collectors store and send the same as one, each message under one id."""
    with http_sink(takes_otlp=False) as sink:
        assert run_both(tmp_path, url, sink, [[], []], comes_back=False) == [0, 0]
        check(read_ended(tmp_path), sink, undisturbed)


@pytest.mark.parametrize("seed", range(_COURSES))
def test_both_are_killed(seed: int, url: str, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Two collectors that are killed repeatedly and restarted end like an undisturbed one."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    most = undisturbed.calls // len(LOOKS_NS)
    moments = [[Moment(times=draw.randint(1, most)) for _ in range(_KILLS)] for _ in _COLLECTORS]
    with http_sink(takes_otlp=False) as sink:
        kills = run_both(tmp_path, url, sink, moments, comes_back=True)
        check(read_ended(tmp_path), sink, undisturbed)
    assert min(kills) >= 1


@pytest.mark.parametrize("name", MOMENTS)
def test_first_is_killed(name: str, url: str, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """If one of two collectors is killed for good at a given moment, the outcome is the same."""
    with http_sink(takes_otlp=False) as sink:
        kills = run_both(tmp_path, url, sink, [[MOMENTS[name]], []], comes_back=False)
        check(read_ended(tmp_path), sink, undisturbed)
    # The other may have stored or sent the notification before the first reached that moment.
    assert kills in ([1, 0], [0, 0])
