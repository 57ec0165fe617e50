"""The background job of judges without code: judges new runs, each once per judge version.

A collector holds a *lease* of a judge while it judges, so that only one of several collectors asks.
The lease ends by itself if its holder dies. Runs that already have a score are left out. So after
a crash, only answers that were not stored yet are asked for again.
Why: docs/design/058-rubric-judges.md.
"""

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Final, TypeVar

from otel_ml_collector.errors import Conflict, Missing, Unavailable
from otel_ml_collector.judges.asking import (
    RubricAsking,
    RubricJudgement,
    SpanRecorder,
    day_start,
    find_turns,
    write_judgements,
)
from otel_ml_collector.judges.provider import ModelCaller, NoAnswer
from otel_ml_collector.judges.rubric_judge import (
    RUBRIC_JUDGE,
    FileRubricJudge,
    SavedRubricJudge,
    WantedRubricJudge,
    check_rubric_judge,
    make_rubric_judge,
    write_rubric_body,
)
from otel_ml_collector.log import OnceAMinute, going_on
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.runs.find import RunsQuery, compile_query, find_run
from otel_ml_collector.settings.connections import Connection, RedactionRules
from otel_ml_collector.store.documents import (
    DocumentKind,
    Documents,
    list_all_documents,
    list_documents,
)
from otel_ml_collector.store.judging import (
    ArrivedRun,
    find_arrived,
    find_judged,
    find_last_arrivals,
    find_spending,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, MINUTE_NS, SECOND_NS

RUN_EVERY_S: Final = 3.0
LEASE: Final = DocumentKind("judge lease", most=RUBRIC_JUDGE.most, limit_bytes=4_096)
LEASE_S: Final = 60.0
# A trace or session that never pauses is judged after this long anyway.
_LONGEST_WAIT_NS: Final = 30 * MINUTE_NS
# A run that took longer, or that arrived later, is not judged; a backfill can.
_LATEST_NS: Final = DAY_NS
# A collector's arrivals become visible in their order, those of several collectors nearly so.
_OVERLAP_NS: Final = 5 * SECOND_NS
# How long a pass works on one judge before it turns to the next.
_TURN_S: Final = 20.0
_RUNS_PER_READ: Final = 500
_STORE_AT_ONCE: Final = 50
_STORE_EVERY_S: Final = 1.0
# A misconfigured connection is tried again after this long.
_PAUSE_S: Final = 60.0
_RENEW_SHARE: Final = 3
_LEASE_MARGIN_S: Final = 5.0
_FULL: Final = 2**64
_CLOSE_S: Final = 5.0
_STORE_TRIES: Final = 5
_MINUTE_S: Final = 60.0

_Result = TypeVar("_Result")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JudgeJobOptions:
    """How the job runs.

    Attributes:
        is_on: Whether new runs are judged.
        threads: How many calls of language models run at the same time.
        holder: Name of this collector in leases. One that is stable ends its own old leases.
        quiet_s: Seconds after the last record of a trace until its runs are judged.
        session_quiet_s: The same for sessions, if a rubric shows the conversation.
        lease_s: Seconds after which a lease that is not renewed ends.
    """

    is_on: bool = True
    threads: int = 4
    holder: str = field(default_factory=lambda: secrets.token_hex(8))
    quiet_s: float = 60.0
    session_quiet_s: float = 600.0
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


@dataclass(slots=True)
class _Lease:
    """The lease of a judge, as this collector has seen it.

    Attributes:
        version: Version of its document; 0 if there is none.
        holder: Who holds it; empty if nobody does.
        cursor_ns: Up to which arrival the judge has worked.
        seen_s: Since when this version is known, on the monotonic clock.
    """

    version: int = 0
    holder: str = ""
    cursor_ns: int = 0
    trouble: str = ""
    seen_s: float = 0.0


def is_sampled(run: ArrivedRun | Run, sample: float) -> bool:
    """Return whether a run is in a sample. All runs of a session, else of a trace, are or are not.

    The answer never changes, and runs in a sample are also in each larger one.
    """
    digest = hashlib.sha256((run.session or run.trace_id).encode()).digest()
    return int.from_bytes(digest[:8]) < sample * _FULL


class RubricJudgeJob:
    """Judges the new runs of all projects; only one thread at a time can call `run_pass`.

    Args:
        reader: Reads the store.
        documents: Saves leases.
        record: Stores spans.
        models: The language models that can be asked.
        options: How it runs.
        file_judges: Judges of the configuration file.
        clock: Returns the time in nanoseconds since the epoch.
    """

    def __init__(
        self,
        reader: Reader,
        documents: Documents,
        record: SpanRecorder,
        models: JudgeModels,
        *,
        options: JudgeJobOptions,
        file_judges: Sequence[FileRubricJudge] = (),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.reader = reader
        self._documents = documents
        self.record = record
        self._models = models
        self.options = options
        self._file_judges = file_judges
        self.clock = clock
        self._has_filed = False
        self.stopped = threading.Event()
        self.caller: Final = ModelCaller(self.stopped.wait)
        self.callers = _Callers(options.threads)
        self._leases: dict[tuple[str, str], _Lease] = {}
        self._paused_s: dict[tuple[str, str, str], float] = {}
        self.next_s: dict[tuple[str, str], float] = {}
        self._once = OnceAMinute()
        self._at_rest = threading.Event()
        self._at_rest.set()

    def close(self) -> None:
        """Ask no more, and store the answers that are there. Calls under way are not waited for."""
        self.stopped.set()
        self._at_rest.wait(_CLOSE_S)

    def has_work(self) -> bool:
        """Return whether there can be judges to run."""
        return self.options.is_on and bool(self._models.connections) and not self.stopped.is_set()

    def make_asking(self, project: str, name: str, wanted: WantedRubricJudge) -> RubricAsking:
        """Prepare to ask for a judge.

        Raises:
            BadInput: The judge does not fit the settings.
        """
        models = self._models
        connection = check_rubric_judge(wanted, project, models.connections, models.prices)
        return RubricAsking(
            project=project,
            name=name,
            rubric=wanted.rubric,
            connection=connection,
            redaction=models.redaction,
            prices=models.prices,
            caller=self.caller,
        )

    def store(self, project: str, body: bytes) -> None:
        """Store spans; durable on return.

        Raises:
            Unavailable: The store is busy, also after several attempts.
        """
        for attempt in range(1, _STORE_TRIES + 1):
            try:
                return self.record(project, body)
            except Unavailable as error:
                if attempt == _STORE_TRIES:
                    raise
                self.stopped.wait(error.retry_after_s)
        return None

    def run_pass(self) -> int:
        """Judge the runs that are due; returns how many were judged.

        Raises:
            Unavailable: The store has trouble; a later pass goes on.
        """
        self._at_rest.clear()
        try:
            return self._run_pass()
        finally:
            self._at_rest.set()

    def _run_pass(self) -> int:
        if not self._has_filed:
            self._file()
            self._has_filed = True
        judged = 0
        for project, document in list_all_documents(self.reader, RUBRIC_JUDGE):
            if self.stopped.is_set():
                break
            judge = make_rubric_judge(document)
            place = (project, judge.name)
            is_paused = time.monotonic() < self._paused_s.get((*place, judge.digest), 0.0)
            if not judge.is_on or is_paused:
                continue
            with going_on(partial(self._warn, place)):
                judged += self._judge(project, judge, document.body["on_ns"])
        return judged

    def _warn(self, place: tuple[str, str], error: Exception) -> None:
        if self._once.is_due("judge"):
            _logger.warning("Judge %s of project %s: %s", place[1], place[0], error)

    def _file(self) -> None:
        """Save the judges of the configuration file, and delete those that it no longer has."""
        wanted = {(judge.project, judge.name): judge for judge in self._file_judges}
        stored = list_all_documents(self.reader, RUBRIC_JUDGE)
        before = {(project, document.name): document for project, document in stored}
        for (project, name), document in before.items():
            if (project, name) not in wanted and document.body.get("origin") == "file":
                self._documents.delete(self.reader, project, RUBRIC_JUDGE, name)
        for (project, name), judge in wanted.items():
            known = before.get((project, name))
            body = write_rubric_body(judge, known, self.clock(), "file")
            if known is None or known.body != body:
                self._documents.save(self.reader, project, RUBRIC_JUDGE, name, body)

    def _judge(self, project: str, judge: SavedRubricJudge, on_ns: int) -> int:
        """Judge the due runs of one judge, for some seconds."""
        asking = self.make_asking(project, judge.name, judge.wanted)
        place = (project, judge.name)
        lease = self._read_lease(place)
        is_held = time.monotonic() - lease.seen_s < self.options.lease_s
        if lease.holder not in {"", self.options.holder} and is_held:
            return 0
        now_ns = self.clock()
        quiet_s = self.options.quiet_s
        if asking.reads_conversation:
            quiet_s = max(quiet_s, self.options.session_quiet_s)
        after_ns = max(lease.cursor_ns - _OVERLAP_NS, on_ns)
        until_ns = now_ns - int(self.options.quiet_s * SECOND_NS)
        candidates = _Candidates(self.reader, asking, judge, (on_ns, until_ns, now_ns), quiet_s)
        has_page = candidates.read_page(after_ns)
        if not has_page or not self._has_budget(asking, judge, now_ns):
            return 0
        work = _Work(self, asking, judge, place, lease)
        if not work.take():
            return 0
        judged = 0
        try:
            judged = work.judge(candidates)
        except NoAnswer as error:
            self._paused_s[(*place, judge.digest)] = time.monotonic() + _PAUSE_S
            lease.trouble = str(error)
            self._warn(place, error)
        else:
            lease.trouble = ""
        finally:
            work.give_back(max(candidates.cursor_ns, lease.cursor_ns))
        return judged

    def _has_budget(self, asking: RubricAsking, judge: SavedRubricJudge, now_ns: int) -> bool:
        spent = find_spending(self.reader, asking.project, judge.name, day_start(now_ns))
        calls, dollars = judge.most_calls, judge.dollars_per_day
        return (calls is None or spent.calls < calls) and (
            dollars is None or spent.dollars < dollars
        )

    def _read_lease(self, place: tuple[str, str]) -> _Lease:
        project, name = place
        documents = {item.name: item for item in list_documents(self.reader, project, LEASE)}
        document = documents.get(name)
        known = self._leases.setdefault(place, _Lease())
        if document is None:
            known.version, known.holder = 0, ""
        elif document.version != known.version:
            known.version = document.version
            known.holder = document.body["holder"]
            known.cursor_ns = document.body["cursor_ns"]
            known.trouble = document.body["trouble"]
            known.seen_s = time.monotonic()
        return known

    def save_lease(
        self, place: tuple[str, str], lease: _Lease, holder: str, cursor_ns: int
    ) -> None:
        """Save the state of a lease.

        Raises:
            Conflict: Another collector saved it meanwhile.
        """
        project, name = place
        body = {"holder": holder, "cursor_ns": cursor_ns, "trouble": lease.trouble}
        saved = self._documents.save(self.reader, project, LEASE, name, body, base=lease.version)
        lease.version, lease.holder, lease.cursor_ns = saved.version, holder, cursor_ns
        lease.seen_s = time.monotonic()


class _Candidates:
    """The runs that may be due for a judge, page by page in the order of their arrival.

    Attributes:
        cursor_ns: All runs that arrived until then were judged or need not be.
    """

    def __init__(
        self,
        reader: Reader,
        asking: RubricAsking,
        judge: SavedRubricJudge,
        times_ns: tuple[int, int, int],
        quiet_s: float,
    ) -> None:
        self._reader = reader
        self._asking = asking
        self._judge = judge
        self._on_ns, self._until_ns, self._now_ns = times_ns
        self._quiet_ns = int(quiet_s * SECOND_NS)
        self._waits_ns: int | None = None
        self._page: list[ArrivedRun] = []
        self.cursor_ns = 0

    def read_page(self, after_ns: int) -> bool:
        """Read the next page, and return whether it has a run."""
        start_ns = max(self._on_ns, after_ns) - _LATEST_NS
        query = RunsQuery(self._asking.project, self._judge.where, start_ns=start_ns)
        condition, _ = compile_query(self._reader, query)
        bounds = (start_ns, after_ns, self._until_ns)
        found = find_arrived(self._reader, self._asking.project, condition, bounds, _RUNS_PER_READ)
        self._page = [*{run.run_id: run for run in reversed(found)}.values()][::-1]
        return bool(self._page)

    def take_due(self) -> list[ArrivedRun]:
        """Return the runs of the page that are due, without those that were judged."""
        asking, page = self._asking, self._page
        sampled = [run for run in page if is_sampled(run, self._judge.sample)]
        judged = find_judged(
            self._reader,
            asking.project,
            asking.name,
            asking.rubric.digest,
            [run.run_id for run in sampled],
        )
        open_runs = [run for run in sampled if run.run_id not in judged]
        last = find_last_arrivals(
            self._reader, asking.project, open_runs, of_sessions=asking.reads_conversation
        )
        due = []
        for run in open_runs:
            is_quiet = last[run.run_id] <= self._now_ns - self._quiet_ns
            if is_quiet or run.arrived_ns <= self._now_ns - _LONGEST_WAIT_NS:
                due.append(run)
            elif self._waits_ns is None:
                self._waits_ns = run.arrived_ns
        return due

    @property
    def last_ns(self) -> int:
        """Arrival of the last run of the page."""
        return self._page[-1].arrived_ns

    def pass_page(self) -> None:
        """Note that all due runs of the page were judged."""
        self.cursor_ns = self.last_ns if self._waits_ns is None else self._waits_ns - 1


class _Work:
    """Judging the runs of one judge, under its lease."""

    def __init__(
        self,
        job: RubricJudgeJob,
        asking: RubricAsking,
        judge: SavedRubricJudge,
        place: tuple[str, str],
        lease: _Lease,
    ) -> None:
        self._job = job
        self._asking = asking
        self._judge = judge
        self._place = place
        self._lease = lease
        self._until_s = time.monotonic() + _TURN_S
        self._stored_s = time.monotonic()
        self._done: list[RubricJudgement] = []
        self._calls = 0
        self._dollars = 0.0
        self._priced = 0

    def take(self) -> bool:
        """Take the lease; returns False if another collector was faster."""
        try:
            self._renew()
        except Conflict:
            return False
        return True

    def give_back(self, cursor_ns: int) -> None:
        """End the lease, and note up to where the judge has worked."""
        try:
            self._job.save_lease(self._place, self._lease, "", cursor_ns)
        except Conflict:  # it had ended, and another collector has it
            return

    def judge(self, candidates: _Candidates) -> int:
        """Judge due runs until there are none, or the turn is over; returns how many.

        Raises:
            NoAnswer: The connection is misconfigured.
            Unavailable: The store has trouble.
        """
        judged = 0
        while True:
            due = candidates.take_due()
            count = self._judge_all(due)
            judged += count
            if count < len(due):
                return judged
            candidates.pass_page()
            if time.monotonic() > self._until_s or not candidates.read_page(candidates.last_ns):
                return judged

    def _judge_all(self, due: Sequence[ArrivedRun]) -> int:
        """Judge runs; returns how many are finished. The budget or the turn can end it early."""
        job = self._job
        spent = find_spending(
            job.reader, self._asking.project, self._asking.name, day_start(job.clock())
        )
        self._calls, self._dollars = spent.calls, spent.dollars
        self._priced = spent.calls
        under_way: set[Future[RubricJudgement]] = set()
        finished = 0
        try:
            for run, turns in self._read(due):
                if run is None:
                    finished += 1
                    continue
                while len(under_way) >= job.options.threads:
                    finished += self._collect(under_way, None)
                if not self._may_go_on(len(under_way)):
                    break
                under_way.add(job.callers.submit(partial(self._asking.judge, run, turns)))
                finished += self._collect(under_way, 0.0)
            while under_way and not job.stopped.is_set():
                finished += self._collect(under_way, None)
        finally:
            self._store()
        return finished

    def _read(self, due: Sequence[ArrivedRun]) -> Iterator[tuple[Run | None, Sequence[object]]]:
        """Read runs, each with the turns of its session if the rubric shows them.

        Runs that ended with an error, or lack what the rubric compares with, are not judged.
        """
        job, now_ns = self._job, self._job.clock()
        for arrived in due:
            try:
                run = find_run(job.reader, arrived.run_id, self._asking.project, now_ns=now_ns)
            except Missing:  # deleted meanwhile
                yield None, ()
                continue
            lacks = self._asking.needs_expected and not run.truth
            if run.outcome != "ok" or lacks:
                yield None, ()
                continue
            turns: Sequence[object] = ()
            if self._asking.reads_conversation:
                turns = find_turns(job.reader, run, now_ns)
            yield run, turns

    def _may_go_on(self, under_way: int) -> bool:
        """Wait for the rate limit, and return whether one more call is allowed."""
        job, judge = self._job, self._judge
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
        calls, dollars = judge.most_calls, judge.dollars_per_day
        each = self._dollars / self._priced if self._priced else 0.0
        if calls is not None and self._calls + under_way >= calls:
            return False
        if dollars is not None and self._dollars + under_way * each >= dollars:
            return False
        if not self._has_lease():
            return False
        interval_s = _MINUTE_S / judge.calls_per_minute
        next_s = max(job.next_s.get(self._place, 0.0), time.monotonic() - interval_s)
        job.next_s[self._place] = next_s + interval_s
        return True

    def _has_lease(self) -> bool:
        """Renew the lease in time; returns False if it ended."""
        age_s = time.monotonic() - self._lease.seen_s
        if age_s > self._job.options.lease_s - _LEASE_MARGIN_S:
            return False
        if age_s > self._job.options.lease_s / _RENEW_SHARE:
            return self.take()
        return True

    def _renew(self) -> None:
        self._job.save_lease(
            self._place, self._lease, self._job.options.holder, self._lease.cursor_ns
        )

    def _collect(self, under_way: set["Future[RubricJudgement]"], timeout_s: float | None) -> int:
        """Take finished judgements, and store them when it is time; returns how many."""
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

    def _store_due(self) -> None:
        is_due = time.monotonic() - self._stored_s > _STORE_EVERY_S
        if self._done and (is_due or len(self._done) >= _STORE_AT_ONCE):
            self._store()

    def _store(self) -> None:
        """Store the judgements so far; durable on return."""
        done, self._done = self._done, []
        self._stored_s = time.monotonic()
        if done:
            body = write_judgements(self._asking, done, self._job.clock())
            self._job.store(self._asking.project, body)
