"""Finds the runs of a labelling queue and those still to do. Nothing of this is stored."""

import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field

from otel_ml.attributes import JUDGE_KIND
from otel_ml.records import Evaluation
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import Missing
from otel_ml_collector.queues.queue import QUEUE, Queue, QueueChoice, make_queue
from otel_ml_collector.runs.answers import Run, RunSummary
from otel_ml_collector.runs.find import MATCHING, RunsQuery, TracePage, compile_query, find_run
from otel_ml_collector.runs.traces import find_trace
from otel_ml_collector.store.counted import RECORDED
from otel_ml_collector.store.documents import list_documents, read_document
from otel_ml_collector.store.labels import newest_labels
from otel_ml_collector.store.reader import JsonValue, Reader, run_id_of
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.runs import ACROSS_PARTITIONS
from otel_ml_collector.store.scores import BY_JUDGE, IN_WINDOW, OF_JUDGE, all_scores, newest_scores
from otel_ml_collector.store.sql import EMPTY, Condition, Sql
from otel_ml_collector.times import to_rfc3339

_CONTEXT_SPANS: Final = 200
_LATEST_ANSWERS: Final = 10
_IN_HAND: Final = 10_000
_IN_HAND_S: Final = 600.0
IS_WORD: Final = Sql("(label != '' OR score IS NOT NULL OR passed IS NOT NULL)")
# Matching runs in a random order that is the same for every reviewer and at any time.
_DRAWN: Final = Sql("""
    SELECT run.trace_id AS trace_id, run.span_id AS span_id, run.start_ns AS start_ns,
      {split} AS disagreement, sipHash64({seed:UInt32}, run.trace_id, run.span_id) AS drawn
    FROM (SELECT trace_id, span_id, start_ns FROM {recorded} WHERE {matching}) AS run {join}
    ORDER BY concat(lower(hex(trace_id)), '-', lower(hex(span_id))) IN {added:Array(String)} DESC,
      disagreement DESC, drawn, trace_id, span_id LIMIT {limit:UInt32}""")
_ADDED: Final = Sql("""trace_id IN (
    SELECT toFixedString(unhex(arrayJoin({added_traces:Array(String)})), 16))
  AND concat(lower(hex(trace_id)), '-', lower(hex(span_id))) IN {added:Array(String)}""")
# `split` is how close the share of judges that pass a run is to one half.
_SPLIT: Final = Sql("""
    LEFT JOIN (
      SELECT trace_id, span_id, avg(toUInt8(assumeNotNull(passed))) AS share,
        least(share, 1 - share) AS split
      FROM ({newest}) WHERE passed IS NOT NULL GROUP BY trace_id, span_id
    ) AS judged ON judged.trace_id = run.trace_id AND judged.span_id = run.span_id""")
_QUEUED: Final = Sql("""
    SELECT lower(hex(queued.trace_id)) AS trace_id, lower(hex(queued.span_id)) AS span_id,
      queued.start_ns AS start_ns, labels.answers AS answers, labels.mine AS mine,
      labels.own_label AS own_label, labels.own_score AS own_score, labels.own_ns AS own_ns
    FROM ({drawn}) AS queued
    LEFT JOIN (
      SELECT trace_id, span_id,
        countIf({is_word} AND label NOT IN {unanswered:Array(String)}) AS answers,
        countIf({is_word} AND annotator = {annotator:String}) AS mine,
        anyIf(label, annotator = {annotator:String}) AS own_label,
        anyIf(score, annotator = {annotator:String}) AS own_score,
        anyIf(time_ns, annotator = {annotator:String}) AS own_ns
      FROM ({words}) GROUP BY trace_id, span_id
    ) AS labels ON labels.trace_id = queued.trace_id AND labels.span_id = queued.span_id
    ORDER BY queued.disagreement DESC, queued.drawn, queued.trace_id, queued.span_id""")


class QueueProgress(AnswerBody):
    """The progress of a queue."""

    runs: int = Field(description="Number of runs in the queue")
    done: int = Field(description="Number of runs with as many answers as requested")
    answered: int = Field(description="Number of runs that this reviewer answered")
    left: int = Field(description="Number of runs that this reviewer can still answer")


class OwnAnswer(AnswerBody):
    """The reviewer's own answer about a run."""

    run_id: str
    label: str
    score: float | None
    time: str = Field(description="RFC 3339, UTC")


class QueueState(Queue):
    """A saved queue with its progress."""

    progress: QueueProgress


class Queues(AnswerBody):
    """The labelling queues of a project, by name."""

    queues: list[QueueState]


class JudgedSpan(AnswerBody):
    """A span in the trace of a run to label."""

    name: str
    kind: str
    level: int = Field(description="Depth in the trace, 0 at the top")
    latency_ms: float | None
    outcome: str


class RunToJudge(AnswerBody):
    """A run as reviewers see it, without its scores and labels."""

    run_id: str
    model: str
    version: int | None
    start_time: str
    latency_ms: float | None
    outcome: str
    error_type: str
    error_message: str
    inputs: JsonValue
    outputs: JsonValue
    capture: dict[str, list[str]] = Field(
        description="For inputs and outputs: what was not recorded"
    )
    spans: list[JudgedSpan] = Field(
        description="Spans of the run's trace, oldest first, at most 200"
    )
    evaluations: list[Evaluation] | None = Field(
        description="Scores of judges and answers of reviewers; null while they are hidden"
    )


class NextRun(AnswerBody):
    """The next run to label."""

    queue: Queue
    choices: list[QueueChoice] = Field(description="Answers to choose from, by keyboard key")
    progress: QueueProgress
    run: RunToJudge | None = Field(description="Run to label; null if no run is left")
    last: list[OwnAnswer] = Field(description="Own answers, the newest first, at most 10")


@dataclass(frozen=True, slots=True)
class QueuedRun:
    """A run of a queue.

    Attributes:
        answers: Number of reviewers who answered.
        own: The reviewer's own answer; None if there is none.
    """

    run_id: str
    answers: int
    own: OwnAnswer | None


class OpenedRuns:
    """Remembers for ten minutes which reviewer got which run.

    So two reviewers at the same time do not get the same run if one answer is enough. A restart of
    the process forgets this; a run can then get one answer more than asked for.

    Args:
        clock: Returns the time in seconds; it never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, str, str], tuple[str, float]] = OrderedDict()

    def give(
        self, place: tuple[str, str], annotator: str, runs: Sequence[QueuedRun], people: int
    ) -> QueuedRun | None:
        """Choose the run that a reviewer labels next: the first one that still needs a reviewer.

        A run needs `people` answers. Answers that were given count, and so do other reviewers who
        have the run open now. If no run needs another reviewer, the first run is chosen.

        Args:
            place: Project and queue.
            annotator: Name of the reviewer.
            runs: Runs that the reviewer can still answer, in order.
            people: Reviewers per run.
        """
        now_s = self._clock()
        with self._lock:
            while self._held and next(iter(self._held.values()))[1] < now_s:
                self._held.popitem(last=False)
            others = Counter(
                run_id
                for (*at, name), (run_id, _) in self._held.items()
                if tuple(at) == place and name != annotator
            )
            self._held.pop((*place, annotator), None)
            free = (run for run in runs if run.answers + others[run.run_id] < people)
            given = next(free, runs[0] if runs else None)
            if given is not None:
                self._held[(*place, annotator)] = given.run_id, now_s + _IN_HAND_S
                if len(self._held) > _IN_HAND:
                    self._held.popitem(last=False)
        return given


def list_queues(reader: Reader, project: str, annotator: str, now_ns: int) -> list[QueueState]:
    """List the labelling queues of a project by name, each with its progress."""
    return [
        find_state(reader, project, make_queue(document), annotator, now_ns)
        for document in list_documents(reader, project, QUEUE)
    ]


def find_queue(reader: Reader, project: str, name: str) -> Queue:
    """Read a queue.

    Raises:
        Missing: There is no queue of that name.
    """
    return make_queue(read_document(reader, project, QUEUE, name))


def find_state(
    reader: Reader, project: str, queue: Queue, annotator: str, now_ns: int
) -> QueueState:
    """Return a queue with its progress for a reviewer."""
    runs = list_runs(reader, project, queue, annotator, now_ns)
    return QueueState(**queue.model_dump(), progress=_measure(queue, runs))


def write_draw(
    reader: Reader, project: str, queue: Queue, now_ns: int
) -> tuple[Sql, dict[str, Any]]:
    """Write the SQL that selects the runs of a labelling queue, and the values of its parameters.

    Returns:
        SQL that selects `trace_id`, `span_id`, `start_ns`, and two columns to sort by.
            `disagreement` is a number from 0 to 0.5. It is 0 if all judges agree on a run, and 0.5
            if half of the judges pass it. If the queue is not sorted by disagreement, it is always
            0. `drawn` is a random number per run. It is the same in each query.
    """
    query = RunsQuery(project, queue.where)
    condition, _ = compile_query(reader, query)
    if queue.run_ids:
        matching = condition.sql if queue.where.strip() else Sql("0")
        added = Sql("({matching}) OR ({added})").fill(matching=matching, added=_ADDED)
        condition = Condition(added, condition.parameters)
    split, join = Sql("0."), EMPTY
    if queue.order == "disagreement":
        kinds = find_record_kinds(reader, project)
        verdicts = all_scores(IN_WINDOW, has_keyed=kinds.keyed_scores)
        newest = newest_scores(verdicts, by=BY_JUDGE, where=OF_JUDGE)
        split, join = Sql("judged.split"), _SPLIT.fill(newest=newest)
    drawn = _DRAWN.fill(
        recorded=RECORDED,
        matching=MATCHING.fill(condition=condition.sql),
        split=split,
        join=join,
    )
    values = {
        **query.values(condition, now_ns),
        "seed": queue.seed,
        "limit": max(queue.limit, len(queue.run_ids)),
        "added": queue.run_ids,
        "added_traces": sorted({run_id.partition("-")[0] for run_id in queue.run_ids}),
    }
    return drawn, values


def list_runs(
    reader: Reader, project: str, queue: Queue, annotator: str, now_ns: int
) -> list[QueuedRun]:
    """List the runs of a queue in its order, with the number of answers."""
    drawn, values = write_draw(reader, project, queue, now_ns)
    sql = _QUEUED.fill(
        drawn=drawn,
        words=newest_labels(has_keyed=find_record_kinds(reader, project).keyed_scores),
        is_word=IS_WORD,
    )
    values |= {"judge": queue.judge, "annotator": annotator, "unanswered": queue.unanswered}
    return [
        QueuedRun(
            run_id_of(row),
            row["answers"],
            OwnAnswer(
                run_id=run_id_of(row),
                label=row["own_label"],
                score=row["own_score"],
                time=to_rfc3339(row["own_ns"]),
            )
            if row["mine"]
            else None,
        )
        for row in reader.rows(sql, values, ACROSS_PARTITIONS)
    ]


def _measure(queue: Queue, runs: Sequence[QueuedRun]) -> QueueProgress:
    return QueueProgress(
        runs=len(runs),
        done=sum(run.answers >= queue.people for run in runs),
        answered=sum(run.own is not None for run in runs),
        left=len(_list_left(queue, runs)),
    )


def _list_left(queue: Queue, runs: Sequence[QueuedRun]) -> list[QueuedRun]:
    return [run for run in runs if run.own is None and run.answers < queue.people]


def find_next(
    reader: Reader,
    project: str,
    queue: Queue,
    annotator: str,
    now_ns: int,
    *,
    hand: OpenedRuns,
    run_id: str | None = None,
    skipped: Collection[str] = (),
) -> NextRun:
    """Find the run that a reviewer labels next, or a certain run of the queue.

    Args:
        reader: The store.
        project: The project.
        queue: The labelling queue.
        annotator: Name of the reviewer.
        now_ns: The current time, in nanoseconds since 1970.
        hand: Remembers the runs that reviewers are labelling at the moment.
        run_id: ID of the run to return, even if it is already labelled. If None, the next run that
            needs an answer is chosen.
        skipped: IDs of the runs that the reviewer postponed. They are chosen after all others.

    Raises:
        Missing: The queue has no such run.
    """
    runs = list_runs(reader, project, queue, annotator, now_ns)
    left = _list_left(queue, runs)
    chosen: QueuedRun | None
    if run_id is not None:
        chosen = next((run for run in runs if run.run_id == run_id), None)
        if chosen is None:
            raise Missing(f"The queue {queue.name[:80]!r} has no run {run_id[:80]!r}")
    else:
        left.sort(key=lambda run: run.run_id in skipped)  # skipped runs come last
        chosen = hand.give((project, queue.name), annotator, left, queue.people)
    own = [run.own for run in runs if run.own is not None]
    return NextRun(
        queue=queue,
        choices=queue.choices,
        progress=_measure(queue, runs),
        run=None if chosen is None else _find_run(reader, project, queue, chosen, now_ns),
        last=sorted(own, key=lambda answer: answer.time, reverse=True)[:_LATEST_ANSWERS],
    )


def _find_run(
    reader: Reader, project: str, queue: Queue, chosen: QueuedRun, now_ns: int
) -> RunToJudge:
    run = find_run(reader, chosen.run_id, project, now_ns=now_ns)
    page = TracePage(limit=_CONTEXT_SPANS)
    trace = find_trace(reader, run.trace_id, project, now_ns=now_ns, page=page)
    is_shown = chosen.own is not None or not queue.hidden
    return make_run(run, trace.runs, is_shown=is_shown)


def make_run(run: Run, trace: Sequence[RunSummary], *, is_shown: bool) -> RunToJudge:
    """Make the view of a run for a reviewer.

    Args:
        run: The run.
        trace: The runs of its trace, oldest first.
        is_shown: Whether its scores and answers are shown.
    """
    return RunToJudge(
        run_id=run.run_id,
        model=run.model or run.name,
        version=run.version,
        start_time=run.start_time,
        latency_ms=run.latency_ms,
        outcome=run.outcome,
        error_type=run.error_type,
        error_message=run.error_message,
        inputs=run.inputs,
        outputs=run.outputs,
        capture=run.capture,
        spans=_lay_out(trace),
        evaluations=[*run.evaluations] if is_shown else None,
    )


def _lay_out(trace: Sequence[RunSummary]) -> list[JudgedSpan]:
    """Lay out a trace as a tree, without the calls of judges and the spans below them."""
    here = {run.run_id for run in trace}
    below: defaultdict[str | None, list[RunSummary]] = defaultdict(list)
    for run in trace:
        below[run.parent_run_id if run.parent_run_id in here else None].append(run)
    waiting = [(run, 0) for run in reversed(below.pop(None, []))]
    spans = []
    while waiting:
        run, level = waiting.pop()
        if run.kind == JUDGE_KIND:
            continue
        spans.append(
            JudgedSpan(
                name=run.model or run.name,
                kind=run.kind,
                level=level,
                latency_ms=run.latency_ms,
                outcome=run.outcome,
            )
        )
        waiting += [(child, level + 1) for child in reversed(below.pop(run.run_id, []))]
    return spans
