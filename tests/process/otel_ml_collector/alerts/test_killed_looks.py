"""A kill -9 of a process that evaluates alert rules loses and duplicates nothing, at any moment.

Each process opens the store, evaluates the rules at the times of `LOOKS_NS` and delivers to a
webhook. It kills itself at a call or a return of a function that evaluates rules, stores their
states, or sends. The next process repeats the evaluation that was interrupted.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from otel_ml_collector.alerts import delivery, evaluation, sender, states
from otel_ml_collector.alerts.evaluation import AlertEvaluator
from otel_ml_collector.alerts.rule import ALERT, WantedAlert
from otel_ml_collector.store import alerts as stored
from otel_ml_collector.store import notifications as box
from otel_ml_collector.store.alerts import read_alert_events, read_alert_rows
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.store.notifications import NotificationBox, read_deliveries
from otel_ml_collector.times import HOUR_NS, MINUTE_NS
from tests.process.otel_ml_collector.alerts.test_delivery import delivering
from tests.store.otel_ml_collector.alerts.test_evaluation import END_NS, RULE, make_hour
from tests.store.otel_ml_collector.query.test_judges import tell
from tests.support.otel_ml_collector.alerts.world import make_target
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.otlp_sink import Sink, http_sink
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

# Remax fails in hours 4 and 3, Century in hours 3 and 2: four changes of the firing slices.
PASSED: Final = {
    5: {"Remax": 20, "Century": 19},
    4: {"Remax": 8, "Century": 19},
    3: {"Remax": 9, "Century": 5},
    2: {"Remax": 19, "Century": 6},
    1: {"Remax": 19, "Century": 20},
}
LOOKS_NS: Final = [END_NS - hour * HOUR_NS + 5 * MINUTE_NS for hour in (4, 3, 2, 1, 0)]
RULES: Final[dict[str, dict[str, Any]]] = {
    "grounded falls": {**RULE, "hold": "1 of 1"},
    # A rule over all runs together, and a rule that cannot be evaluated.
    "all fall": {**RULE, "when": 'pass_rate("grounded") < 0.5', "by": [], "hold": "1 of 1"},
    "no target": {"when": 'accuracy("none") < 0.5', "window": "1h", "notify": ["oncall"]},
}
# A process may kill itself at each call and each return in these files.
_MODULES: Final = (evaluation, states, delivery, sender, stored, box)
_FILES: Final = frozenset(
    module.__file__ for module in (evaluation, states, delivery, sender, stored, box)
)
_FORKING: Final = multiprocessing.get_context("forkserver")
_PATIENCE_S: Final = 120.0


@dataclass(frozen=True)
class Moment:
    """The moment at which a process kills itself.

    Attributes:
        times: The number of the matching call or return, from 1; 0 for never.
        event: ``call`` or ``return``, if a function is given.
        function: The name of the function; any function of the watched files if empty.
        file: The end of the path of the function's file.
        caller: The name of the calling function.
    """

    times: int = 0
    event: str = ""
    function: str = ""
    file: str = ""
    caller: str = ""


_STATES: Final = "store/alerts.py"
_BOX: Final = "store/notifications.py"
_SENDER: Final = "alerts/sender.py"
_HTTP: Final = "http/client.py"
MOMENTS: Final = {
    "before a change is written": Moment(2, "call", "write", _STATES),
    "between a change and its state": Moment(2, "return", "insert", caller="write"),
    "behind the state": Moment(2, "return", "write", _STATES),
    "while a rule is judged": Moment(3, "call", "judge_windows", "alerts/evaluation.py"),
    "before it is announced": Moment(1, "call", "announce", "alerts/delivery.py"),
    "before it is kept": Moment(1, "call", "put", _BOX),
    "behind it is kept": Moment(1, "return", "put", _BOX),
    "before it is sent": Moment(1, "call", "post", _SENDER),
    "while it is sent": Moment(1, "call", "getresponse", _HTTP, "post_to"),
    "behind it is sent": Moment(1, "return", "post", _SENDER),
    "while the end is sent": Moment(5, "call", "getresponse", _HTTP, "post_to"),
    "behind the end is sent": Moment(5, "return", "post", _SENDER),
}


class Ending:
    """Kills its own process at a moment, as a crash would; counts calls and returns until then."""

    def __init__(self, moment: Moment) -> None:
        self.count = 0
        self._moment = moment
        self._lock = threading.Lock()

    def watch(self) -> None:
        """Watch this thread, and threads that start later."""
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event not in {"call", "return"} or not self._is_meant(frame, event):
            return
        with self._lock:
            self.count += 1
            if self.count == self._moment.times:
                os.kill(os.getpid(), signal.SIGKILL)

    def _is_meant(self, frame: FrameType, event: str) -> bool:
        code, caller, moment = frame.f_code, frame.f_back, self._moment
        if not moment.function:
            return code.co_filename in _FILES
        return (
            (code.co_name, event) == (moment.function, moment.event)
            and code.co_filename.endswith(moment.file)
            and (
                not moment.caller or (caller is not None and caller.f_code.co_name == moment.caller)
            )
        )


def fill(folder: Path) -> None:
    """Store the runs and the rules."""
    with open_store(folder) as store:
        spans = [tell("j1")]
        for hour, clients in PASSED.items():
            for client, passed in clients.items():
                spans += make_hour(hour, client, passed)
        store.take("p", *spans)
        documents = Documents(store.connections)
        for name, rule in RULES.items():
            wanted = WantedAlert.model_validate(rule)
            documents.save(store.reader, "p", ALERT, name, wanted.model_dump())


def look(folder: Path, address: str, moment: Moment) -> None:
    """Continue the evaluations, then write the outcome to the folder.

    Each completed evaluation whose notifications are all delivered adds a line to a file.
    """
    ended = folder / "ended"
    first = len(ended.read_text().splitlines()) if ended.exists() else 0
    clock = [LOOKS_NS[min(first, len(LOOKS_NS) - 1)]]
    target = make_target("webhook", address, "/hook")
    ending = Ending(moment)
    with open_store(folder) as store:
        ending.watch()
        with delivering(store, target, clock=lambda: clock[0]) as announcer:
            looking = AlertEvaluator(
                store.reader, store.connections, announcer, clock=lambda: clock[0]
            )
            kept = NotificationBox(store.connections)
            for now_ns in LOOKS_NS[first:]:
                clock[0] = now_ns
                looking.evaluate()
                wait_until(lambda: not kept.count_waiting(target.name), _PATIENCE_S)
                with ended.open("a") as file:
                    file.write(f"{now_ns}\n")
        sys.setprofile(None)
        outcome = read_outcome(store) | {"calls": ending.count}
    (folder / "outcome").write_text(json.dumps(outcome))


def read_outcome(store: Store) -> dict[str, Any]:
    """Read states, changes and notifications, without the fields that differ between processes."""
    rows = [asdict(row) for row in read_alert_rows(store.reader, "p")]
    for row in rows:
        del row["evaluator"], row["version"]
    events = [
        {"id": event.id, **asdict(event)} for event in read_alert_events(store.reader, "p", 0)
    ]
    sent = [
        [row[name] for name in ("id", "rule", "status", "state")]
        for row in read_deliveries(store.reader, "p", 1_000)
    ]
    return {"states": rows, "events": events, "notifications": sorted(sent)}


def run_process(target: Callable[..., None], *arguments: object) -> int | None:
    """Run a function in a separate process; return its exit code."""
    process = _FORKING.Process(target=target, args=arguments)
    process.start()
    process.join(_PATIENCE_S)
    if process.exitcode is None:
        process.kill()
    return process.exitcode


def finish(folder: Path, sink: Sink, moments: Iterable[Moment]) -> int:
    """Run processes, each killed at its moment, until one completes; return the number of kills."""
    for kills, moment in enumerate((*moments, Moment())):
        status = run_process(look, folder, sink.address, moment)
        if status == 0:
            return kills
        assert status == -signal.SIGKILL, f"it ended with {status}"
    raise AssertionError("the last process was killed too")


def heard(sink: Sink) -> dict[str, tuple[str, str, str]]:
    """Return the messages that the webhook received: rule, status and time of the change, by id."""
    messages = [json.loads(sent.body) for sent in sink.requests]
    return {
        message["id"]: (message["rule"], message["status"], message["changed_at"])
        for message in messages
    }


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the runs and the rules that no process has evaluated yet."""
    folder = tmp_path_factory.mktemp("course") / "data"
    assert run_process(fill, folder) == 0
    return folder


@dataclass(frozen=True)
class Undisturbed:
    """The outcome of all evaluations without a kill."""

    outcome: dict[str, Any]
    calls: int
    messages: dict[str, tuple[str, str, str]]


@pytest.fixture(scope="module")
def undisturbed(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The outcome of all evaluations without a kill."""
    folder = tmp_path_factory.mktemp("undisturbed") / "data"
    shutil.copytree(course, folder, symlinks=True)
    with http_sink(takes_otlp=False) as sink:
        assert finish(folder, sink, []) == 0
    outcome = json.loads((folder / "outcome").read_text())
    return Undisturbed(outcome, outcome.pop("calls"), heard(sink))


def check(outcome: dict[str, Any], sink: Sink, undisturbed: Undisturbed) -> None:
    """Check that an outcome equals that of a course without a kill."""
    outcome = {name: part for name, part in outcome.items() if name != "calls"}
    assert outcome == undisturbed.outcome
    assert heard(sink) == undisturbed.messages


@at_night
def test_course(undisturbed: Undisturbed) -> None:
    """Without a kill there are changes of each kind, each with one message."""
    changes = [(rule, status, time[11:16]) for rule, status, time in undisturbed.messages.values()]
    assert sorted(changes) == [
        ("all fall", "firing", "05:00"),
        ("all fall", "resolved", "06:00"),
        ("grounded falls", "firing", "04:00"),
        ("grounded falls", "firing", "05:00"),
        ("grounded falls", "firing", "06:00"),
        ("grounded falls", "resolved", "07:00"),
        ("no target", "firing", "04:05"),
    ]


@at_night
@pytest.mark.parametrize("name", MOMENTS)
def test_killed_at(name: str, course: Path, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """If a process is killed here and another one continues, nothing is lost or doubled."""
    folder = tmp_path / "data"
    shutil.copytree(course, folder, symlinks=True)
    with http_sink(takes_otlp=False) as sink:
        assert finish(folder, sink, [MOMENTS[name]]) == 1
        check(json.loads((folder / "outcome").read_text()), sink, undisturbed)
