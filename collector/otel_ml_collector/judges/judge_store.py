"""Storage for the job that runs rubric judges: judges, leases, runs to judge, and scores.

In a collector, the job uses the collector's store directly. A worker on another machine uses the
store of a collector, through the API.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from pydantic import BaseModel, Field, JsonValue

from otel_ml.attributes import JUDGE_KIND
from otel_ml.records import ACTUAL_NAME
from otel_ml.rubric import list_steps
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import Missing
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.judge_budget import RUBRIC_JUDGE, day_start
from otel_ml_collector.judges.backfill import (
    JUDGE_BACKFILL,
    BackfillState,
    ConfirmedBackfill,
    JudgeBackfill,
    end_backfill,
    make_backfill,
)
from otel_ml_collector.judges.rubric_judge import (
    SavedRubricJudge,
    is_sampled,
    make_rubric_judge,
)
from otel_ml_collector.runs.answers import Run, RunSummary
from otel_ml_collector.runs.find import (
    RunsQuery,
    TracePage,
    compile_query,
    find_present_runs,
    find_run,
    find_runs,
    find_whole_runs,
)
from otel_ml_collector.runs.traces import find_trace
from otel_ml_collector.settings.connections import RedactionRules
from otel_ml_collector.store.documents import (
    Document,
    DocumentKind,
    Documents,
    list_all_documents,
    read_document,
)
from otel_ml_collector.store.judging import (
    JudgeSpending,
    UnjudgedRuns,
    count_unjudged,
    find_arrived,
    find_judged,
    find_last_arrivals,
    find_spending,
    list_unjudged,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, MINUTE_NS, SECOND_NS
from otel_ml_collector.windows import Window

LEASE: Final = DocumentKind("judge lease", most=RUBRIC_JUDGE.most, limit_bytes=4_096)
CONVERSATION: Final = "conversation"
EXPECTED: Final = "expected"
DOCUMENTS: Final = "documents"
_RETRIEVER: Final = "retriever"
# Limits on the runs inside a run that a rubric shows: spans of the trace that are searched, runs
# that are read, runs of one name, and documents.
_SPANS_SEARCHED: Final = 5_000
_STEPS_READ: Final = 100
_MOST_STEPS: Final = 20
_MOST_DOCUMENTS: Final = 50
_TRUNCATED: Final = "truncated"
_MOST_TURNS: Final = 50
# A trace or session that never pauses is judged after this long anyway.
_LONGEST_WAIT_NS: Final = 30 * MINUTE_NS
# Runs that arrive longer than this after their start are only judged by backfills.
_LATEST_NS: Final = DAY_NS
_RUNS_PER_READ: Final = 500


class JudgeLease(BaseModel):
    """Who may judge runs for a judge at present, and how far it has come."""

    version: int = Field(
        default=0,
        ge=0,
        description="How often the lease was taken or renewed; 0 if there is no lease",
    )
    holder: str = Field(
        default="",
        max_length=256,
        description="Collector or worker that holds the lease; empty if none does",
    )
    cursor_ns: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="All runs that arrived up to this time were judged, in nanoseconds since "
        "the epoch",
    )
    trouble: str = Field(
        default="", max_length=1_024, description="Why the judge cannot continue; empty if it can"
    )


class LiveRubricJudge(AnswerBody):
    """A rubric judge that has runs to judge: new runs, or the older runs of a backfill.

    A judge that is turned on and also has a running backfill appears twice, once for each. Both
    share one lease, which says which collector or worker runs the judge.
    """

    project: str
    judge: SavedRubricJudge = Field(
        description="The judge. For a backfill, its runs and budget are those of the backfill"
    )
    on_ns: int = Field(
        description="When the judge was turned on. It judges runs that arrive later; 0 for a "
        "backfill"
    )
    lease: JudgeLease
    backfill: JudgeBackfill | None = Field(
        default=None, description="The backfill; null for live traffic"
    )

    def of_backfill(self, backfill: JudgeBackfill) -> "LiveRubricJudge":
        """Return the entry for a backfill: its runs and budget, with the lease of the judge."""
        changes = {"judge": backfill.narrow(self.judge), "on_ns": 0, "backfill": backfill}
        return self.model_copy(update=changes)


class DueRuns(AnswerBody):
    """Runs that a judge has to judge now, from the next 500 that arrived.

    For a backfill, these are its next 500 runs.
    """

    run_ids: list[str] = Field(
        description="IDs of the runs in the order of their arrival; for a backfill, newest first"
    )
    last_ns: int | None = Field(
        description="When the last of these runs (at most 500) arrived; for a backfill, when it"
        " started. Null without runs"
    )
    waits_ns: int | None = Field(
        description="When the first run arrived whose trace or session still gets spans; null "
        "if there is none"
    )


class DueRun(AnswerBody):
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
    steps: dict[str, list[dict[str, JsonValue]]] = Field(
        default={},
        description="Inputs and outputs of the runs inside that the rubric shows, by name",
    )
    documents: list[JsonValue] | None = Field(
        default=None,
        description="Documents that retrievers inside the run returned, if the rubric shows them",
    )


class SpanRecorder(Protocol):
    """Stores spans that the collector itself creates."""

    def __call__(self, project: str, body: bytes) -> None:
        """Store an OTLP request in JSON. When this method returns, it is on disk."""
        ...


class JudgeStore(Protocol):
    """The storage from which the job of rubric judges gets runs, and to which it writes scores.

    Every method raises `Unavailable` if the store or the collector cannot be reached, or fails.
    """

    def list_judges(self) -> Sequence[LiveRubricJudge]:
        """List the judges that are on and the backfills that are running, in all projects."""
        ...

    def save_lease(self, project: str, name: str, lease: JudgeLease) -> JudgeLease:
        """Save a lease if `lease.version` is still the newest. Return it with its new version.

        Raises:
            Conflict: Another collector or worker saved the lease meanwhile.
        """
        ...

    def find_due(self, live: LiveRubricJudge, after_ns: int) -> DueRuns:
        """Find the next runs that a judge must judge.

        Args:
            live: The judge, or its backfill.
            after_ns: Return only runs that arrived after this time. For a backfill, despite the
                name, return only runs that started before this time, because backfills go from
                new to old; 0 means all runs of the backfill.

        Raises:
            Conflict: The judge was changed meanwhile.
        """
        ...

    def read_runs(self, live: LiveRubricJudge, run_ids: Sequence[str]) -> Mapping[str, DueRun]:
        """Read some runs, by ID, without those that should not be judged.

        Runs that ended with an error should not be judged. If the rubric shows the ground truth,
        runs without ground truth should not be judged either.
        """
        ...

    def find_spending(self, live: LiveRubricJudge) -> JudgeSpending:
        """Sum the model calls that a judge made today (UTC), or that a backfill made so far.

        Today's calls include those of trials.
        """
        ...

    def has_backfill(self, live: LiveRubricJudge) -> bool:
        """Return whether a backfill may go on: nobody stopped it or changed the judge."""
        ...

    def end_backfill(self, live: LiveRubricJudge, state: BackfillState) -> None:
        """Store that a backfill ended, and in which state."""
        ...

    def record(self, project: str, body: bytes) -> None:
        """Store an OTLP request in JSON. When this method returns, it is on disk."""
        ...


@dataclass(frozen=True, slots=True)
class LocalJudgeStore:
    """The judge storage of this collector: gets runs from its store and writes scores to it.

    Attributes:
        recorder: Stores the spans with the scores.
        redaction: Rules for data of runs that judges must not see.
        quiet_s: Number of seconds from the last record of a trace until the runs of the trace are
            judged. If records keep arriving, a run is judged 30 minutes after it arrived.
        session_quiet_s: Number of seconds from the last record of a session until the runs of the
            session are judged, if the judge reads the whole conversation. The user may still
            continue the conversation. If `quiet_s` is longer, `quiet_s` is used.
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
        """Return the same storage, limited to what a caller's reader may access."""
        return replace(self, reader=reader)

    def list_judges(self) -> Sequence[LiveRubricJudge]:
        """List the judges that are on and the backfills that are running, in all projects."""
        judges = list_all_documents(self.reader, RUBRIC_JUDGE)
        if not judges:
            return []
        backfills = {
            (project, document.name): make_backfill(document)
            for project, document in list_all_documents(self.reader, JUDGE_BACKFILL)
            if document.body["state"] == "running"
        }
        stored = list_all_documents(self.reader, LEASE)
        leases = {(project, document.name): document for project, document in stored}
        found = []
        for project, document in judges:
            place = (project, document.name)
            backfill, on_ns = backfills.get(place), document.body["on_ns"]
            if not on_ns and backfill is None:
                continue
            judge, lease = make_rubric_judge(document), make_lease(leases.get(place))
            live = LiveRubricJudge(project=project, judge=judge, on_ns=on_ns, lease=lease)
            if on_ns:
                found.append(live)
            if backfill is not None and backfill.digest == judge.digest:
                found.append(live.of_backfill(backfill))
        return found

    def save_lease(self, project: str, name: str, lease: JudgeLease) -> JudgeLease:
        """Save a lease if `lease.version` is still the newest. Return it with its new version."""
        body = lease.model_dump(exclude={"version"})
        saved = self.documents.save(self.reader, project, LEASE, name, body, base=lease.version)
        return lease.model_copy(update={"version": saved.version})

    def find_due(self, live: LiveRubricJudge, after_ns: int) -> DueRuns:
        """Find the next runs that a judge must judge.

        Args:
            live: The judge, or its backfill.
            after_ns: Return only runs that arrived after this time. For a backfill, despite the
                name, return only runs that started before this time, because backfills go from
                new to old; 0 means all runs of the backfill.
        """
        if live.backfill is not None:
            runs = find_unjudged(self.reader, live.project, live.judge, live.backfill, after_ns)
            listed = list_unjudged(self.reader, runs, _RUNS_PER_READ)
            return DueRuns(
                run_ids=[run_id for run_id, _ in listed],
                last_ns=listed[-1][1] if listed else None,
                waits_ns=None,
            )
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

    def read_runs(self, live: LiveRubricJudge, run_ids: Sequence[str]) -> Mapping[str, DueRun]:
        """Read some runs, by ID, without those that should not be judged."""
        now_ns = self.clock()
        placeholders = live.judge.rubric.placeholders
        runs = find_present_runs(self.reader, live.project, run_ids, now_ns)
        return {
            run_id: show_run(self.reader, run, placeholders, self.redaction, now_ns)
            for run_id, run in runs.items()
            if is_judgeable(run, placeholders)
        }

    def find_spending(self, live: LiveRubricJudge) -> JudgeSpending:
        """Sum the model calls that a judge made today (UTC), or that a backfill made so far."""
        place = (live.project, live.judge.name)
        if live.backfill is not None:
            return find_backfill_spending(self.reader, place, live.backfill)
        return find_spending(self.reader, *place, day_start(self.clock()))

    def has_backfill(self, live: LiveRubricJudge) -> bool:
        """Return whether a backfill may go on: nobody stopped it or changed the judge."""
        try:
            document = read_document(self.reader, live.project, JUDGE_BACKFILL, live.judge.name)
            judge = read_document(self.reader, live.project, RUBRIC_JUDGE, live.judge.name)
        except Missing:
            return False
        stored = make_backfill(document)
        is_same = live.backfill is not None and stored.id == live.backfill.id
        is_running = is_same and stored.state == "running"
        return is_running and make_rubric_judge(judge).digest == stored.digest

    def end_backfill(self, live: LiveRubricJudge, state: BackfillState) -> None:
        """Store that a backfill ended, and in which state."""
        backfill = live.backfill
        if backfill is not None:
            runs = find_unjudged(self.reader, live.project, live.judge, backfill)
            left = count_unjudged(self.reader, runs)
            place = (live.project, live.judge.name)
            end_backfill(self.reader, self.documents, place, state, left=left, which=backfill.id)

    def record(self, project: str, body: bytes) -> None:
        """Store an OTLP request in JSON. When this method returns, it is on disk."""
        self.recorder(project, body)


def find_unjudged(
    reader: Reader,
    project: str,
    judge: SavedRubricJudge,
    backfill: ConfirmedBackfill,
    before_ns: int = 0,
) -> UnjudgedRuns:
    """Return the runs of a backfill that its judge version has not scored yet.

    Args:
        reader: The store.
        project: The project.
        judge: The judge whose scores are added by the backfill.
        backfill: The backfill, with its filter, time range and judge version.
        before_ns: Return only runs that started before this time, in nanoseconds since the epoch;
            0 for all.

    Raises:
        BadInput: The filter of the backfill is invalid.
    """
    window = Window(backfill.start_ns, min(before_ns or backfill.end_ns, backfill.end_ns))
    where = backfill.where
    if EXPECTED in judge.rubric.placeholders:
        has_truth = f'"{ACTUAL_NAME}" in truth'
        where = f"({where}) and {has_truth}" if where else has_truth
    query = RunsQuery(project, where, start_ns=window.start_ns, end_ns=window.end_ns)
    condition, _ = compile_query(reader, query)
    return UnjudgedRuns(project, judge.name, backfill.digest, condition, window, backfill.sample)


def find_backfill_spending(
    reader: Reader, place: tuple[str, str], backfill: JudgeBackfill
) -> JudgeSpending:
    """Sum the model calls of a backfill, and their cost."""
    # Start a day earlier: the collector that makes a call can have a slower clock than the one that
    # created the backfill.
    return find_spending(reader, *place, backfill.created_ns - DAY_NS, backfill.id)


def make_lease(document: Document | None) -> JudgeLease:
    """Read a lease from its document; an empty one if there is none."""
    if document is None:
        return JudgeLease()
    return JudgeLease(**{**document.body, "version": document.version})


def is_judgeable(run: RunSummary, placeholders: Sequence[str]) -> bool:
    """Return whether a run ended without error, with ground truth if the rubric shows it."""
    return run.outcome == "ok" and (EXPECTED not in placeholders or bool(run.truth))


def show_run(
    reader: Reader, run: Run, placeholders: Sequence[str], redaction: RedactionRules, now_ns: int
) -> DueRun:
    """Return the data of a run that a judge needs, after the redaction rules."""
    remove = redaction.remove
    turns = _find_turns(reader, run, now_ns) if CONVERSATION in placeholders else []
    names, has_documents = list_steps(placeholders), DOCUMENTS in placeholders
    steps = _find_steps(reader, run, now_ns, names, has_documents=has_documents)
    return DueRun(
        run_id=run.run_id,
        start_ns=run.start_ns,
        inputs=remove(run.inputs),
        outputs=remove(run.outputs),
        expected=remove(run.truth.get(ACTUAL_NAME)),
        conversation=remove(turns),
        tags=remove(dict(run.tags)),
        cut=_list_cut(run),
        steps={
            name: [
                {"inputs": remove(step.inputs), "outputs": remove(step.outputs)}
                for step in steps
                if name in {step.model, step.name}
            ][:_MOST_STEPS]
            for name in names
        },
        documents=[
            remove(document)
            for step in steps
            if step.kind == _RETRIEVER
            for document in _list_documents(step.outputs)
        ][:_MOST_DOCUMENTS]
        if has_documents
        else None,
    )


def _find_steps(
    reader: Reader, run: Run, now_ns: int, names: Sequence[str], *, has_documents: bool
) -> list[Run]:
    """Read the runs inside a run that have one of these names, or that retrieve documents.

    Returns:
        At most 100 runs, oldest first. Only the first 5,000 spans of a trace are searched.
    """
    if not names and not has_documents:
        return []
    trace = find_trace(
        reader, run.trace_id, run.project, now_ns=now_ns, page=TracePage(limit=_SPANS_SEARCHED)
    )
    inside = {run.run_id}
    chosen: list[RunSummary] = []
    children: defaultdict[str, list[RunSummary]] = defaultdict(list)
    for span in trace.runs:
        if span.parent_run_id and span.kind != JUDGE_KIND:
            children[span.parent_run_id].append(span)
    around = [run.run_id]
    while around:
        for child in children[around.pop()]:
            if child.run_id not in inside:
                inside.add(child.run_id)
                around.append(child.run_id)
                is_named = child.model in names or child.name in names
                if is_named or (has_documents and child.kind == _RETRIEVER):
                    chosen.append(child)
    chosen.sort(key=lambda step: (step.start_ns, step.run_id))
    return list(find_whole_runs(reader, chosen[:_STEPS_READ], now_ns))


def _list_documents(outputs: JsonValue) -> list[JsonValue]:
    """Return the documents in the outputs of a retriever: a list, or the list in an object."""
    if isinstance(outputs, dict):
        lists = [value for value in outputs.values() if isinstance(value, list)]
        outputs = lists[0] if len(lists) == 1 else [outputs]
    return outputs if isinstance(outputs, list) else [] if outputs is None else [outputs]


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
