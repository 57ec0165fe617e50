"""Runs recorded inputs on today's code: an experiment whose baseline is the recorded runs.

The data set is built from the runs. The id of each item is the id of its run. If a judge has not
scored a recorded run yet, it does so now, and the score is stored with that run.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson

from otel_ml.arguments import check_integer, check_one_of, check_text, invalid, suggest
from otel_ml.attributes import RUN_ID
from otel_ml.experiments.dataset import Dataset, Item, capture_of, write_cut
from otel_ml.experiments.execution import (
    About,
    Asked,
    Progress,
    Target,
    Threads,
    Work,
    run_here,
)
from otel_ml.experiments.experiment import (
    OnItem,
    is_on_loop,
    prepare,
    run_prepared,
)
from otel_ml.experiments.inputs import NotRebuiltError, Recorded, rebuild
from otel_ml.experiments.judgements import find_judgement, store_judgement
from otel_ml.experiments.options import REPLAYED, EvaluateOptions, ExperimentOptions, ReplayOptions
from otel_ml.experiments.result import Result
from otel_ml.experiments.rows import Experiment, ItemRun
from otel_ml.experiments.stored_results import (
    find_replayed,
    open_reader,
    recorded_experiment,
)
from otel_ml.judges.judge import Judge
from otel_ml.reader import NotFound, Unreachable
from otel_ml.recorder import Recorder
from otel_ml.records import ACTUAL_NAME
from otel_ml.statistics.report import write_left_out
from otel_ml.stubs import Answers, RecordedAnswer, answer_from, key_of, stubbing

if TYPE_CHECKING:
    from otel_ml.reader.reader import Reader
    from otel_ml.reader.records import Run

RecordedAnswers = Mapping[tuple[str, bytes], Sequence[RecordedAnswer]]

_MOST_REPLAYED: Final = 100_000
_FILTER_CHARS: Final = 65_536
_EXPECTED_RUNS: Final = "a filter on runs, or runs from reader.runs(...)"
_ENDED: Final = frozenset({"ok", "error"})


@dataclass(frozen=True)
class RecordedTarget(Target):
    """The function that a replay calls, with the inputs of recorded calls."""

    recorded: Recorded = field(kw_only=True)

    def arguments(self, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Convert recorded inputs to positional and keyword arguments, as in the recorded call."""
        args, kwargs = super().arguments(inputs)
        return (args, kwargs) if args else self.recorded.spread(kwargs)


@dataclass(frozen=True)
class _JudgedRecord(Work):
    """Scores recorded outputs. The function is not called, and no new run is recorded.

    Attributes:
        items: The items by id. The inputs of a job's item are this id.
    """

    items: Mapping[str, Item] = field(kw_only=True)

    def judged(self, item: Item, repeat: int, output: object, run_id: str) -> Iterator[Asked]:
        """Yield what judges score: a recorded output with the inputs of its run."""
        return super().judged(self.items[item.id], repeat, output, item.id)


@dataclass
class Replay:
    """A replay: calls of a function with recorded inputs, to compare new and recorded outputs.

    Creating it calls nothing. Print it to see how many runs it will replay, and how much they cost
    when they were recorded. Then call `run` to start.

    Attributes:
        read: Number of runs that were read from the collector.
        left_out: Number of runs that cannot be replayed, by reason.
        items: The inputs of the runs, as a data set. The id of each item is the id of its run.
        recorded: The recorded runs by item id.
        starts: Start times of the recorded runs by item id, in nanoseconds since the epoch (UTC).
        answers: Recorded results of the functions in the option `stub`, by item id. During the
            replay, these results are used instead of calls of the functions.
    """

    recorder: Recorder
    function: Callable[..., Any]
    target: RecordedTarget
    judges: Sequence[Judge]
    options: Mapping[str, Any]
    read: int
    left_out: Mapping[str, int]
    items: Dataset
    recorded: dict[str, ItemRun]
    starts: Mapping[str, int]
    answers: Mapping[str, RecordedAnswers]

    @property
    def unspoken(self) -> Mapping[str, list[str]]:
        """IDs of recorded runs that a judge has not scored yet, by name of the judge.

        `run` lets the judge score them first.
        """
        return {
            judge.name: missing
            for judge in self.judges
            if not judge.pairwise
            and (
                missing := [
                    run_id
                    for run_id, run in self.recorded.items()
                    if run.outcome == "ok" and judge.name not in run.judgements
                ]
            )
        }

    @property
    def cost(self) -> float | None:
        """Cost of the recorded runs in US dollars. None if unknown."""
        costs = [run.cost for run in self.recorded.values() if run.cost is not None]
        return sum(costs) if costs else None

    def __str__(self) -> str:
        """Return a summary: replayed runs, skipped runs with reasons, and the likely cost."""
        count, repeats = len(self.items), self.options["repeats"]
        items = [f"{self.read:,} recorded runs: {count:,} to replay"]
        if repeats > 1:
            items[0] += f", each {repeats:,} times"
        if self.left_out:
            items.append(write_left_out(self.left_out))
        if self.cost is not None:
            items.append(f"as recorded they cost ${self.cost * repeats:,.2f}")
        items += [
            f"{name} is not called: {count:,} recorded calls of it answer"
            for name, count in self._stubbed.items()
        ]
        items += [
            f"{name} has not judged {len(runs):,} of the recorded runs: it is asked, and what it "
            "says is stored with them"
            for name, runs in self.unspoken.items()
        ]
        return "\n".join(items)

    @property
    def _stubbed(self) -> Mapping[str, int]:
        keys = (key for answers in self.answers.values() for key in answers.items())
        counts = Counter(dict.fromkeys(self.options["stub"], 0))
        for (name, _), given in keys:
            counts[name] += len(given)
        return counts

    def run(self, on_item: OnItem = lambda _: None) -> Result:
        """Call the function with the recorded inputs, and compare new and recorded outputs.

        Recorded outputs without a score are scored first, so that their scores can be compared with
        those of the new outputs.

        Args:
            on_item: Called with each finished run.

        Raises:
            KeyboardInterrupt: The replay was interrupted before the function was called.
        """
        self._judge_recorded()
        prepared = prepare(
            self.recorder, self.function, self.items, self.judges, self._evaluate_options
        )
        prepared.target = self.target
        prepared.before_call = self._answer
        facts = {
            **prepared.comparison.chosen,
            "recorded": [min(self.starts.values()), max(self.starts.values())],
        }
        if self.left_out:
            facts["left_out"] = dict(self.left_out)
        prepared.comparison = replace(prepared.comparison, chosen=facts)
        calls_misses = self.options["on_miss"] == "call"
        with stubbing(self.options["stub"], calls_misses=calls_misses):
            return run_prepared(prepared, on_item)

    def _answer(self, item: Item) -> None:
        """Make the stubbed functions return what they returned in the recorded run."""
        if self.options["stub"]:
            answer_from(Answers(self.answers.get(item.id, {}), _rebuild_output))

    @property
    def _evaluate_options(self) -> EvaluateOptions:
        return {**_common_options(self.options), "baseline": self._baseline}

    @property
    def _baseline(self) -> Result:
        about = Experiment(
            id="",
            name="",
            function=self.target.traced.name,
            version="",
            dataset=self.items.name,
            dataset_version=self.items.digest,
            items=len(self.items),
            repeats=1,
            judges={},
        )
        about = recorded_experiment(about, min(self.starts.values()))
        return Result(about, [self.recorded[item.id] for item in self.items])

    def _judge_recorded(self) -> None:
        """Score recorded outputs with judges that have not scored them, and store the scores."""
        missing: defaultdict[tuple[Judge, ...], list[str]] = defaultdict(list)
        unspoken = {name: {*runs} for name, runs in self.unspoken.items()}
        for item in self.items:
            judges = tuple(
                judge for judge in self.judges if item.id in unspoken.get(judge.name, ())
            )
            if judges:
                missing[judges].append(item.id)
        for judges, ids in missing.items():
            progress = Progress(self.recorder, self._keep)
            work = _JudgedRecord(
                Target(lambda run_id: self.recorded[run_id].outputs, self.target.traced),
                self.recorder,
                judges,
                (),
                lambda _item, _repeat: None,
                None,
                About({}),
                is_recorded=False,
                items={item.id: item for item in self.items},
            )
            jobs = [(replace(self.items[run_id], inputs=run_id), 0) for run_id in ids]
            if self.options["concurrency"] == 1:
                run_here(work, jobs, progress)
            else:
                Threads(work, jobs, progress).run(self.options["concurrency"])
            if progress.is_interrupted:
                raise KeyboardInterrupt

    def _keep(self, judged: ItemRun) -> None:
        """Store the scores of one recorded run with that run."""
        run = self.recorded[judged.item]
        self.recorded[judged.item] = replace(
            run, judgements={**run.judgements, **judged.judgements}
        )
        for judge in self.judges:
            judgement = judged.judgements.get(judge.name)
            if judgement is not None and self.recorder.active() is not None:
                start_ns = self.starts[judged.item]
                store_judgement(self.recorder, judge, judged.item, start_ns, judgement)


def replay(
    recorder: Recorder,
    function: Callable[..., Any],
    runs: Any,
    judges: Sequence[Any],
    options: ReplayOptions,
    *,
    on_item: OnItem = lambda _: None,
) -> Result:
    """Replay recorded runs on a function. See `otel_ml.Client.replay`."""
    if is_on_loop():
        raise RuntimeError(
            "replay() would block the running event loop: call it on another thread, such as with "
            "await asyncio.to_thread(...)"
        )
    return plan_replay(recorder, function, runs, judges, options).run(on_item)


def plan_replay(
    recorder: Recorder,
    function: Callable[..., Any],
    runs: Any,
    judges: Sequence[Any],
    options: ReplayOptions,
) -> Replay:
    """Read recorded runs and check which can be replayed. The function is not called.

    Raises:
        ValueError: An argument is invalid, no run matches, or none can be replayed. The message
            says which.
        TypeError: An option is unknown.
        ReaderError: The collector does not respond, or the client does not send to a collector.
    """
    given: dict[str, Any] = {**REPLAYED, **options}
    for key in given.keys() - ReplayOptions.__annotations__.keys():
        raise TypeError(f"replay() got an unexpected keyword argument {key!r}")
    check_integer("limit", given["limit"], 1, _MOST_REPLAYED)
    check_one_of("on_miss", given["on_miss"], {"raise", "call"})
    resume = given["resume"]
    if issubclass(type(resume), str) and resume != "auto" and not RUN_ID.fullmatch(resume):
        raise invalid("resume", resume, "'auto', the run id of a replay, or False")
    if not issubclass(type(given["stub"]), list | tuple | set | frozenset):
        raise invalid("stub", given["stub"], "a list of names of traced functions")
    given["stub"] = [check_text("stub", name) for name in given["stub"]]
    limit, stub = given["limit"], given["stub"]
    # Check the other options before any run is read.
    checked = prepare(recorder, function, [], judges, _common_options(given))
    asked, bare = checked.judges, checked.target
    recorded = Recorded(bare.function)
    target = RecordedTarget(bare.function, bare.traced, recorded=recorded)
    given_runs = _check_runs(runs, limit)
    if not recorder.page:
        raise Unreachable("This client has no collector to read runs from: pass an endpoint")
    name = given["name"] = given["name"] or f"replay of {target.traced.name}"
    params = given["params"] = _params_of(given, runs)
    with open_reader(recorder) as reader:
        taken = _Taken(asked, recorded)
        begun = None
        if given["resume"]:
            document = orjson.loads(recorder.redaction.encode(params).text)
            named = "auto" if given["resume"] is True else given["resume"]
            begun = find_replayed(reader, named, name, target.traced.name, document)
        listed: Iterable[Run]
        if begun is None:
            listed = reader.runs(runs, limit=limit) if given_runs is None else given_runs
        else:
            listed = taken.go_on(reader, *begun)
        for run in listed:
            taken.take(run)
        called: set[str] = set()
        answers = {row: _read_answers(reader, row, stub, called) for row in taken.recorded if stub}
    if not taken.read:
        raise invalid("runs", runs, "a filter that matches at least one run")
    if not taken.rows:
        raise ValueError(f"None of the runs can be replayed: {write_left_out(taken.left_out)}")
    if stub:
        _check_stubs(stub, called)
    items = Dataset(f"{target.traced.name} replayed", taken.rows)
    return Replay(
        recorder,
        function,
        target,
        asked,
        given,
        taken.read,
        dict(taken.left_out),
        items,
        {item.id: replace(taken.recorded[item.id], **_facts_of(item)) for item in items},
        taken.starts,
        answers,
    )


def _params_of(given: Mapping[str, Any], runs: Any) -> dict[str, Any]:
    """Return the params of the experiment: those of the user, and the description of the replay."""
    params = {} if not isinstance(runs, str) else {"where": runs, "limit": given["limit"]}
    if given["stub"]:
        params |= {"stub": [*given["stub"]], "on_miss": given["on_miss"]}
    return {**params, **(given["params"] or {})}


def _check_stubs(stub: Sequence[str], called: Collection[str]) -> None:
    """Raise a ValueError for a stub that no recorded call called. It would be called for real."""
    for name in stub:
        if name not in called:
            raise invalid("stub", name, f"a function that these runs call; {suggest(name, called)}")


def _common_options(given: Mapping[str, Any]) -> EvaluateOptions:
    return {name: given[name] for name in ExperimentOptions.__annotations__}  # type: ignore[return-value]  # of these keys


def _facts_of(item: Item) -> dict[str, Any]:
    return {
        "digest": item.digest,
        "tags": item.tags,
        "source_run": item.source_run,
        "source_session": item.source_session,
        "inputs": item.inputs,
    }


def _rebuild_output(function: Callable[..., Any], recorded: Any) -> Any:
    return Recorded(function).output(recorded)


def _read_answers(
    reader: "Reader", run_id: str, stub: Collection[str], called: set[str]
) -> RecordedAnswers:
    """Return the recorded answers of the stubbed functions inside a run, the oldest first.

    Calls that were not recorded completely are left out. The names of all called functions are
    added to `called`.
    """
    runs = reader.trace(run_id.partition("-")[0]).runs
    below = {run_id}
    recorded_answers: defaultdict[tuple[str, bytes], list[RecordedAnswer]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.start_ns):
        if run.parent_run_id not in below:
            continue
        below.add(run.run_id)
        called.add(run.model)
        if run.model in stub and (answer := _read_answer(run)) is not None:
            recorded_answers[key_of(run.model, run.inputs)].append(answer)
    return recorded_answers


def _read_answer(run: "Run") -> RecordedAnswer | None:
    capture = capture_of(run)
    if capture.get("inputs") or run.inputs is None or run.outcome not in _ENDED:
        return None
    if run.outcome == "error":
        return RecordedAnswer(
            run.run_id, error_type=run.error_type or "Exception", error_message=run.error_message
        )
    if capture.get("outputs"):
        return None
    with suppress(NotRebuiltError):
        return RecordedAnswer(run.run_id, run.outputs, tuple(rebuild(run.chunks, Any) or ()))
    return None


def _check_runs(runs: Any, limit: int) -> "list[Run] | None":
    """Return the list of runs that the user passed. None if the user passed a filter."""
    if issubclass(type(runs), str):
        check_text("runs", runs, _FILTER_CHARS)
        return None
    if issubclass(type(runs), Mapping) or not hasattr(type(runs), "__iter__"):
        raise invalid("runs", runs, _EXPECTED_RUNS)
    given = [*islice(runs, limit)]
    if not given or not all(hasattr(type(run), "evaluations") for run in given):
        raise invalid("runs", runs, _EXPECTED_RUNS)
    return given


def _find_logged(run: "Run", name: str) -> "Iterator[Any]":
    """Yield complete values that a run logged under a parameter's name, the newest first."""
    for artifact in run.artifacts:
        if artifact.ref == name and not artifact.kept:
            with suppress(NotFound, ValueError, ImportError):
                value = artifact.load()
                yield value.data if type(value).__module__.startswith("otel_ml.types") else value


class _Taken:
    """The runs that were read: those that can be replayed, and why the others cannot.

    Attributes:
        rows: Rows of the data set, one per run that can be replayed.
        recorded: The runs that can be replayed, by id.
        starts: Their start times in nanoseconds since the epoch (UTC).
    """

    def __init__(self, judges: Sequence[Judge], recorded: Recorded) -> None:
        self.read = 0
        self.left_out: Counter[str] = Counter()
        self.rows: list[dict[str, Any]] = []
        self.recorded: dict[str, ItemRun] = {}
        self.starts: dict[str, int] = {}
        self._judges = judges
        self._recorded = recorded

    def go_on(
        self, reader: "Reader", run_ids: Sequence[str], left_out: Mapping[str, int]
    ) -> "Iterator[Run]":
        """Read the runs of an unfinished replay again."""
        self.left_out.update(left_out)
        self.read += sum(left_out.values())
        for run_id in run_ids:
            try:
                yield reader.run(run_id)
            except NotFound:
                self.read += 1
                self.left_out["deleted since"] += 1

    def take(self, run: "Run") -> None:
        """Add a run, or count why it is skipped."""
        if run.run_id in self.recorded:
            return
        self.read += 1
        if reason := self._take(run):
            self.left_out[reason] += 1

    def _take(self, run: "Run") -> str:
        if run.outcome not in _ENDED:
            return f"without an end ({run.outcome})"
        if run.record_of:
            return "another record of a call"
        capture = capture_of(run)
        inputs = run.inputs
        if cut := write_cut(capture, "inputs"):
            return cut
        if inputs is None:
            return "without inputs"
        judgements = {
            judge.name: judgement
            for judge in self._judges
            if (judgement := find_judgement(run, judge.name, judge.version)) and not judgement.error
        }
        try:
            by_name = type(inputs) is dict
            inputs = (
                self._recorded.inputs(inputs, partial(_find_logged, run))
                if by_name
                else rebuild(inputs, Any)
            )
        except NotRebuiltError as error:
            return f"inputs not kept as {error.of}"
        outputs = run.outputs if run.outcome == "ok" else None
        is_needed = run.outcome == "ok" and any(
            judge.pairwise or judge.name not in judgements for judge in self._judges
        )
        if is_needed and (cut := write_cut(capture, "outputs")):
            return f"{cut}, which a judge has to see"
        try:
            outputs = self._recorded.output(outputs) if run.outcome == "ok" else None
        except NotRebuiltError as error:
            if is_needed:
                return f"outputs not kept as {error.of}, which a judge has to see"
        self.rows.append(
            {
                "id": run.run_id,
                "inputs": inputs,
                "expected": run.truth.get(ACTUAL_NAME),
                "tags": dict(run.tags),
                "source_run": run.run_id,
                "source_session": run.session,
            }
        )
        self.starts[run.run_id] = run.start_ns
        self.recorded[run.run_id] = ItemRun(
            item=run.run_id,
            digest="",
            outputs=outputs,
            outcome=run.outcome,
            error_type=run.error_type or "",
            error=": ".join(filter(None, (run.error_type, run.error_message))),
            latency_ms=run.latency_ms,
            run_id=run.run_id,
            judgements=judgements,
            cost=run.cost,
        )
        return ""
