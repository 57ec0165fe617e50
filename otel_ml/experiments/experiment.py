"""Implements `evaluate`: checks the arguments, opens the experiment, and returns its result."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson
from opentelemetry.trace import Link, SpanContext, TraceFlags

from otel_ml import attributes as names
from otel_ml.arguments import (
    check_callable,
    check_flag,
    check_integer,
    check_mapping,
    check_number,
    check_optional_text,
    check_seconds,
    check_text,
    find_similar,
    invalid,
)
from otel_ml.calls import send_judge
from otel_ml.errors import untrusted
from otel_ml.experiments.compare import ComparisonOptions, cluster_of
from otel_ml.experiments.dataset import Dataset, Item, choose_items, send_dataset
from otel_ml.experiments.execution import (
    About,
    Job,
    Progress,
    Target,
    Threads,
    Work,
    run_here,
    run_on_loop,
)
from otel_ml.experiments.options import EVALUATED, EvaluateOptions
from otel_ml.experiments.result import Result
from otel_ml.experiments.rows import Experiment, ItemRun, by_item
from otel_ml.experiments.stored_results import (
    Started,
    find_baseline,
    find_unfinished,
    ids_of,
    open_reader,
)
from otel_ml.functions import Options, TracedFunction
from otel_ml.judges.judge import Judge
from otel_ml.judges.ready import as_judge
from otel_ml.notebook import page_address
from otel_ml.process import marking
from otel_ml.reader import NotFound
from otel_ml.recorder import Recorder
from otel_ml.runs import open_run
from otel_ml.versions.weights import WeightsPending
from otel_ml.wrappers import traced_of

OnItem = Callable[[ItemRun], None]

_MOST_CALLS: Final = 1_000_000
_MOST_THREADS: Final = 1_024
_WEIGHTS_S: Final = 120.0
_FILES: Final = (".jsonl", ".ndjson", ".csv", ".parquet")
_DATASET: Final = (
    "a Dataset, the path of a .jsonl, .csv or .parquet file, a list of items, or the name of a "
    "stored data set such as qa or qa:v3"
)
_BASELINE: Final = (
    "a result, a file that Result.save wrote, or an experiment on this data set by its run id, "
    "name:vN, name@alias or a tag"
)
_DUPLICATES: Final = 100  # ids of items that are recorded with an experiment
_RESUME: Final = "'auto', the run id of a stored experiment, or False"
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


def evaluate(
    recorder: Recorder,
    function: Callable[..., Any],
    dataset: Any,
    judges: Sequence[Any],
    options: EvaluateOptions,
    *,
    on_item: OnItem = lambda _: None,
) -> Result:
    """Run a function on a data set. See `otel_ml.Client.evaluate`."""
    prepared = prepare(recorder, function, dataset, judges, options)
    if is_on_loop():
        raise RuntimeError(
            "evaluate() would block the running event loop: use await aevaluate(...)"
        )
    return run_prepared(prepared, on_item)


def run_prepared(prepared: "Prepared", on_item: OnItem) -> Result:
    """Run an experiment from start to end. Do not call it on a thread that runs an event loop."""
    with prepared.opened(on_item) as (work, progress):
        if prepared.target.is_async:
            try:
                asyncio.run(run_on_loop(work, prepared.jobs, prepared.concurrency, progress))
            except KeyboardInterrupt:
                progress.is_interrupted = True
        elif prepared.concurrency == 1 and work.timeout_s is None:
            run_here(work, prepared.jobs, progress)
        else:
            Threads(work, prepared.jobs, progress).run(prepared.concurrency)
    return prepared.result(progress)


async def aevaluate(
    recorder: Recorder,
    function: Callable[..., Any],
    dataset: Any,
    judges: Sequence[Any],
    options: EvaluateOptions,
    *,
    on_item: OnItem = lambda _: None,
) -> Result:
    """Run a function on a data set on the running event loop. See `otel_ml.Client.aevaluate`."""
    prepared = prepare(recorder, function, dataset, judges, options)
    with prepared.opened(on_item) as (work, progress):
        if prepared.target.is_async:
            await run_on_loop(work, prepared.jobs, prepared.concurrency, progress)
        else:
            threads, stop = Threads(work, prepared.jobs, progress), threading.Event()
            try:
                await asyncio.to_thread(threads.run, prepared.concurrency, stop.is_set)
            finally:
                stop.set()
    return prepared.result(progress)


def is_on_loop() -> bool:
    """Return whether an event loop runs on this thread.

    If it does, a blocking call would stop all tasks of the event loop.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@dataclass
class Prepared:
    """An experiment that is ready to run: arguments checked, data set and baseline loaded."""

    recorder: Recorder
    target: Target
    dataset: Dataset
    items: tuple[Item, ...]
    judges: tuple[Judge, ...]
    baseline: Result | None
    comparison: ComparisonOptions
    name: str
    repeats: int
    concurrency: int
    timeout_s: float | None
    params: Mapping[str, object]
    tags: Mapping[str, object] | None
    resume: bool | str
    before_call: Callable[[Item], None] = lambda _: None
    about: Experiment | None = None
    started: Started | None = None

    @property
    def jobs(self) -> list[Job]:
        """The calls to make: first every item once, then every item again for the next repeat.

        In this order an interrupted experiment covers as many items as possible. When you resume an
        experiment, calls that already finished are left out.
        """
        done = {(run.item, run.digest, run.repeat) for run in self.stored}
        return [
            (item, repeat)
            for repeat in range(self.repeats)
            for item in self.items
            if (item.id, item.digest, repeat) not in done
        ]

    @property
    def stored(self) -> tuple[ItemRun, ...]:
        """Runs that finished before the experiment was resumed. Empty if it is not resumed."""
        return () if self.started is None else self.started.runs

    @contextmanager
    def opened(self, on_item: OnItem) -> Iterator[tuple[Work, Progress]]:
        """Record the experiment as a run that is open during a ``with`` block.

        When the block ends, the run ends with the outcome of the experiment.
        """
        progress = Progress(self.recorder, on_item)
        version, source = _version_of_function(self.target.traced), ""
        with untrusted:  # a source file may be unreadable
            source = source_digest(self.target.function)
        judges = {judge.name: _version_of(judge) for judge in self.judges}
        self.about = Experiment(
            id="",
            name=self.name,
            function=self.target.traced.name,
            version=version,
            dataset=self.dataset.name,
            dataset_version=self.dataset.digest,
            items=len(self.items),
            repeats=self.repeats,
            judges=judges,
            source=source,
        )
        self.started = self._find_started(self.about)
        given = self._attributes(self.about)
        with marking({names.EXPERIMENT_NAME: self.name}):
            run = open_run(
                self.recorder,
                self.name,
                "experiment",
                given,
                [self.tags],
                ids=None if self.started is None else ids_of(self.started.id),
                start_ns=0 if self.started is None else self.started.start_ns,
            )
        known, start_ns = (run.id if run.is_recorded else "", run.start_ns)
        above = run._span.get_span_context()
        if not known and self.started is not None and self.recorder.active() is not None:
            # The host's tracer provider chose a new id. Link the remaining runs to the experiment
            # that is being resumed.
            known, start_ns = self.started.id, self.started.start_ns
            flags = TraceFlags(TraceFlags.SAMPLED)
            above = SpanContext(*ids_of(known), is_remote=False, trace_flags=flags)
        page = page_address(self.recorder.page, self.recorder.project, "experiments", known)
        self.about = replace(
            self.about,
            id=known,
            start_ns=start_ns or time.time_ns(),
            page=page if known else "",
        )
        try:
            send_dataset(self.recorder, self.dataset)
            for judge in self.judges if known else ():
                send_judge(self.recorder, judge, judges[judge.name])
            mark = {names.EXPERIMENT: known, names.EXPERIMENT_DATASET: self.dataset.name}
            with marking(mark if known else {}):
                yield self._work((Link(above, {}),) if known else ()), progress
        except BaseException as error:
            run.end(error)
            raise
        run.end(KeyboardInterrupt() if progress.is_interrupted else None)

    def result(self, progress: Progress) -> Result:
        """Return the result of the finished runs."""
        assert self.about is not None  # noqa: S101 - `opened` came before
        order = {item.id: at for at, item in enumerate(self.items)}
        runs = sorted(
            [*self.stored, *progress.runs], key=lambda entry: (order[entry.item], entry.repeat)
        )
        return Result(
            self.about,
            runs,
            self.baseline,
            self.comparison,
            first_errors=progress.first_errors,
            is_interrupted=progress.is_interrupted,
            open_stored=partial(open_reader, self.recorder),
        )

    def _attributes(self, about: Experiment) -> dict[str, Any]:
        baseline, chosen = self.baseline, self.comparison.chosen
        label = None if baseline is None else baseline.experiment.id or baseline.label
        made_of = {"function": about.function, "version": about.version, "judges": about.judges}
        return {
            names.EXPERIMENT_DATASET: about.dataset,
            names.EXPERIMENT_DATASET_VERSION: about.dataset_version,
            names.EXPERIMENT_ITEMS: about.items,
            names.EXPERIMENT_REPEATS: about.repeats,
            names.EXPERIMENT_SOURCE: about.source or None,
            names.EXPERIMENT_BASELINE: label,
            names.EXPERIMENT_COMPARISON: orjson.dumps(chosen).decode() if chosen else None,
            names.PARAMS: {**made_of, **self.params},
        }

    def _work(self, links: tuple[Link, ...]) -> Work:
        before = by_item([] if self.baseline is None else self.baseline.runs)

        def find(item: Item, repeat: int) -> ItemRun | None:
            known = before.get((item.id, item.digest))
            return known[repeat % len(known)] if known else None

        return Work(
            self.target,
            self.recorder,
            tuple(judge for judge in self.judges if not judge.pairwise),
            tuple(judge for judge in self.judges if judge.pairwise),
            find,
            self.timeout_s,
            About({names.TEST_SUITE_NAME: self.name}, links),
            before_call=self.before_call,
        )

    def _find_started(self, about: Experiment) -> Started | None:
        if self.resume is False:
            return None
        named = "auto" if self.resume is True else self.resume
        params = orjson.loads(self.recorder.redaction.encode(dict(self.params)).text)
        with suppress(LookupError), open_reader(self.recorder) as reader:
            return find_unfinished(reader, named, about, params)
        if named == "auto":
            return None
        raise invalid("resume", named, _RESUME)


def _version_of_function(traced: TracedFunction) -> str:
    """Return the digest of the function's version. Empty if it has none.

    Waits until the model weights that belong to the version have been read.
    """
    until = time.monotonic() + _WEIGHTS_S
    with untrusted:  # the source may be unreadable
        while True:
            try:
                return traced.definition.digest
            except WeightsPending as pending:
                left = until - time.monotonic()
                if not all(job.done.wait(max(left, 0)) for job in pending.jobs):
                    return ""
    return ""


def _version_of(judge: Judge) -> str:
    with untrusted:  # the source of a rubric may be unreadable
        return judge.version
    return ""


def prepare(
    recorder: Recorder,
    function: Callable[..., Any],
    dataset: Any,
    judges: Sequence[Any],
    options: EvaluateOptions,
) -> Prepared:
    """Check the arguments of `evaluate`, and load the data set and the baseline that they name.

    Raises:
        ValueError: An argument is invalid. The message names it.
        TypeError: An option is unknown.
        OSError: A file cannot be read.
    """
    given: dict[str, Any] = {**EVALUATED, **options}
    for key in given.keys() - EvaluateOptions.__annotations__.keys():
        raise TypeError(f"evaluate() got an unexpected keyword argument {key!r}")
    check_callable("function", function, "a function")
    check_optional_text("name", given["name"])
    check_integer("repeats", given["repeats"], 1, _MOST_CALLS)
    check_integer("concurrency", given["concurrency"], 1, _MOST_THREADS)
    if given["timeout_s"] is not None:
        check_seconds("timeout_s", given["timeout_s"])
    if given["limit"] is not None:
        check_integer("limit", given["limit"], 1, _MOST_CALLS)
    check_number("sample", given["sample"], 0, 1)
    if type(given["resume"]) is not bool and not issubclass(type(given["resume"]), str):
        raise invalid("resume", given["resume"], _RESUME)
    for argument in ("params", "tags"):
        if given[argument] is not None:
            check_mapping(argument, given[argument], "a mapping of names to values, or None")
    asked = _judges_of(judges)
    comparison = _comparison_of(_add_lower(given, asked))
    for argument in ("margin", "lower_is_better"):
        _check_judge_names(argument, given[argument] or (), asked)
    items_of = dataset_of(dataset, recorder)
    if items_of.duplicates:
        chosen = {**comparison.chosen, "duplicates": items_of.duplicates[:_DUPLICATES]}
        comparison = replace(comparison, chosen=chosen)
    target = _target_of(recorder, function, asked)
    items = choose_items(items_of, given["limit"], given["sample"])
    _check_inputs(asked, items)
    return Prepared(
        recorder,
        target,
        items_of,
        items,
        asked,
        _baseline_of(given["baseline"], recorder, items_of),
        comparison,
        given["name"] or f"{target.traced.name} on {items_of.name}",
        given["repeats"],
        given["concurrency"],
        given["timeout_s"],
        given["params"] or {},
        given["tags"],
        given["resume"],
    )


def _judges_of(given: Any) -> tuple[Judge, ...]:
    """Check the judges. Functions are converted to judges.

    Raises:
        ValueError: The argument is not a list of judges, or two judges have the same name.
    """
    if not issubclass(type(given), list | tuple):
        raise invalid("judges", given, "a list of judges or functions")
    judges = tuple(map(as_judge, given))
    called = [judge.name for judge in judges]
    if len(set(called)) < len(called):
        raise ValueError(f"Invalid judges {called!r}: expected a different name for each")
    return judges


def _check_inputs(judges: Sequence[Judge], items: Sequence[Item]) -> None:
    """Check that the judges require nothing but what the items have.

    Raises:
        ValueError: A rubric has a required parameter for which there is no value.
    """
    inputs: set[str] = set()
    for item in items:
        inputs.update(item.inputs if type(item.inputs) is dict else ())
    for judge in judges if items else ():
        judge._check_inputs(inputs)


def dataset_of(given: Any, recorder: Recorder) -> Dataset:
    """Return the data set that the user passed as an argument.

    Args:
        given: A `Dataset`, a path of a file, the name of a stored data set, or a list of items.
        recorder: Recorder whose collector has the stored data sets.

    Raises:
        ValueError: The argument is none of these, or there is no such data set.
        OSError: The file cannot be read.
        ReaderError: The collector does not answer.
    """
    kind = type(given)
    if issubclass(kind, Dataset):
        dataset: Dataset = given
        return dataset
    if issubclass(kind, str | os.PathLike):
        text = os.fspath(given)
        if text.lower().endswith(_FILES):
            return Dataset.read(text)
        near = ""
        with suppress(LookupError), open_reader(recorder) as reader:
            try:
                return Dataset.load(text, reader=reader)
            except NotFound as error:
                near = f"; {error}"
        raise invalid("dataset", given, _DATASET + near)
    if issubclass(kind, list | tuple):
        return Dataset("items", given)
    raise invalid("dataset", given, _DATASET)


def _baseline_of(given: Any, recorder: Recorder, dataset: Dataset) -> Result | None:
    if given is None or issubclass(type(given), Result):
        baseline: Result | None = given
        return baseline
    if issubclass(type(given), str | os.PathLike):
        with suppress(OSError):  # the text may be too long for a path
            if Path(given).is_file():
                return Result.read(given)
    if issubclass(type(given), str):
        near = ""
        with suppress(LookupError), open_reader(recorder) as reader:
            try:
                return find_baseline(reader, given, dataset.name)
            except LookupError as error:
                near = f"; {error}"
        if names.NUMBERED.fullmatch(given):
            near += ". To compare with a version that has not run on this data set, run it first"
        raise invalid("baseline", given, _BASELINE + near)
    raise invalid("baseline", given, _BASELINE)


def _add_lower(given: Mapping[str, Any], judges: Sequence[Judge]) -> Mapping[str, Any]:
    """Return the options, with judges that declare lower scores as better added to them.

    They are added to the option `lower_is_better`. Judges with a pass mark are not added:
    their pass rate counts, and a higher pass rate is better.
    """
    declared = {
        judge.name for judge in judges if judge.lower_is_better and not judge.passing_criteria
    }
    lower = given["lower_is_better"]
    if not declared or not issubclass(type(lower), list | tuple | set | frozenset):
        return given
    return {**given, "lower_is_better": [*dict.fromkeys([*lower, *sorted(declared)])]}


def _check_judge_names(argument: str, named: Iterable[str], judges: Sequence[Judge]) -> None:
    """Check that an option names only judges of the experiment.

    Raises:
        ValueError: An option names another judge, for example because the name is misspelt.
    """
    known = [judge.name for judge in judges]
    for name in named:
        if name not in known:
            listed = f"one of the judges {', '.join(known)}" if known else "no name without judges"
            near = find_similar(name, known)
            raise invalid(argument, name, f"{listed}; did you mean {near}?" if near else listed)


def _comparison_of(given: Mapping[str, Any]) -> ComparisonOptions:
    margin = {} if given["margin"] is None else check_mapping("margin", given["margin"], "numbers")
    for name, number in margin.items():
        check_text("margin", name)
        check_number("margin", number, 0)
    lower = given["lower_is_better"]
    if not issubclass(type(lower), list | tuple | set | frozenset):
        raise invalid("lower_is_better", lower, "a list of judge names")
    for name in lower:
        check_text("lower_is_better", name)
    cluster = given["cluster"]
    facts = {
        "margin": dict(given["margin"] or {}),
        "lower_is_better": sorted(given["lower_is_better"]),
        "cluster": "a function" if callable(cluster) else cluster,
        "partial": given["partial"],
    }
    return ComparisonOptions(
        cluster=cluster_of(given["cluster"]),
        margins=dict(margin),
        lower_is_better=frozenset(lower),
        is_partial=check_flag("partial", given["partial"]),
        chosen={name: value for name, value in facts.items() if value},
    )


def _target_of(
    recorder: Recorder, function: Callable[..., Any], judges: tuple[Judge, ...]
) -> Target:
    """Return the function without our decorator. Keeps its tracing options, but not its judges."""
    known = traced_of(function)
    options: Options = {} if known is None else known.options
    bare = function if known is None else known.function
    traced = TracedFunction(recorder, bare, options)
    traced.judges = judges  # the run waits for them; they also get the expected output
    return Target(bare, traced)


def source_digest(function: Callable[..., Any]) -> str:
    """Return a hash of a function's source files, to notice changed code when resuming.

    It covers all loaded modules of the function's package. If there is no package, it covers the
    loaded modules in the same folder. Empty if there is no source file, for example in an
    interactive console.
    """
    while isinstance(function, partial):
        function = function.func
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    home = None if module is None else _file_of(module)
    if module is None or home is None:
        return ""
    package = module.__name__.partition(".")[0]
    is_package = hasattr(sys.modules.get(package), "__path__")
    folder = os.path.normpath(home.parent)
    files = {home}
    for name, value in list(sys.modules.items()):
        if is_package:
            is_ours = name == package or name.startswith(f"{package}.")
        else:
            is_ours = os.path.normpath(_file_name_of(value)).rpartition(os.sep)[0] == folder
        file = _file_of(value) if is_ours else None
        if file is not None and (is_package or _INSTALLED.isdisjoint(file.parts)):
            files.add(file)
    digest = sha256()
    for file in sorted(files):
        digest.update(f"{file.name}\n".encode() + sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _file_name_of(module: object) -> str:
    name = getattr(module, "__file__", None)
    return name if isinstance(name, str) else ""


def _file_of(module: object) -> Path | None:
    name = _file_name_of(module)
    path = Path(name)
    return path if name.endswith(".py") and path.is_file() else None
