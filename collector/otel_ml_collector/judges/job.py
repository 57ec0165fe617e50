"""The background job of rubric judges: judges new runs, each once per judge version.

A collector holds a *lease* of a judge while it judges, so that only one of several collectors asks
the model. The lease expires if the collector dies. Runs that already have a score are left out. So
after a crash, the model is asked again only about runs whose answers were not stored yet.
Why: docs/design/058-rubric-judges.md.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Final, TypeVar

from otel_ml_collector.background import BackgroundJob
from otel_ml_collector.errors import Conflict, Rejected, Unavailable
from otel_ml_collector.judges.asking import RubricAsking, RubricJudgement, write_calls, write_scores
from otel_ml_collector.judges.backfill import BackfillState
from otel_ml_collector.judges.judge_store import (
    DueRun,
    DueRuns,
    JudgeLease,
    JudgeStore,
    LiveRubricJudge,
)
from otel_ml_collector.judges.provider import ModelCaller, NoAnswer
from otel_ml_collector.judges.rubric_judge import (
    WantedRubricJudge,
    check_rubric_judge,
    is_used_up,
)
from otel_ml_collector.log import OnceAMinute, going_on
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.settings.connections import Connection, RedactionRules
from otel_ml_collector.times import SECOND_NS

RUN_EVERY_S: Final = 3.0
LEASE_S: Final = 60.0
# Arrivals of one collector become visible in order, those of several collectors only roughly. So
# each pass starts this much earlier.
_OVERLAP_NS: Final = 5 * SECOND_NS
# How long a pass works on one judge before it continues with the next.
_TURN_S: Final = 20.0
_READ_AT_ONCE: Final = 20
_STORE_AT_ONCE: Final = 50
_STORE_EVERY_S: Final = 1.0
# How often a backfill checks whether it was stopped.
_LOOK_EVERY_S: Final = 2.0
# A misconfigured connection is tried again after this long.
_PAUSE_S: Final = 60.0
_REJECTED_PAUSE_S: Final = 3_600.0
_TROUBLE_CHARS: Final = 1_024
_RENEW_SHARE: Final = 3
_LEASE_MARGIN_S: Final = 5.0
_CLOSE_S: Final = 5.0
# Minimum time between two calls of a judge while the collector is fully loaded with requests.
_BUSY_INTERVAL_S: Final = 1.0
_MINUTE_S: Final = 60.0

_Result = TypeVar("_Result")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JudgeJobOptions:
    """Options of the background job that runs rubric judges.

    While it judges, the job holds a lease of the judge, so that no other process judges too.

    Attributes:
        is_on: Whether this process runs judges.
        threads: How many calls of language models may run at the same time.
        holder: Name of this process in leases. With a fixed name, a restarted process can use the
            leases from before a crash at once. With the default, a random name, it must wait until
            they expire.
        lease_s: Seconds after which a lease expires if it is not renewed.
    """

    is_on: bool = True
    threads: int = 4
    holder: str = field(default_factory=lambda: secrets.token_hex(8))
    lease_s: float = LEASE_S


@dataclass(frozen=True, slots=True)
class JudgeModels:
    """The language models that judges can ask, from the settings.

    Attributes:
        redaction: What is removed from the data of runs.
    """

    connections: Sequence[Connection] = ()
    redaction: RedactionRules = field(default_factory=RedactionRules)
    prices: Prices = field(default_factory=Prices)


class _Callers:
    """A few threads that wait for language models. They do not keep the process from ending."""

    def __init__(self, threads: int) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._missing = threads

    def submit(self, call: Callable[[], _Result]) -> "Future[_Result]":
        """Make a call on one of the threads. A call that was cancelled in time is not made."""
        if self._missing:
            self._missing -= 1
            threading.Thread(target=self._work, name="otel-ml-rubric", daemon=True).start()
        future: Future[_Result] = Future()
        self._jobs.put(partial(_answer, call, future))
        return future

    def _work(self) -> None:
        while True:
            self._jobs.get()()


def _answer(call: Callable[[], _Result], future: "Future[_Result]") -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except Exception as error:  # noqa: BLE001 - raised where the result is read
        future.set_exception(error)


def plan_next_call(
    planned_s: float, now_s: float, calls_per_minute: float, *, is_busy: bool
) -> float:
    """Return the earliest time of a judge's next model call, in seconds of the monotonic clock.

    Args:
        planned_s: The earliest time that was planned for the current call, on the same clock.
        now_s: When the current call is really made, which can be later.
        calls_per_minute: Rate limit of the judge.
        is_busy: Whether the collector is fully loaded with requests. If so, the next call is made
            at least one second after this one.
    """
    interval_s = _MINUTE_S / calls_per_minute
    if is_busy:
        return now_s + max(interval_s, _BUSY_INTERVAL_S)
    return max(planned_s, now_s - interval_s) + interval_s


@dataclass(slots=True)
class _KnownLease:
    """The lease of a judge, and when this process first saw it, on the monotonic clock."""

    saved: JudgeLease
    seen_s: float


class RubricJudgeJob:
    """Lets the rubric judges of all projects score new runs, and runs of backfills.

    Only one thread at a time can call `run_pass`.

    Args:
        store: Storage from which the job reads judges and runs, and to which it writes scores.
        models: The language models that judges can ask.
        options: Number of threads, and settings of leases.
        is_busy: Returns whether the collector is fully loaded with requests. While it is, each
            judge calls its model at most once a second.
        clock: Returns the time in nanoseconds since the epoch.
    """

    def __init__(
        self,
        store: JudgeStore,
        models: JudgeModels,
        *,
        options: JudgeJobOptions,
        is_busy: Callable[[], bool] = lambda: False,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.judge_store = store
        self.is_busy = is_busy
        self._models = models
        self.options = options
        self.clock = clock
        self.stopped = threading.Event()
        self.caller: Final = ModelCaller(self.stopped.wait)
        self.callers = _Callers(options.threads)
        self._leases: dict[tuple[str, str], _KnownLease] = {}
        self._paused_s: dict[tuple[str, str, str], float] = {}
        self.next_s: dict[tuple[str, str], float] = {}
        self._once = OnceAMinute()
        self._at_rest = threading.Event()
        self._at_rest.set()

    def close(self) -> None:
        """Start no more calls, and store the answers received so far.

        Running calls are not waited for.
        """
        self.stopped.set()
        self._at_rest.wait(_CLOSE_S)

    def has_work(self) -> bool:
        """Return whether judges can run: the job is on, and models are configured."""
        return self.options.is_on and bool(self._models.connections) and not self.stopped.is_set()

    @property
    def redaction(self) -> RedactionRules:
        """What is removed from the data of runs before a model sees it."""
        return self._models.redaction

    def make_asking(self, project: str, name: str, wanted: WantedRubricJudge) -> RubricAsking:
        """Return an object that can ask the model of a judge about runs.

        Raises:
            BadInput: The judge is invalid with these settings: for example, its connection does not
                exist.
        """
        models = self._models
        connection = check_rubric_judge(wanted, project, models.connections, models.prices)
        return RubricAsking(
            project=project,
            name=name,
            rubric=wanted.rubric,
            connection=connection,
            prices=models.prices,
            caller=self.caller,
        )

    def store(self, project: str, body: bytes) -> None:
        """Store spans. When this method returns, they are on disk.

        If the store is busy, the method tries again for at most `options.lease_s` seconds. After
        that, this worker's lease of the judge may have expired, and another worker may have it.

        Raises:
            Unavailable: The store is still busy after the last attempt, or this job is stopped.
        """
        until_s = time.monotonic() + self.options.lease_s
        while True:
            try:
                return self.judge_store.record(project, body)
            except Unavailable as error:
                is_late = time.monotonic() + error.retry_after_s > until_s
                if is_late or self.stopped.wait(error.retry_after_s):
                    raise

    def list_jobs(self) -> Sequence[BackgroundJob]:
        """List the job that scores runs by rubric judges."""
        return [
            BackgroundJob(
                self.run_pass,
                RUN_EVERY_S,
                "Rubric judges could not run",
                first_s=RUN_EVERY_S,
                has_work=self.has_work,
            )
        ]

    def run_pass(self) -> int:
        """Judge the runs that are due; returns how many were judged.

        Raises:
            Unavailable: The store is busy or fails. A later pass judges the remaining runs.
        """
        self._at_rest.clear()
        try:
            return self._run_pass()
        finally:
            self._at_rest.set()

    def _run_pass(self) -> int:
        judged = 0
        for live in self.judge_store.list_judges():
            if self.stopped.is_set():
                break
            place = (live.project, live.judge.name)
            if time.monotonic() < self._paused_s.get((*place, live.judge.digest), 0.0):
                continue
            with going_on(partial(self._warn, place)):
                judged += self._judge(live)
        return judged

    def _warn(self, place: tuple[str, str], error: Exception) -> None:
        if self._once.is_due("judge"):
            _logger.warning("Judge %s of project %s: %s", place[1], place[0], error)

    def _judge(self, live: LiveRubricJudge) -> int:
        """Judge the due runs of one judge, for at most about 20 seconds."""
        place = (live.project, live.judge.name)
        asking = self.make_asking(*place, live.judge.wanted)
        lease = self._note_lease(place, live.lease)
        holder, cursor_ns = lease.saved.holder, lease.saved.cursor_ns
        is_held = time.monotonic() - lease.seen_s < self.options.lease_s
        if holder not in {"", self.options.holder} and is_held:
            return 0
        if live.backfill is not None:
            page = self.judge_store.find_due(live, 0)
            if end := self._find_end(live, page):
                self.judge_store.end_backfill(live, end)
                return 0
        work = _Work(self, asking, live, lease)
        judged, trouble = 0, ""
        try:
            first_ns = max(cursor_ns - _OVERLAP_NS, live.on_ns)
            judged = work.judge(first_ns if live.backfill is None else 0)
        except (NoAnswer, Rejected) as error:
            # If the scores are rejected, asking again would cost money for nothing.
            pause_s = _PAUSE_S if isinstance(error, NoAnswer) else _REJECTED_PAUSE_S
            self._paused_s[(*place, live.judge.digest)] = time.monotonic() + pause_s
            trouble = str(error)[:_TROUBLE_CHARS]
            self._warn(place, error)
        finally:
            work.give_back(trouble)
        if live.backfill is not None and not trouble and work.end is not None:
            self.judge_store.end_backfill(live, work.end)
        return judged

    def forget_lease(self, place: tuple[str, str]) -> None:
        """Forget the known lease of a judge, because another collector or worker changed it."""
        self._leases.pop(place, None)

    def _find_end(self, live: LiveRubricJudge, page: DueRuns) -> BackfillState | None:
        """Return how a backfill ended before its next page; None if it goes on."""
        if not page.run_ids:
            return "finished"
        is_spent = is_used_up(live.judge, self.judge_store.find_spending(live))
        return "budget used up" if is_spent else None

    def _note_lease(self, place: tuple[str, str], saved: JudgeLease) -> _KnownLease:
        """Remember when this process first saw the newest version of a lease, and return it.

        If the given lease is older than the known one, it is ignored: it was read from the store
        before this job saved a newer version.
        """
        known = self._leases.get(place)
        if known is None or known.saved.version < saved.version:
            known = self._leases[place] = _KnownLease(saved, time.monotonic())
        return known


class _Work:
    """One turn of a judge: judges due runs for at most about 20 s, while it holds the lease.

    Attributes:
        end: How the backfill ended; None if it goes on, or if these are not runs of a backfill.
    """

    def __init__(
        self, job: RubricJudgeJob, asking: RubricAsking, live: LiveRubricJudge, lease: _KnownLease
    ) -> None:
        self._job = job
        self._asking = asking
        self._live = live
        self._place = (live.project, live.judge.name)
        self._lease = lease
        self._cursor_ns = lease.saved.cursor_ns
        self._has_begun = False
        self._until_s = time.monotonic() + _TURN_S
        self._stored_s = time.monotonic()
        self._done: list[RubricJudgement] = []
        self._calls = 0
        self._dollars = 0.0
        self._priced = 0
        self._dearest = 0.0
        self._asked_s = time.monotonic()
        self._has_asked = False
        self.end: BackfillState | None = None

    def _begin(self) -> bool:
        """Take the lease before the first call; return False if there is no budget or lease.

        If another process had judged since the lease was read, the lease would have a new version,
        and taking it would fail. So the runs that were found are still due.
        """
        if not self._has_begun:
            spent = self._job.judge_store.find_spending(self._live)
            self._has_begun = not is_used_up(self._live.judge, spent) and self._take()
        return self._has_begun

    def _take(self) -> bool:
        """Take or renew the lease; returns False if another collector was faster."""
        try:
            self._save_lease(holder=self._job.options.holder)
        except Conflict:
            self._job.forget_lease(self._place)
            return False
        return True

    def give_back(self, trouble: str) -> None:
        """End the lease, and store in it how far the judge has come and the last problem."""
        saved = self._lease.saved
        cursor_ns = max(self._cursor_ns, saved.cursor_ns)
        if not self._has_begun:
            trouble = trouble or saved.trouble
            if (cursor_ns, trouble) == (saved.cursor_ns, saved.trouble):
                return
        try:
            self._save_lease(holder="", cursor_ns=cursor_ns, trouble=trouble)
        except Conflict:  # the lease had expired, and another collector has it
            return

    def _save_lease(self, **changes: object) -> None:
        wanted = self._lease.saved.model_copy(update=changes)
        self._lease.saved = self._job.judge_store.save_lease(*self._place, wanted)
        self._lease.seen_s = time.monotonic()

    def judge(self, after_ns: int) -> int:
        """Judge due runs for at most about 20 s; returns how many runs are finished.

        Returns earlier if no due run is left, the budget is used up or the lease is lost. Runs that
        turn out not to need a score are counted as finished.

        Args:
            after_ns: Judge only runs that arrived after this time, in nanoseconds since the epoch.
                Runs that already have a score are skipped. For a backfill: 0, to judge all of its
                runs.

        Raises:
            NoAnswer: The connection to the model is misconfigured.
            Unavailable: The store is busy or fails.
        """
        judged, waits_ns = 0, None
        while time.monotonic() < self._until_s:
            page = self._job.judge_store.find_due(self._live, after_ns)
            if page.last_ns is None and not self._has_asked:
                self.end = "finished"  # none of the remaining runs can be judged
            if page.last_ns is None or (page.run_ids and not self._begin()):
                break
            count = self._judge_all(page.run_ids) if page.run_ids else 0
            judged += count
            if count < len(page.run_ids):
                break
            waits_ns = page.waits_ns if waits_ns is None else waits_ns
            if self._live.backfill is None:  # the lease's cursor is only for live traffic
                self._cursor_ns = page.last_ns if waits_ns is None else waits_ns - 1
            after_ns = page.last_ns
        return judged

    def _judge_all(self, run_ids: Sequence[str]) -> int:
        """Judge runs until the budget or the turn ends; returns how many runs are finished."""
        job = self._job
        spent = job.judge_store.find_spending(self._live)
        self._calls, self._dollars = spent.calls, spent.dollars
        self._priced = spent.calls
        under_way: set[Future[RubricJudgement]] = set()
        finished = 0
        try:
            for run in self._read(run_ids):
                if run is None:
                    finished += 1
                    continue
                while len(under_way) >= self._most_at_once:
                    finished += self._collect(under_way, None)
                if not self._may_go_on(len(under_way), run):
                    break
                self._has_asked = True
                under_way.add(job.callers.submit(partial(self._asking.judge, run)))
                finished += self._collect(under_way, 0.0)
        finally:
            finished += self._finish(under_way)
        return finished

    def _finish(self, under_way: "set[Future[RubricJudgement]]") -> int:
        """Wait for the calls under way, and store all answers; returns how many calls there were.

        This is also done after an error of the store, because the answers cost money.
        """
        finished = 0
        try:
            while under_way and not self._job.stopped.is_set():
                finished += self._collect(under_way, None)
        finally:
            self._store()
        return finished

    def _read(self, run_ids: Sequence[str]) -> Iterator[DueRun | None]:
        """Read runs in their order; None for those that should not be judged."""
        for first in range(0, len(run_ids), _READ_AT_ONCE):
            part = run_ids[first : first + _READ_AT_ONCE]
            runs = self._job.judge_store.read_runs(self._live, part)
            yield from (runs.get(run_id) for run_id in part)

    def _may_go_on(self, under_way: int, run: DueRun) -> bool:
        """Wait for the rate limit, and return whether a call for one more run is allowed."""
        job, judge = self._job, self._live.judge
        while not job.stopped.is_set():
            now_s = time.monotonic()
            next_s = job.next_s.get(self._place, 0.0)
            if now_s >= next_s:
                break
            if next_s > self._until_s:
                return False
            job.stopped.wait(min(next_s - now_s, _STORE_EVERY_S))
            self._store_due()
        if job.stopped.is_set() or time.monotonic() > self._until_s:
            return False
        if not (
            self._may_spend(under_way)
            if self._live.backfill is None
            else self._may_fill(under_way, run)
        ):
            return False
        if not self._has_lease():
            return False
        job.next_s[self._place] = plan_next_call(
            job.next_s.get(self._place, 0.0),
            time.monotonic(),
            judge.calls_per_minute,
            is_busy=job.is_busy(),
        )
        return True

    @property
    def _most_at_once(self) -> int:
        """How many calls may run at once.

        Only one if a backfill has a budget in dollars, until the cost of a call is known.
        """
        backfill = self._live.backfill
        is_unknown = backfill is not None and backfill.most_dollars is not None and not self._priced
        return 1 if is_unknown else self._job.options.threads

    def _may_spend(self, under_way: int) -> bool:
        """Return whether the budget of the day allows one more call."""
        calls, dollars = self._live.judge.most_calls, self._live.judge.dollars_per_day
        each = self._dollars / self._priced if self._priced else 0.0
        return (calls is None or self._calls + under_way < calls) and (
            dollars is None or self._dollars + under_way * each < dollars
        )

    def _may_fill(self, under_way: int, run: DueRun) -> bool:
        """Return whether a backfill still runs, and its budget is enough for one more call.

        A call is expected to cost as much as the most expensive one so far, or twice what the size
        of the run suggests, whichever is more. So the limit in dollars is not exceeded. Until the
        first cost is known, there is one call at a time.
        """
        backfill, now_s = self._live.backfill, time.monotonic()
        if backfill is None:
            return False
        if now_s - self._asked_s > _LOOK_EVERY_S:
            self._asked_s = now_s
            if not self._job.judge_store.has_backfill(self._live):
                return False
        has_budget = self._calls + under_way < backfill.most_calls
        if has_budget and backfill.most_dollars is not None:
            price = self._asking.price(self._asking.estimate(run), self._job.clock())
            usual = self._dollars / self._priced if self._priced else 0.0
            each = max(self._dearest, usual, 2 * (price or 0.0))
            has_budget = self._dollars + (under_way + 1) * each <= backfill.most_dollars
        if not has_budget and not under_way:
            self.end = "budget used up"
        return has_budget

    def _has_lease(self) -> bool:
        """Renew the lease if it expires soon; returns False if it has expired."""
        age_s = time.monotonic() - self._lease.seen_s
        if age_s > self._job.options.lease_s - _LEASE_MARGIN_S:
            return False
        if age_s > self._job.options.lease_s / _RENEW_SHARE:
            with suppress(Unavailable):  # the lease is still valid; the next call renews it
                return self._take()
        return True

    def _collect(self, under_way: set["Future[RubricJudgement]"], timeout_s: float | None) -> int:
        """Take finished judgements, and store them when it is time; returns how many."""
        self._has_lease()  # a call can take longer than a lease
        limit_s = _STORE_EVERY_S if timeout_s is None else timeout_s
        done, _ = wait(under_way, limit_s, FIRST_COMPLETED)
        for future in done:
            under_way.discard(future)
            self._note(future.result())
        self._store_due()
        return len(done)

    def _note(self, judgement: RubricJudgement) -> None:
        self._done.append(judgement)
        if judgement.answer is not None:
            self._calls += 1
            self._priced += judgement.cost is not None
            self._dollars += judgement.cost or 0.0
            self._dearest = max(self._dearest, judgement.cost or 0.0)

    def _store_due(self) -> None:
        is_due = time.monotonic() - self._stored_s > _STORE_EVERY_S
        if self._done and (is_due or len(self._done) >= _STORE_AT_ONCE):
            self._store()

    def _store(self) -> None:
        """Store the judgements so far; durable on return.

        The calls are stored before the scores. If the process is killed in between, a run without a
        score is judged again, and both calls count towards the budget. If calls and scores were
        sent in one request, only the scores might be stored, and the cost of the calls would be
        lost.
        """
        done, self._done = self._done, []
        self._stored_s = time.monotonic()
        if done:
            backfill = self._live.backfill
            which = "" if backfill is None else backfill.id
            calls = write_calls(self._asking, done, backfill=which)
            scores = write_scores(self._asking, done, self._job.clock())
            for body in (calls, scores):
                self._job.store(self._asking.project, body)
