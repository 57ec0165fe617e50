"""Scores stored runs with a judge, and compares the scores with those of an earlier version.

The judge's code runs in this process, on its own thread pool. The scores are stored only if the
user asks for it, as one evaluation per run. Storing them twice changes nothing.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import orjson

from otel_ml.arguments import (
    check_callable,
    check_flag,
    check_integer,
    check_number,
    check_text,
    invalid,
    suggest,
)
from otel_ml.counts import write_count
from otel_ml.experiments.dataset import Dataset, Item, capture_of, check_rows, write_cut
from otel_ml.experiments.judgements import find_judgement, store_judgement
from otel_ml.experiments.options import BACKFILLED, BackfillOptions
from otel_ml.experiments.rejudged import RejudgedRuns
from otel_ml.experiments.rows import RejudgedRun
from otel_ml.experiments.stored_results import open_reader
from otel_ml.judges.judge import Judge, Judgement, is_in_sample
from otel_ml.judges.judged_call import JudgedCall
from otel_ml.judges.pool import JudgePool
from otel_ml.judges.ready import as_judge
from otel_ml.notebook import page_address
from otel_ml.reader import NotFound, Reader, Unreachable
from otel_ml.reader.listing import Runs
from otel_ml.recorder import Recorder
from otel_ml.records import ACTUAL_NAME
from otel_ml.statistics.judge_change import JudgeVersionChange
from otel_ml.statistics.scored_runs import JudgeScore
from otel_ml.statistics.sentences import write_judge_change

if TYPE_CHECKING:
    from otel_ml.export.delivery import Delivery
    from otel_ml.reader.records import Run

_MOST_SCORES: Final = 1_000_000
_FILTER_CHARS: Final = 65_536
_MOST_THREADS: Final = 256
_EXPECTED_RUNS: Final = "runs from reader.runs(...), or a filter on runs"
_NEWEST: Final = "newest"
_HOLD_S: Final = 3_600.0  # a stored run waits only for its judge, so an hour holds up nothing else
_SCORES_POLL_S: Final = 0.2
_END_S: Final = 1.0
_ROOM_EVERY: Final = 5_000
_SHOWN_FLIPS: Final = 10
# Experiments whose items are cached. Runs are listed by time, so those of one experiment are close.
_MOST_EXPERIMENTS: Final = 8
_MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Question:
    """What a judge gets for one run: inputs by name, output, and further values for the rubric."""

    inputs: Mapping[str, object]
    outputs: object
    more: Mapping[str, object]


class Backfill:
    """The result of `Client.judge`: a judge's new scores of stored runs.

    If an older version of the judge has scored the runs too, the scores of both are compared.

    Attributes:
        judge: The judge that scored the runs.
        against: Older version of the judge to compare with, such as ``v2``. Empty if there is no
            comparison.
        runs: The scored runs. They are kept in a temporary file, so they need little memory.
        left_out: Number of runs that were not scored, by reason.
        is_interrupted: Whether you pressed Ctrl+C before all runs were scored.
    """

    def __init__(
        self,
        recorder: Recorder,
        judge: Judge,
        against: str,
        runs: RejudgedRuns,
        left_out: Mapping[str, int],
        *,
        is_interrupted: bool,
    ) -> None:
        self._recorder = recorder
        self.judge = judge
        self.against = against
        self.runs = runs
        self.left_out = left_out
        self.is_interrupted = is_interrupted

    @property
    def errors(self) -> int:
        """Number of runs on which the judge itself failed."""
        return self.runs.counts.errors

    @property
    def stored(self) -> int:
        """Number of runs for which the collector already had a score of this judge version."""
        return self.runs.counts.stored

    @property
    def cost(self) -> float | None:
        """Cost of the judge's answers in US dollars. None if the judge does not report it."""
        return self.runs.cost

    @property
    def url(self) -> str:
        """Address of the judge's web page in the collector. Empty if there is none."""
        if not self._recorder.page:
            return ""
        project = self._recorder.project
        return page_address(self._recorder.page, project, "judges", self.judge.name)

    @cached_property
    def change(self) -> JudgeVersionChange | None:
        """How much stricter or milder the judge became, compared with its older version.

        Only runs that both versions scored are compared. None if there are no such runs.
        """
        return self.runs.compare()

    @property
    def flips(self) -> Sequence[RejudgedRun]:
        """Runs that pass with one version and fail with the other. New failures come first."""
        return self.runs.flips

    def write(self, timeout_s: float = 60.0) -> "Delivery":
        """Store the scores in the collector. Calling it again changes nothing.

        Args:
            timeout_s: Maximum time in seconds to wait until the scores are stored.

        Returns:
            The number of delivered records. In an `if`, it is true only if all records were
            delivered.
        """
        for number, run in enumerate(self.runs, 1):
            if not run.is_stored:
                store_judgement(self._recorder, self.judge, run.run_id, run.start_ns, run.after)
            if number % _ROOM_EVERY == 0:
                self._recorder.make_room()
        return self._recorder.flush(timeout_s)

    def to_json(self) -> str:
        """Return the summary and all scored runs as JSON text. `save` needs less memory."""
        return "".join(self._write_json())

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Write the summary and all scored runs to a JSON file, one run at a time.

        Raises:
            OSError: The file cannot be written.
        """
        with Path(path).open("w", encoding="utf-8") as file:
            file.writelines(self._write_json())

    def _write_json(self) -> Iterator[str]:
        change = self.change
        facts = {
            "judge": self.judge.name,
            "version": self.judge.version,
            "against": self.against or None,
            "judged": len(self.runs),
            "errors": self.errors,
            "cost": self.cost,
            "left_out": self.left_out,
            "is_interrupted": self.is_interrupted,
            "word": None if change is None else change.word,
            "sentence": None
            if change is None
            else str(write_judge_change(change, "it", self.against)),
            "agreement": None if change is None else change.agreement,
            "kappa": None if change is None else change.kappa,
            "before": None if change is None else change.comparison.baseline.estimate,
            "after": None if change is None else change.comparison.candidate.estimate,
            "difference": None if change is None else change.comparison.difference,
        }
        yield orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode().removesuffix("\n}")
        flips = ({"run_id": run.run_id, "turn": run.turn} for run in self.flips)
        yield from _write_list("flips", flips)
        yield from _write_list("runs", map(_facts_of, self.runs))
        yield "\n}"

    def __str__(self) -> str:
        """Return the outcome, the first runs that flip, and the skipped runs as text."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        counts = self.runs.counts
        ended = " (interrupted)" if self.is_interrupted else ""
        known = f", {counts.stored:,} of them earlier" if counts.stored else ""
        yield f"{self.judge.tag} judged {write_count(counts.runs, 'run')}{known}{ended}"
        if counts.errors:
            yield f"  it failed on {counts.errors:,}, first: {self.runs.first_error}"
        if self.change is not None:
            yield f"  {write_judge_change(self.change, 'it', self.against)}"
        elif counts.decided:
            yield f"  {100 * counts.passed / counts.decided:.1f} % of {counts.decided:,} pass"
        if self.against and self.change is None:
            yield f"  {self.against} has not scored these runs"
        for run in self.flips[:_SHOWN_FLIPS]:
            yield f"  {run.turn}: {self._page_of(run)}"
        if len(self.flips) > _SHOWN_FLIPS:
            count = len(self.flips)
            yield f"  the first {_SHOWN_FLIPS} of {count:,}; flips, or --json FILE, has all"
        for reason, count in self.left_out.items():
            yield f"  {count:,} left out: {reason}"

    def _page_of(self, run: RejudgedRun) -> str:
        recorder = self._recorder
        if not recorder.page:
            return run.run_id
        return page_address(recorder.page, recorder.project, "runs", run.run_id)


def judge_runs(
    recorder: Recorder,
    runs: Any,
    judge: Any,
    options: BackfillOptions,
) -> Backfill:
    """Score stored runs with a judge. See `otel_ml.Client.judge` for the arguments."""
    asked = as_judge(judge)
    given = _check(runs, asked, options)
    if not recorder.page:
        raise Unreachable("This client has no collector to read runs from: pass an endpoint")
    with open_reader(recorder) as reader:
        listed = reader.runs(runs) if issubclass(type(runs), str) else runs
        if isinstance(listed, Runs):
            listed = listed.with_whole_runs()
        return _Backfilling(recorder, reader, asked, given).run(listed)


def _check(runs: Any, judge: Judge, options: BackfillOptions) -> Mapping[str, Any]:
    """Check the options and add the defaults.

    Raises:
        ValueError: An option is invalid. The message names it.
        TypeError: An option is unknown.
    """
    given: dict[str, Any] = {**BACKFILLED, **options}
    for key in given.keys() - BackfillOptions.__annotations__.keys():
        raise TypeError(f"judge() got an unexpected keyword argument {key!r}")
    if issubclass(type(runs), str):
        check_text("runs", runs, _FILTER_CHARS, may_be_empty=True)
    else:
        check_rows("runs", runs, _EXPECTED_RUNS)
    if judge.pairwise:
        raise ValueError(f"Invalid judge {judge.name!r}: a pairwise judge compares two outputs")
    against = given["against"]
    if type(against) is int:
        check_integer("against", against, 1, _MOST_SCORES)
    elif against is not None:
        check_text("against", against)
    check_integer("concurrency", given["concurrency"], 1, _MOST_THREADS)
    if given["limit"] is not None:
        check_integer("limit", given["limit"], 1, _MOST_SCORES)
    check_number("sample", given["sample"], 0, 1)
    if given["rate"] is not None:
        check_number("rate", given["rate"], 0)
        if not given["rate"]:
            raise invalid("rate", given["rate"], "runs per minute above 0, or None")
    check_flag("write", given["write"])
    if given["progress"] is not None:
        check_callable("progress", given["progress"], "a function of a run, or None")
    return given


class _Backfilling:
    """One running backfill.

    Only the caller's thread reads runs, keeps scores and stores them. The judge's threads put their
    scores into a queue. At any time there are at most as many unfinished runs as threads, so an
    interruption loses few scores.
    """

    def __init__(
        self, recorder: Recorder, reader: Reader, judge: Judge, given: Mapping[str, Any]
    ) -> None:
        self._recorder = recorder
        self._reader = reader
        self._judge = judge
        self._given = given
        self._judged = RejudgedRuns()
        self._kept = 0
        self._left_out = Counter[str]()
        self._answers: SimpleQueue[tuple[int, RejudgedRun]] = SimpleQueue()
        self._under_way = 0
        self._next_s = 0.0
        self._items: dict[str, Mapping[str, Item]] = {}

    def run(self, runs: "Iterable[Run]") -> Backfill:
        """Score the runs that have no score yet. An interruption keeps the scores so far."""
        digest, against = self._find_against()
        is_interrupted = False
        pool = JudgePool(_HOLD_S, self._given["concurrency"] + 1)  # the pool reserves one thread
        try:
            for place, run in enumerate(self._choose(runs)):
                known = self._find_known(run, digest)
                if known.is_stored:
                    self._keep(place, known)
                    continue
                asked = self._ask(run)
                if isinstance(asked, str):
                    self._left_out[asked] += 1
                    continue
                self._wait_for_rate()
                while self._under_way >= self._given["concurrency"]:
                    self._take()
                self._submit(pool, place, known, asked)
            while self._under_way:
                self._take()
        except KeyboardInterrupt:
            is_interrupted = True
            while not self._answers.empty():
                self._take()
        finally:
            pool.close(0.0 if is_interrupted else _END_S)
        return Backfill(
            self._recorder,
            self._judge,
            against,
            self._judged,
            dict(self._left_out),
            is_interrupted=is_interrupted,
        )

    def _choose(self, runs: "Iterable[Run]") -> "Iterator[Run]":
        sample: float = self._given["sample"]
        chosen = (run for run in runs if is_in_sample(int(_run_id_of(run)[33:], 16), sample))
        return islice(chosen, self._given["limit"])

    def _find_against(self) -> tuple[str, str]:
        """Return digest and label (such as ``v2``) of the judge version to compare with.

        Raises:
            ValueError: There is no such version. The message lists the existing ones.
        """
        wanted = self._given["against"]
        if wanted is None:
            return "", ""
        try:
            versions = self._reader.judge_versions(self._judge.name)
        except NotFound:
            versions = []
        called = {
            version["digest"]: version["digest"][:12]
            if version["version"] is None
            else f"v{version['version']}"
            for version in versions
            if version["digest"]
        }
        if wanted == _NEWEST:
            others = (digest for digest in called if digest != self._judge.version)
            digest = next(others, "")
            return digest, called.get(digest, "")
        for digest, name in called.items():
            if str(wanted) in (digest, name, name[1:]):
                return digest, name
        raise ValueError(
            f"Invalid against {wanted!r}: expected a version of judge {self._judge.name!r}: "
            + suggest(str(wanted), called.values())
        )

    def _find_known(self, run: "Run", digest: str) -> RejudgedRun:
        """Return a run's stored scores: the one by this version, and the one to compare with."""
        judge = self._judge
        after = find_judgement(run, judge.name, judge.version)
        before = find_judgement(run, judge.name, digest) if digest else None
        is_stored = after is not None and not after.error
        return RejudgedRun(
            run.run_id,
            run.start_ns,
            f"session {run.session}" if run.session else f"trace {run.trace_id}",
            None if before is None else _score_of(before),
            after or Judgement(judge.name, judge.version),
            is_stored,
        )

    def _ask(self, run: "Run") -> _Question | str:
        """Return what the judge gets for a run, or the reason to skip the run."""
        if run.outcome != "ok":
            return f"ended with {run.outcome}" if run.latency_ms is not None else "without an end"
        inputs, outputs = run.inputs, run.outputs
        if inputs is None:
            return "without inputs"
        capture = capture_of(run)
        if cut := write_cut(capture, "inputs") or write_cut(capture, "outputs"):
            return cut
        by_name = inputs if type(inputs) is dict else {"inputs": inputs}
        return _Question(by_name, outputs, self._find_more(run))

    def _find_more(self, run: "Run") -> Mapping[str, object]:
        """Return the expected output: from the experiment's item, else the ground truth."""
        if run.experiment and run.item:
            if run.experiment not in self._items:
                if len(self._items) == _MOST_EXPERIMENTS:
                    del self._items[next(iter(self._items))]
                self._items[run.experiment] = self._read_items(run.experiment)
            item = self._items[run.experiment].get(run.item)
            if item is not None and item.digest == run.item_digest:
                return {"expected": item.expected, "item": item}
        if ACTUAL_NAME in run.truth:
            return {"expected": run.truth[ACTUAL_NAME]}
        return {}

    def _read_items(self, experiment: str) -> Mapping[str, Item]:
        with suppress(NotFound):
            answer = self._reader.experiment(experiment)
            version = f":v{answer.dataset_version}" if answer.dataset_version else ""
            dataset = Dataset.load(f"{answer.dataset}{version}", reader=self._reader)
            return {item.id: item for item in dataset.items}
        return {}

    def _wait_for_rate(self) -> None:
        """Wait until the rate limit allows the next run. Scores are received in the meantime."""
        rate = self._given["rate"]
        if rate is None:
            return
        while (left_s := self._next_s - time.monotonic()) > 0:
            self._take(min(left_s, _SCORES_POLL_S))
        self._next_s = max(self._next_s, time.monotonic() - _MINUTE_S / rate) + _MINUTE_S / rate

    def _submit(
        self,
        pool: JudgePool,
        place: int,
        run: RejudgedRun,
        question: _Question,
    ) -> None:
        def answer(judgement: Judgement) -> None:
            self._answers.put((place, replace(run, after=judgement)))

        def release(judgements: Sequence[Judgement]) -> None:
            for judgement in judgements:
                answer(judgement)

        self._under_way += 1
        asked = question.inputs, question.outputs, release, answer, run.run_id, question.more
        pool.submit(JudgedCall((self._judge,), *asked))

    def _take(self, wait_s: float = _SCORES_POLL_S) -> None:
        """Keep one score if it arrives in time.

        The wait is short so that an interruption is noticed.
        """
        with suppress(Empty):
            place, run = self._answers.get(timeout=wait_s)
            self._under_way -= 1
            self._keep(place, run)

    def _keep(self, place: int, run: RejudgedRun) -> None:
        self._judged.keep(place, run)
        self._kept += 1
        if self._given["write"] and not run.is_stored:
            store_judgement(self._recorder, self._judge, run.run_id, run.start_ns, run.after)
            if self._kept % _ROOM_EVERY == 0:
                self._recorder.make_room()
        if self._given["progress"] is not None:
            self._given["progress"](run)


def _write_list(name: str, items: Iterable[object]) -> Iterator[str]:
    """Yield a list as another member of a JSON object, one item per line."""
    yield f',\n  "{name}": ['
    separator = "\n    "
    for item in items:
        yield separator + orjson.dumps(item).decode()
        separator = ",\n    "
    yield "\n  ]"


def _facts_of(run: RejudgedRun) -> Mapping[str, object]:
    return {
        "run_id": run.run_id,
        "score": run.after.score,
        "passed": run.after.passed,
        "label": run.after.label,
        "explanation": run.after.explanation,
        "error": run.after.error,
        "before": run.before,
    }


def _score_of(judgement: Judgement) -> JudgeScore:
    return JudgeScore(
        judgement.passed, judgement.score, judgement.version, judgement.error is not None
    )


def _run_id_of(run: Any) -> str:
    if not hasattr(type(run), "evaluations"):
        raise invalid("runs", run, _EXPECTED_RUNS)
    run_id: str = run.run_id
    return run_id
