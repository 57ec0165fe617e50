"""Metrics of recorded runs by project, model, version and tags, and of their scores.

Runs are counted as plain numbers when they are stored. Labels, with their version numbers, are only
computed at a scrape.
"""

import math
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Generic, Literal, TypeVar

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from otel_ml_collector.background import BackgroundJob
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.owners import is_run
from otel_ml_collector.records import UNCOUNTED, Records, Run, run_id, text_of
from otel_ml_collector.records import Metric as Score
from otel_ml_collector.same_calls import CallShare, has_facts
from otel_ml_collector.settings.values import label_of

Key = TypeVar("Key")
Value = TypeVar("Value")
# The bounds of gen_ai.client.operation.duration, plus three lower ones for faster models.
# Spec: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
BOUNDS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
Labels = tuple[str, ...]
VersionKind = Literal["model", "judge"]
# Version numbers, by (name, digest, structure).
Versions = Mapping[tuple[str, str, str], int]
# Key of a run: project, start, trace ID and span ID.
RunKey = tuple[str, int, bytes, bytes]
# A label set: project, model, digest, structure, and the values of the tags.
Place = tuple[str, ...]
# A version: kind; project, name, digest and structure.
_Version = tuple[VersionKind, Place]
# Recorded usage of a run: input tokens, output tokens, US dollars.
_Used = tuple[int | None, int | None, float | None]

# Maximum number of runs that wait until it is known whether another run records the same call.
_MOST_WAITING: Final = 20_000
_SETS: Final = 2_000
_RECENT: Final = 20_000
_OTHER: Final = "other"
# Maximum number of projects with their own label sets.
_PROJECTS: Final = 100
# Maximum number of projects whose runs are counted to find the largest ones.
_SIZED_PROJECTS: Final = 10_000
_ASK_AGAIN_S: Final = 10.0
_LABEL_CHARS: Final = 200
_TAG_CHARS: Final = 100
_DIGEST_CHARS: Final = 8
_BOUNDS_NS: Final = tuple(int(bound * 1e9) for bound in BOUNDS_S)


def _name_version(number: int | None, digest: str) -> str:
    """Return the version as ``v3``, or the first digits of the digest if its number is unknown."""
    return digest[:_DIGEST_CHARS] if number is None else f"v{number}"


def _run_of(score: Score) -> RunKey:
    trace_id, _, span_id = score.owner.partition("-")
    start_ns = score.owner_start_ns
    return score.project, start_ns, bytes.fromhex(trace_id), bytes.fromhex(span_id)


class Remembered(Generic[Key, Value]):
    """A cache that keeps at least the last `number` values, and at most twice as many."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._newer: dict[Key, Value] = {}
        self._older: dict[Key, Value] = {}

    def find(self, key: Key) -> Value | None:
        """Return the value of a key; None if it is not in the cache."""
        value = self._newer.get(key)
        return self._older.get(key) if value is None else value

    def put(self, key: Key, value: Value) -> bool:
        """Store a value if the key is new. Return whether it was new."""
        if key in self._newer or key in self._older:
            return False
        if len(self._newer) >= self._number:
            self._older, self._newer = self._newer, {}
        self._newer[key] = value
        return True


class LargestProjects:
    """Chooses the projects that get time series of their own in `/metrics`: those with most runs.

    All other projects share one. A chosen project is replaced only by one with twice as many runs,
    so that time series seldom end.

    Args:
        most: Maximum number of chosen projects.
        sized: Maximum number of projects whose runs are counted to choose among them.
    """

    def __init__(self, most: int, sized: int = _SIZED_PROJECTS) -> None:
        self._most = most
        self._sized = sized
        self._sizes: dict[str, int] = {}
        self._chosen: set[str] = set()
        self._smallest = 0  # no chosen project has fewer runs than this

    def __contains__(self, project: str) -> bool:
        return project in self._chosen

    def admit(self, project: str) -> bool:
        """Choose a project if there is room. Return whether it is chosen."""
        if len(self._chosen) < self._most:
            self._chosen.add(project)
        return project in self._chosen

    def add_run(self, project: str) -> str | None:
        """Count a run of a project. Return the project that gave up its place, if one did."""
        size = self._sizes[project] = self._sizes.get(project, 0) + 1
        if len(self._sizes) > self._sized:
            self._forget_half()
        if self.admit(project):
            return None
        if size <= 2 * self._smallest:
            return None
        smallest = min(self._chosen, key=lambda name: self._sizes.get(name, 0))
        self._smallest = self._sizes.get(smallest, 0)
        if size <= 2 * self._smallest:
            return None
        self._chosen.remove(smallest)
        self._chosen.add(project)
        return smallest

    def _forget_half(self) -> None:
        """Halve all sizes, so that small projects are forgotten and new ones can grow."""
        self._sizes = {name: size // 2 for name, size in self._sizes.items() if size > 1}
        self._smallest //= 2


@dataclass(frozen=True, slots=True)
class _WaitingRun:
    """A run that is not counted yet because it may record the same call as another run."""

    key: RunKey
    place: Place
    latency_ns: int
    is_error: bool
    used: _Used


@dataclass(slots=True)
class RunCounts:
    """Counts of runs with the same labels.

    Attributes:
        is_other: Whether it collects everything beyond the limit of label sets.
        cost: US dollars of the runs with a known cost; None if there are none.
        buckets: Number of runs per bucket of `BOUNDS_S`, and one bucket for all above.
    """

    is_other: bool = False
    runs: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    latency_ns: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))

    def add(self, other: "RunCounts") -> None:
        """Add the counts of other runs."""
        self.runs += other.runs
        self.errors += other.errors
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.add_cost(other.cost)
        self.latency_ns += other.latency_ns
        self.buckets = [
            count + more for count, more in zip(self.buckets, other.buckets, strict=True)
        ]

    def add_cost(self, cost: float | None) -> None:
        """Add a cost in US dollars; None is ignored."""
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost


@dataclass(slots=True)
class ScoreCounts:
    """Counts of a judge's scores."""

    scores: int = 0
    total: float = 0.0
    passed: int = 0
    failed: int = 0
    errors: int = 0

    def add(self, other: "ScoreCounts") -> None:
        """Add the counts of other scores."""
        self.scores += other.scores
        self.total += other.total
        self.passed += other.passed
        self.failed += other.failed
        self.errors += other.errors


def make_run_metrics(names: Sequence[str], counts: Mapping[Labels, RunCounts]) -> Iterable[Metric]:
    """Return the metrics of recorded runs.

    Args:
        names: Names of the labels.
        counts: Counts by the values of the labels.
    """
    runs = CounterMetricFamily("otel_ml_runs", "Recorded runs", labels=names)
    errors = CounterMetricFamily(
        "otel_ml_run_errors", "Recorded runs that ended with an error", labels=names
    )
    tokens = CounterMetricFamily(
        "otel_ml_run_tokens", "Tokens of recorded runs", labels=[*names, "type"]
    )
    cost = CounterMetricFamily(
        "otel_ml_run_cost_usd",
        "Cost in US dollars of recorded runs with a known cost",
        labels=names,
    )
    latency = HistogramMetricFamily(
        "otel_ml_run_duration_seconds", "Latency of recorded runs", labels=names
    )
    for labels, count in counts.items():
        runs.add_metric(labels, count.runs)
        errors.add_metric(labels, count.errors)
        tokens.add_metric([*labels, "input"], count.input_tokens)
        tokens.add_metric([*labels, "output"], count.output_tokens)
        if count.cost is not None:
            cost.add_metric(labels, count.cost)
        bounds = (*map(str, BOUNDS_S), "+Inf")
        buckets = list(zip(bounds, accumulate(count.buckets), strict=True))
        latency.add_metric(labels, buckets, count.latency_ns / 1e9)
    return runs, errors, tokens, cost, latency


def make_score_metrics(
    names: Sequence[str], counts: Mapping[Labels, ScoreCounts]
) -> Iterable[Metric]:
    """Return the metrics of scores of recorded runs.

    Args:
        names: Names of the labels.
        counts: Counts by the values of the labels.
    """
    scores = SummaryMetricFamily(
        "otel_ml_judge_score", "Sum and number of scores of recorded runs", labels=names
    )
    verdicts = CounterMetricFamily(
        "otel_ml_judge_verdicts",
        "Recorded runs that passed or failed a judge",
        labels=[*names, "passed"],
    )
    errors = CounterMetricFamily(
        "otel_ml_judge_errors", "Judge calls that raised an error", labels=names
    )
    for labels, count in counts.items():
        scores.add_metric(labels, count.scores, count.total)
        verdicts.add_metric([*labels, "true"], count.passed)
        verdicts.add_metric([*labels, "false"], count.failed)
        errors.add_metric(labels, count.errors)
    return scores, verdicts, errors


class RunNumbers(Collector):
    """Metrics of recorded runs and their scores, counted when they are stored.

    * A run is counted once while it is among the last 20,000. The same holds for a score.
    * If several runs record the same call, only one is counted. Usually it is the one that queries
      count, too. If another one arrived earlier, that one stays counted, because counters never
      decrease.
    * Scores of experiment runs and of duplicate records of a call are not counted.
    * A score whose run is not among the last 20,000 has no model. It waits until the store says
      whether its run belongs to an experiment.
    * Everything beyond `sets` label sets is counted under the model ``other``.
    * Only the `projects` largest projects have label sets. All others are counted together under
      the project and model ``other``.

    Args:
        tags: Names of the tags that become labels.
        read_versions: Reads version numbers from the store, for a project, models or judges, and
            their names.
        find_shares: Reads from the store what counts for some runs, by run id. Runs whose own data
            count are left out.
        find_experiment_traces: Reads from the store which of the given traces of a project belong
            to experiments.
        sets: Limit of label sets.
        projects: Limit of projects with label sets of their own.
        recent: Number of runs to remember.
    """

    def __init__(
        self,
        tags: Sequence[str],
        read_versions: Callable[[str, VersionKind, Sequence[str]], Versions],
        find_shares: Callable[[Sequence[RunKey]], Mapping[str, CallShare]] = lambda runs: {},
        find_experiment_traces: Callable[[str, Collection[bytes]], Collection[bytes]] = (
            lambda project, traces: ()
        ),
        *,
        sets: int = _SETS,
        projects: int = _PROJECTS,
        recent: int = _RECENT,
    ) -> None:
        self._tags = tuple(tags)
        self._labels = ("project", "model", "version", *map(label_of, self._tags))
        self._read_versions = read_versions
        self._sets = sets
        self._lock = threading.Lock()
        self._runs: dict[Place, RunCounts] = {}
        self._scores: dict[tuple[Place, str, str], ScoreCounts] = {}
        self._opened = 0
        self._largest = LargestProjects(projects)
        self._folded = 0
        self._places: Remembered[tuple[str, bytes, bytes], Place] = Remembered(recent)
        self._scored: Remembered[tuple[str, str, str, str], bool] = Remembered(recent)
        self._experiments: Remembered[tuple[str, bytes], bool] = Remembered(recent)
        self._find_shares = find_shares
        self._find_experiment_traces = find_experiment_traces
        self._settling = threading.Lock()
        self._waiting: list[_WaitingRun] = []
        self._waiting_scores: list[Score] = []
        # Run ids: all runs that had to wait, and those of them that were counted.
        self._waited: Remembered[str, bool] = Remembered(recent)
        self._counted: Remembered[str, bool] = Remembered(recent)
        self._asking = threading.Lock()
        self._ask_again_s = 0.0
        self._asked: set[_Version] = set()
        self._numbers: dict[_Version, int] = {}

    def count(self, records: Records, waiting: Collection[str] = ()) -> None:
        """Count stored records. Takes about 1 µs per run.

        Args:
            records: Records that were stored.
            waiting: Projects in which several runs may record the same call. Their runs are not
                counted here; `count_pending` counts them later, once for each call.
        """
        with self._lock:
            for run in (*records.open_runs, *records.runs):
                if run.experiment:
                    self._experiments.put((run.project, run.trace_id), True)
            for run in records.runs:
                if run.kind not in UNCOUNTED and not self._is_of_item(run):
                    self._count_run(run, run.project in waiting and has_facts(run))
            for score in records.metrics:
                if score.source == "judge" and is_run(score.owner):
                    self._take_score(score, score.project in waiting)

    def has_pending(self) -> bool:
        """Return whether runs or scores wait for `count_pending`."""
        return bool(self._waiting or self._waiting_scores)

    def list_jobs(self, is_resolving: Callable[[], bool]) -> Sequence[BackgroundJob]:
        """List the job that counts runs once it is known whether another records the same call.

        Args:
            is_resolving: Returns whether there are calls about which this is not known yet.
        """
        return [
            BackgroundJob(
                self.count_pending,
                0.25,
                "New runs are not counted in /metrics yet. The collector retries; if this line "
                "repeats, check the disk and the store. Reason",
                has_work=lambda: self.has_pending() or is_resolving(),
            )
        ]

    def count_pending(self) -> None:
        """Count the waiting runs, but only one of those that record the same call.

        Raises:
            Unavailable: The store failed; the runs keep waiting.
        """
        with self._settling:
            with self._lock:
                waiting, scores = self._waiting.copy(), self._waiting_scores.copy()
            keys = [*(run.key for run in waiting), *map(_run_of, scores)]
            shares = self._find_shares(keys)
            self._note_experiments(scores)
            with self._lock:
                del self._waiting[: len(waiting)], self._waiting_scores[: len(scores)]
                for run in waiting:
                    self._count_later(run, shares)
                for score in scores:
                    share = shares.get(score.owner)
                    is_repeat = share is not None and share.record_of
                    if not is_repeat and not self._is_of_experiment(score):
                        self._count_score(score)

    def _note_experiments(self, scores: Sequence[Score]) -> None:
        """Ask the store which unknown traces belong to experiments, and remember them."""
        unknown: defaultdict[str, set[bytes]] = defaultdict(set)
        with self._lock:
            for score in scores:
                project, _, trace_id, span_id = _run_of(score)
                if self._places.find((project, trace_id, span_id)) is None:
                    unknown[project].add(trace_id)
        for project, traces in unknown.items():
            experiment_traces = self._find_experiment_traces(project, traces)
            with self._lock:
                for trace_id in experiment_traces:
                    self._experiments.put((project, trace_id), True)

    def describe(self) -> Iterable[Metric]:
        """Return no metrics, so that the store is not queried at the start."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        with suppress(Unavailable):  # the next call counts the runs that are left
            self.count_pending()
        self._number_versions()
        runs: defaultdict[Labels, RunCounts] = defaultdict(RunCounts)
        scores: defaultdict[Labels, ScoreCounts] = defaultdict(ScoreCounts)
        with self._lock:
            for place, counts in self._runs.items():
                runs[self._label(place)].add(counts)
            for (place, judge, digest), score in self._scores.items():
                version = _name_version(
                    self._numbers.get(("judge", (place[0], judge, digest, ""))), digest
                )
                scores[(*self._label(place), judge, version)].add(score)
            folded = CounterMetricFamily(
                "otel_ml_runs_folded",
                "Recorded runs counted under the model other, beyond the limit of label sets",
                value=self._folded,
            )
        return (
            *make_run_metrics(self._labels, runs),
            *make_score_metrics((*self._labels, "judge", "judge_version"), scores),
            folded,
        )

    def _is_of_item(self, run: Run) -> bool:
        """Return whether a run is known to belong to an experiment."""
        is_part = self._experiments.find((run.project, run.trace_id))
        return bool(run.experiment) or is_part is not None

    def _count_run(self, run: Run, is_waiting: bool) -> None:
        if gone := self._largest.add_run(run.project):
            self._drop(gone)
        place: Place = (run.project, run.model[:_LABEL_CHARS], run.digest, run.structure)
        if self._tags:
            values = dict.fromkeys(self._tags, "")
            for tag in run.tags:
                if tag.name in values:
                    values[tag.name] = text_of(tag.value)[:_TAG_CHARS]
            place += tuple(values.values())
        place = self._open(place)
        if not self._places.put((run.project, run.trace_id, run.span_id), place):
            return
        latency_ns, is_error = run.end_ns - run.start_ns, run.outcome == "error"
        used = run.input_tokens, run.output_tokens, run.cost
        if is_waiting and len(self._waiting) < _MOST_WAITING:
            key = (run.project, run.start_ns, run.trace_id, run.span_id)
            self._waiting.append(_WaitingRun(key, place, latency_ns, is_error, used))
            self._waited.put(f"{run.run_id} {run.project}", True)
            return
        self._add(place, latency_ns, is_error, used)

    def _add(self, place: Place, latency_ns: int, is_error: bool, used: _Used) -> None:
        input_tokens, output_tokens, cost = used
        counts = self._runs[self._open(place)]
        counts.runs += 1
        counts.latency_ns += latency_ns
        counts.buckets[bisect_left(_BOUNDS_NS, latency_ns)] += 1
        counts.errors += is_error
        counts.input_tokens += input_tokens or 0
        counts.output_tokens += output_tokens or 0
        counts.add_cost(cost)
        if counts.is_other:
            self._folded += 1

    def _count_later(self, run: _WaitingRun, shares: Mapping[str, CallShare]) -> None:
        """Count a run that waited, unless another run of the same call was counted."""
        project, _, trace_id, span_id = run.key
        name = run_id(trace_id, span_id)
        share = shares.get(name)
        used = run.used
        if share is not None:
            if share.record_of or any(
                self._was_counted(project, other.trace_id or trace_id, other.span_id)
                for other in share.others
            ):
                return
            used = share.tokens.input, share.tokens.output, share.cost
        self._counted.put(f"{name} {project}", True)
        self._add(run.place, run.latency_ns, run.is_error, used)

    def _was_counted(self, project: str, trace_id: bytes, span_id: bytes) -> bool:
        name = f"{run_id(trace_id, span_id)} {project}"
        is_known = self._places.find((project, trace_id, span_id)) is not None
        return is_known and not (self._waited.find(name) and not self._counted.find(name))

    def _take_score(self, score: Score, is_waiting: bool) -> None:
        """Count a score, or let it wait until it is known whether its run counts.

        Scores of experiments are ignored.
        """
        project, _, trace_id, span_id = _run_of(score)
        key = (score.project, score.owner, score.name, score.judge_version)
        if self._is_of_experiment(score) or not self._scored.put(key, True):
            return
        is_unknown = self._places.find((project, trace_id, span_id)) is None
        if (is_waiting or is_unknown) and len(self._waiting_scores) < _MOST_WAITING:
            self._waiting_scores.append(score)
        else:
            self._count_score(score)

    def _is_of_experiment(self, score: Score) -> bool:
        _, _, trace_id, _ = _run_of(score)
        return self._experiments.find((score.project, trace_id)) is not None

    def _count_score(self, score: Score) -> None:
        project, _, trace_id, span_id = _run_of(score)
        place = self._places.find((project, trace_id, span_id)) or self._empty(score.project, "")
        if not self._largest.admit(score.project):
            place = self._empty(_OTHER, _OTHER)
        judged = (place, score.name[:_LABEL_CHARS], score.judge_version[:_LABEL_CHARS])
        if judged not in self._scores and len(self._scores) >= self._sets:
            judged = (self._empty(place[0], _OTHER), _OTHER, "")
        counts = self._scores.setdefault(judged, ScoreCounts())
        if score.error:
            counts.errors += 1
            return
        if score.value is not None and math.isfinite(score.value):
            counts.scores += 1
            counts.total += score.value
        if score.passed is not None:
            counts.passed += score.passed
            counts.failed += not score.passed

    def _open(self, place: Place) -> Place:
        """Return the label set that counts a place. Beyond a limit it counts others, too."""
        if place in self._runs:
            return place
        project = place[0]
        if project in self._largest and self._opened < self._sets:
            self._opened += 1
            self._runs[place] = RunCounts()
            return place
        if project not in self._largest:
            project = _OTHER
        place = self._empty(project, _OTHER)
        self._runs.setdefault(place, RunCounts(is_other=True))
        return place

    def _drop(self, project: str) -> None:
        """Delete the label sets of a project that has none any more; its next runs are others."""
        for place in [place for place in self._runs if place[0] == project]:
            self._opened -= not self._runs.pop(place).is_other
        for judged in [judged for judged in self._scores if judged[0][0] == project]:
            del self._scores[judged]

    def _empty(self, project: str, model: str) -> Place:
        return (project, model, "", "", *("" for _ in self._tags))

    def _label(self, place: Place) -> Labels:
        project, model, digest, _, *tags = place
        number = self._numbers.get(("model", place[:4]))
        return (project, model, _name_version(number, digest), *tags)

    def _number_versions(self) -> None:
        """Ask the store for unknown version numbers, at most every 10 s for the same version."""
        with self._asking:
            now_s = time.monotonic()
            if now_s >= self._ask_again_s:
                self._ask_again_s = now_s + _ASK_AGAIN_S
                self._asked.clear()
            with self._lock:
                versions: set[_Version] = {("model", place[:4]) for place in self._runs if place[2]}
                versions |= {
                    ("judge", (place[0], judge, digest, ""))
                    for place, judge, digest in self._scores
                    if digest
                }
            unknown = versions - self._numbers.keys() - self._asked
            self._asked |= unknown
            wanted: defaultdict[tuple[str, VersionKind], set[str]] = defaultdict(set)
            for kind, (project, name, *_) in unknown:
                wanted[project, kind].add(name)
            try:
                for (project, kind), names in wanted.items():
                    stored_versions = self._read_versions(project, kind, sorted(names))
                    for version, number in stored_versions.items():
                        if (kind, (project, *version)) in unknown:
                            self._numbers[kind, (project, *version)] = number
            except Unavailable:  # show the digest until the store answers
                return
