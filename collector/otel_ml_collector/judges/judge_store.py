"""What the job of judges without code reads and writes: judges, leases, due runs, and scores.

A collector's job uses its own store. A worker's job uses that of a collector, through the API.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from pydantic import BaseModel, Field, JsonValue

from otel_ml.records import ACTUAL_NAME
from otel_ml_collector.errors import Missing
from otel_ml_collector.judge_budget import RUBRIC_JUDGE, day_start
from otel_ml_collector.judges.rubric_judge import (
    SavedRubricJudge,
    is_sampled,
    make_rubric_judge,
)
from otel_ml_collector.runs.answers import Run, RunSummary
from otel_ml_collector.runs.find import RunsQuery, compile_query, find_run, find_runs
from otel_ml_collector.settings.connections import RedactionRules
from otel_ml_collector.store.documents import (
    Document,
    DocumentKind,
    Documents,
    list_all_documents,
)
from otel_ml_collector.store.judging import (
    JudgeSpending,
    find_arrived,
    find_judged,
    find_last_arrivals,
    find_spending,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, MINUTE_NS, SECOND_NS
from otel_ml_collector.web.view import quoted

LEASE: Final = DocumentKind("judge lease", most=RUBRIC_JUDGE.most, limit_bytes=4_096)
CONVERSATION: Final = "conversation"
_EXPECTED: Final = "expected"
_TRUNCATED: Final = "truncated"
_MOST_TURNS: Final = 50
# A trace or session that never pauses is judged after this long anyway.
_LONGEST_WAIT_NS: Final = 30 * MINUTE_NS
# A run that took longer, or that arrived later, is not judged; a backfill can.
_LATEST_NS: Final = DAY_NS
_RUNS_PER_READ: Final = 500


class JudgeLease(BaseModel):
    """Who may judge runs for a judge at present, and how far it has come."""

    version: int = Field(default=0, ge=0, description="Number of times it was saved; 0 for none")
    holder: str = Field(
        default="", max_length=256, description="Collector or worker that has it; empty for none"
    )
    cursor_ns: int = Field(
        default=0, ge=0, lt=2**63, description="All runs that arrived until then were judged"
    )
    trouble: str = Field(
        default="", max_length=1_024, description="Why the judge cannot go on; empty if it can"
    )


class LiveRubricJudge(BaseModel):
    """A judge without code that is on, and its lease."""

    project: str
    judge: SavedRubricJudge
    on_ns: int = Field(description="When it was turned on: it judges runs that arrive after that")
    lease: JudgeLease


class DueRuns(BaseModel):
    """Runs that a judge has to judge now, from the next 500 that arrived."""

    run_ids: list[str] = Field(description="In the order of their arrival")
    last_ns: int | None = Field(description="Arrival of the last of the 500; null if none arrived")
    waits_ns: int | None = Field(
        description="Arrival of the first whose trace or session is not quiet yet; null for none"
    )


class RunToJudge(BaseModel):
    """What a judge needs of a run, without what `judge_redact` removes."""

    run_id: str
    start_ns: int
    inputs: JsonValue
    outputs: JsonValue
    expected: JsonValue = Field(description="The ground truth; null if there is none")
    conversation: list[JsonValue] = Field(
        description="Turns of the session up to this run, if the rubric shows them; oldest first"
    )
    tags: dict[str, JsonValue]
    cut: list[str] = Field(description="Which of inputs and outputs were recorded only in part")


class SpanRecorder(Protocol):
    """Stores spans of the collector's own."""

    def __call__(self, project: str, body: bytes) -> None:
        """Store an OTLP request in JSON; durable on return."""
        ...


class JudgeStore(Protocol):
    """Where the job of judges without code finds its work and leaves its results.

    Every method raises `Unavailable` if the store or the collector has trouble.
    """

    def list_judges(self) -> Sequence[LiveRubricJudge]:
        """List the judges that are on, in all projects."""
        ...

    def save_lease(self, project: str, name: str, lease: JudgeLease) -> JudgeLease:
        """Save a lease in place of its version, and return it with its new version.

        Raises:
            Conflict: Another collector or worker saved it meanwhile.
        """
        ...

    def find_due(self, live: LiveRubricJudge, after_ns: int) -> DueRuns:
        """Find the runs to judge, from those that arrived after a time.

        Raises:
            Conflict: The judge was changed meanwhile.
        """
        ...

    def read_run(self, live: LiveRubricJudge, run_id: str) -> RunToJudge | None:
        """Read a run; None if it should not be judged.

        Runs that ended with an error, or lack what the rubric compares with, are not judged.
        """
        ...

    def find_spending(self, project: str, name: str) -> JudgeSpending:
        """Sum the calls that a judge made today (UTC), trials included."""
        ...

    def record(self, project: str, body: bytes) -> None:
        """Store an OTLP request in JSON; durable on return."""
        ...


@dataclass(frozen=True, slots=True)
class LocalJudgeStore:
    """The store of this collector.

    Attributes:
        recorder: Stores spans.
        redaction: What is removed from the data of runs.
        quiet_s: Seconds after the last record of a trace until its runs are judged.
        session_quiet_s: The same for sessions, if a rubric shows the conversation.
        clock: Returns the time in nanoseconds since the epoch.
    """

    reader: Reader
    documents: Documents
    recorder: SpanRecorder
    redaction: RedactionRules
    quiet_s: float = 60.0
    session_quiet_s: float = 600.0
    clock: Callable[[], int] = time.time_ns

    def narrow(self, reader: Reader) -> "LocalJudgeStore":
        """Return the same store for a caller who may read less."""
        return replace(self, reader=reader)

    def list_judges(self) -> Sequence[LiveRubricJudge]:
        """List the judges that are on, in all projects."""
        judges = list_all_documents(self.reader, RUBRIC_JUDGE)
        on = [(project, document) for project, document in judges if document.body["on_ns"]]
        if not on:
            return []
        stored = list_all_documents(self.reader, LEASE)
        leases = {(project, document.name): document for project, document in stored}
        return [
            LiveRubricJudge(
                project=project,
                judge=make_rubric_judge(document),
                on_ns=document.body["on_ns"],
                lease=make_lease(leases.get((project, document.name))),
            )
            for project, document in on
        ]

    def save_lease(self, project: str, name: str, lease: JudgeLease) -> JudgeLease:
        """Save a lease in place of its version, and return it with its new version."""
        body = lease.model_dump(exclude={"version"})
        saved = self.documents.save(self.reader, project, LEASE, name, body, base=lease.version)
        return lease.model_copy(update={"version": saved.version})

    def find_due(self, live: LiveRubricJudge, after_ns: int) -> DueRuns:
        """Find the runs to judge, from those that arrived after a time."""
        project, judge, now_ns = live.project, live.judge, self.clock()
        quiet_ns = int(self.quiet_s * SECOND_NS)
        start_ns = max(live.on_ns, after_ns) - _LATEST_NS
        query = RunsQuery(project, judge.where, start_ns=start_ns)
        condition, _ = compile_query(self.reader, query)
        bounds = (start_ns, max(after_ns, live.on_ns), now_ns - quiet_ns)
        found = find_arrived(self.reader, project, condition, bounds, _RUNS_PER_READ)
        page = [*{run.run_id: run for run in reversed(found)}.values()][::-1]
        sampled = [run for run in page if is_sampled(run.session or run.trace_id, judge.sample)]
        run_ids = [run.run_id for run in sampled]
        judged = find_judged(self.reader, project, judge.name, judge.digest, run_ids)
        unjudged = [run for run in sampled if run.run_id not in judged]
        of_sessions = CONVERSATION in judge.rubric.placeholders
        if of_sessions:
            quiet_ns = max(quiet_ns, int(self.session_quiet_s * SECOND_NS))
        last = find_last_arrivals(self.reader, project, unjudged, of_sessions=of_sessions)
        due = {
            run.run_id
            for run in unjudged
            if last[run.run_id] <= now_ns - quiet_ns or run.arrived_ns <= now_ns - _LONGEST_WAIT_NS
        }
        waiting = (run.arrived_ns for run in unjudged if run.run_id not in due)
        return DueRuns(
            run_ids=[run.run_id for run in unjudged if run.run_id in due],
            last_ns=page[-1].arrived_ns if page else None,
            waits_ns=next(waiting, None),
        )

    def read_run(self, live: LiveRubricJudge, run_id: str) -> RunToJudge | None:
        """Read a run; None if it should not be judged."""
        now_ns = self.clock()
        try:
            run = find_run(self.reader, run_id, live.project, now_ns=now_ns)
        except Missing:  # deleted meanwhile
            return None
        placeholders = live.judge.rubric.placeholders
        if not is_judgeable(run, placeholders):
            return None
        return show_run(self.reader, run, placeholders, self.redaction, now_ns)

    def find_spending(self, project: str, name: str) -> JudgeSpending:
        """Sum the calls that a judge made today (UTC), trials included."""
        return find_spending(self.reader, project, name, day_start(self.clock()))

    def record(self, project: str, body: bytes) -> None:
        """Store an OTLP request in JSON; durable on return."""
        self.recorder(project, body)


def make_lease(document: Document | None) -> JudgeLease:
    """Read a lease from its document; an empty one if there is none."""
    if document is None:
        return JudgeLease()
    return JudgeLease(**{**document.body, "version": document.version})


def is_judgeable(run: RunSummary, placeholders: Sequence[str]) -> bool:
    """Return whether a run ended well and has what a rubric compares with."""
    return run.outcome == "ok" and (_EXPECTED not in placeholders or bool(run.truth))


def show_run(
    reader: Reader, run: Run, placeholders: Sequence[str], redaction: RedactionRules, now_ns: int
) -> RunToJudge:
    """Return what a judge needs of a run, without what the rules remove."""
    remove = redaction.remove
    turns = _find_turns(reader, run, now_ns) if CONVERSATION in placeholders else []
    return RunToJudge(
        run_id=run.run_id,
        start_ns=run.start_ns,
        inputs=remove(run.inputs),
        outputs=remove(run.outputs),
        expected=remove(run.truth.get(ACTUAL_NAME)),
        conversation=remove(turns),
        tags=remove(dict(run.tags)),
        cut=_list_cut(run),
    )


def _find_turns(reader: Reader, run: Run, now_ns: int) -> list[JsonValue]:
    """Read the turns of a run's session up to this run, oldest first, at most 50."""
    if not run.session:
        return []
    query = RunsQuery(
        run.project,
        where=f"session == {quoted(run.session)}",
        limit=_MOST_TURNS,
        end_ns=run.start_ns + 1,
        roots=True,
    )
    turns: list[JsonValue] = []
    for summary in reversed(find_runs(reader, query, now_ns).runs):
        turn = find_run(reader, summary.run_id, run.project, now_ns=now_ns)
        shown: dict[str, JsonValue] = {"inputs": turn.inputs, "outputs": turn.outputs}
        if cut := _list_cut(turn):
            shown["cut when they were recorded"] = [*cut]
        turns.append(shown)
    return turns


def _list_cut(run: Run) -> list[str]:
    return [part for part, reasons in run.capture.items() if _TRUNCATED in reasons]
