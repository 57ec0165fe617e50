"""Compares runs, versions of models, or experiments, for the JSON API and the page.

The verdict on two versions is that of the model's page. The verdict on two experiments is that of
the experiment's page.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import Query
from pydantic import Field

from otel_ml.attributes import NUMBERED, RECORDED, RUN_ID
from otel_ml.records import Infinite, ListedExperiment
from otel_ml.statistics.comparison import Word
from otel_ml_collector import wording
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.curves.values import (
    flatten,
    is_lower,
    join_words,
    rank_metric,
    write_number,
    write_value,
)
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.evaluations.experiment_runs import (
    choose_baseline,
    make_experiments,
    make_recorded,
)
from otel_ml_collector.evaluations.experiments import ExperimentDetail, JudgeOfItems, compare_listed
from otel_ml_collector.evaluations.output_pairs import (
    MOST_PAIRS,
    SHOWN_PAIRS,
    OutputPairs,
    find_experiment_pairs,
    find_version_pairs,
)
from otel_ml_collector.findings.versions import ChosenRuns, VersionsVerdict, find_verdict
from otel_ml_collector.owners import own_model
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.runs.find import find_named_runs
from otel_ml_collector.store.facts import LoggedMetric, find_all_series
from otel_ml_collector.store.reader import JsonValue, Reader
from otel_ml_collector.versions import diff
from otel_ml_collector.versions.definition import VersionDefinition
from otel_ml_collector.versions.find import (
    JudgeStats,
    find_aliases,
    find_definitions,
    find_versions,
)

Kind = Literal["run", "version", "experiment"]

LEAST: Final = 2
MOST: Final = 6
MOST_TRAININGS: Final = 50
_EXPERIMENT: Final = "experiment"
# The last, lowest and highest point of a series are read in addition.
_FEW_POINTS: Final = 10
_POINTS: Final = 100
_NAMED: Final = 8  # metrics in a message
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class MetricFigures(AnswerBody):
    """A metric of one side. A step is null if the point has none."""

    count: int = Field(description="Number of points")
    last: float | Infinite | None = Field(
        description="Value of the last logged point; null means NaN"
    )
    last_step: int | None
    low: float | None = Field(description="Lowest finite value; null if there is none")
    low_step: int | None
    high: float | None
    high_step: int | None


class ComparedMetric(AnswerBody):
    """A metric that at least one side has."""

    name: str
    lower_is_better: bool = Field(
        description="Whether lower values are better: as `lower` and `higher` of the request say, "
        "otherwise guessed from the name, such as loss"
    )
    best: list[str] = Field(
        description="References of the sides whose last value is best; several if they are equal"
    )


class ComparedRun(AnswerBody):
    """A run that is compared."""

    kind: str
    model: str
    version: int | None
    outcome: str
    error: str = Field(description="Type and message of the error; empty if there is none")
    start_time: str
    start_ns: int
    latency_ms: float | None
    tokens: int | None = Field(description="Input tokens and output tokens")
    cost: float | None
    scores: dict[str, float] = Field(description="Scores by name of the judge")
    inputs: JsonValue = Field(
        description="Inputs of the run; null if more than six runs are compared"
    )
    outputs: JsonValue = Field(
        description="Outputs of the run; null if more than six runs are compared"
    )


class ComparedVersion(AnswerBody):
    """A version of a model that is compared."""

    model: str
    version: int
    digest: str
    first_seen_time: str
    runs: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    judges: list[JudgeStats]
    changes: list[diff.PartChange] = Field(
        description="What changed since the baseline; empty for the baseline itself"
    )
    verdict: VersionsVerdict | None = Field(
        description="Verdict against the baseline, as on the model's page; null for the baseline, "
        "and if the models differ"
    )


class ComparedSide(AnswerBody):
    """A side that is compared: either `run`, `version` or `experiment` is present."""

    reference: str = Field(description="Name of this side, as in the request")
    letter: str = Field(
        description="Letter of this side in sentences: A for the baseline, then B, C and so on"
    )
    name: str
    params: dict[str, JsonValue] = Field(
        description="The first 200 params by dotted name. For a run that logged metrics, plain "
        "inputs are included"
    )
    metrics: dict[str, MetricFigures]
    run: ComparedRun | None = None
    version: ComparedVersion | None = None
    experiment: ExperimentDetail | None = None
    pairs: OutputPairs | None = Field(
        default=None,
        description="What this side and the baseline returned for equal inputs. For versions, the "
        "inputs come from experiments and production; for experiments, from their data set. Null "
        "for the baseline, for runs, and if the request has `pairs=0`",
    )


class SideComparison(AnswerBody):
    """Some runs, versions of models, or experiments, side by side."""

    kind: Kind
    baseline: str = Field(
        description="Reference of the baseline, with which all other sides are compared"
    )
    sentence: str = Field(description="The result in words")
    differing: list[str] = Field(description="Names of the params that differ")
    same: dict[str, JsonValue] = Field(description="Params that are equal in all")
    metrics: list[ComparedMetric] = Field(
        description="The metric that the sentence is about comes first, then the metrics that "
        "most sides have"
    )
    sides: list[ComparedSide] = Field(description="The compared sides, in the order of the request")


_MOST_ASKED: Final = 100  # one more than the maximum, so that a longer list gets a clear error
_Names = Annotated[list[Annotated[str, Query(max_length=1_024)]], Query(max_length=50)]
_Reference = Annotated[str, Query(max_length=1_040)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonQuery:
    """The sides of a comparison and its options: the parameters of API and page."""

    of: Annotated[
        list[_Reference],
        Query(
            max_length=_MOST_ASKED,
            default_factory=list,
            description="What to compare: two to six run IDs, versions such as `answer:v3` or "
            "`answer@champion`, or run IDs of experiments. With experiments, `recorded` means the "
            "runs that they replay. For runs that logged metrics, up to 50 IDs",
        ),
    ]
    baseline: Annotated[
        str | None,
        Query(
            max_length=1_040,
            description="Which of the sides in `of` is the baseline. Default for runs: the first. "
            "For versions: the oldest. For experiments: the one that another experiment"
            " names as its baseline, else the newest with the tag baseline, else the "
            "oldest",
        ),
    ] = None
    metric: Annotated[
        str | None,
        Query(
            max_length=1_024,
            description="Metric that the sentence is about. Default: the metric that most of the "
            "sides have",
        ),
    ] = None
    lower: Annotated[
        _Names, Query(default_factory=list, description="Metrics where lower is better")
    ]
    higher: Annotated[
        _Names, Query(default_factory=list, description="Metrics where higher is better")
    ]
    where: Annotated[
        str,
        Query(
            max_length=10_000,
            description="For versions: a filter. Only recorded runs that match it are compared",
        ),
    ] = ""
    by: Annotated[
        str,
        Query(
            max_length=400,
            description="For versions: a tag, such as `country`. Recorded runs are also compared "
            "for each of its values",
        ),
    ] = ""
    pairs: Annotated[
        int,
        Query(
            ge=0,
            le=MOST_PAIRS,
            description="For versions and experiments: maximum number of pairs of outputs for "
            "equal inputs, largest change first. 0 for none, which is faster",
        ),
    ] = SHOWN_PAIRS


@dataclass(frozen=True, slots=True)
class DefinedVersion:
    """A version of a model, or the version of a run, with its definition."""

    version: int
    digest: str
    definition: VersionDefinition


@dataclass(frozen=True, slots=True)
class ComparisonDetail:
    """A comparison, with details for its page.

    A side is one of the compared runs, versions or experiments. The keys of `series` and `versions`
    are the names of the sides in the request: a run ID, or a version such as ``answer:v3``.

    Attributes:
        answer: The comparison, as the API returns it.
        series: The metrics of each side. Each metric has only a few points, enough to draw the
            shape of its curve.
        versions: The model version of each side, with its source code and params. For runs, these
            are the versions that the runs used. Empty for experiments, for more than six runs, and
            if all runs used the same version.
    """

    answer: SideComparison
    series: Mapping[str, Sequence[LoggedMetric]]
    versions: Mapping[str, DefinedVersion]

    @property
    def baseline(self) -> ComparedSide:
        """The side with which all other sides are compared."""
        return next(side for side in self.answer.sides if side.reference == self.answer.baseline)


def find_comparison(
    reader: Reader, project: str, asked: ComparisonQuery, now_ns: int, *, has_scores: bool = True
) -> ComparisonDetail:
    """Compare two to six runs, versions or experiments, or up to 50 runs that logged metrics.

    Args:
        reader: The store.
        project: The project.
        asked: What is compared.
        now_ns: The current time, in nanoseconds since 1970.
        has_scores: For versions, whether the answer has all scores of each version. The verdicts
            always have those of compared runs.

    Raises:
        BadInput: `asked` lists too few or too many of them, mixes runs, versions and experiments,
            or contains an invalid name. A name is a run ID or a version such as ``answer:v3``.
        Missing: A run, version or experiment does not exist.
    """
    _check_count(asked.of)
    of = [name for name in asked.of if name != RECORDED]
    versions = _read_versions(reader, project, of)
    if asked.baseline is not None and asked.baseline not in asked.of:
        raise BadInput(
            f"Invalid baseline {asked.baseline[:80]!r}: expected one of the values of `of`",
            "baseline",
        )
    if versions:
        _check_recorded(asked, is_replay=False)
        _check_kinds(of, [*versions], "version")
        return _compare_versions(
            reader, project, asked, versions, now_ns=now_ns, has_scores=has_scores
        )
    stored_runs = _read_runs(reader, project, of, now_ns)
    experiments = [name for name, (run, _) in stored_runs.items() if run.kind == _EXPERIMENT]
    if experiments:
        _check_kinds(of, experiments, "experiment")
        runs = [run for run, _ in stored_runs.values()]
        return _compare_experiments(reader, project, asked, runs)
    _check_recorded(asked, is_replay=False)
    return _compare_runs(asked, stored_runs, _find_sources(reader, project, stored_runs))


def _read_versions(reader: Reader, project: str, of: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return the model and number of each reference that names a version, by number or alias.

    Raises:
        BadInput: A reference is neither a version nor an ID, or two are the same version.
        Missing: No version has the alias.
    """
    versions: dict[str, tuple[str, int]] = {}
    for reference in of:
        if RUN_ID.fullmatch(reference):
            continue
        if version := NUMBERED.fullmatch(reference):
            named = version[1], int(version[2])
        else:
            named = _find_aliased(reader, project, reference)
        if named in versions.values():
            raise _repeated(reference)
        versions[reference] = named
    return versions


def _find_aliased(reader: Reader, project: str, reference: str) -> tuple[str, int]:
    """Find the version that has an alias, such as ``answer@champion``."""
    model, _, alias = reference.rpartition("@")
    if not model or not alias:
        expected = (
            "the id of a run or an experiment, or a version such as answer:v3 or answer@champion"
        )
        raise BadInput(f"Cannot compare {reference[:80]!r}: expected {expected}", "of")
    for item in find_aliases(reader, project, model).aliases:
        if item.alias == alias and item.version is not None:
            return model, item.version
    raise Missing(f"No version of {model[:80]!r} is called {alias[:80]!r}")


def _check_kinds(of: Sequence[str], same: Sequence[str], kind: Kind) -> None:
    """Raise an error for a mixture of kinds, or more than six sides."""
    other = next((name for name in of if name not in same), None)
    if other is not None:
        raise BadInput(
            "Invalid parameter 'of': expected only runs, only versions or only experiments: "
            f"{same[0][:80]} is {'an' if kind == _EXPERIMENT else 'a'} {kind}, {other} is not",
            "of",
        )
    if len(of) > MOST:
        raise BadInput(
            f"Invalid parameter 'of': expected at most {MOST} {kind}s, found {len(of)}", "of"
        )


def _read_runs(
    reader: Reader, project: str, of: Sequence[str], now_ns: int
) -> dict[str, tuple[Run, Sequence[LoggedMetric]]]:
    """Read runs with their metrics. More than six are read without inputs and outputs.

    Raises:
        BadInput: There are more than six runs, and one of them logged no metric.
        Missing: A run does not exist.
    """
    runs = {}
    is_many = len(of) > MOST
    most = _FEW_POINTS if is_many else _POINTS
    for run, series in find_named_runs(reader, project, of, now_ns, most):
        if is_many and not series and run.kind != _EXPERIMENT:
            raise BadInput(
                f"Invalid parameter 'of': expected at most {MOST} runs, or at most "
                f"{MOST_TRAININGS} if all of them logged metrics. Found {len(of)} runs, and "
                f"{run.run_id} logged none",
                "of",
            )
        if series and run.kind != _EXPERIMENT:
            _merge_inputs(run)
        if is_many:
            run.inputs = run.outputs = None
        runs[run.run_id] = run, series
    return runs


def _check_count(of: Sequence[str]) -> None:
    if not LEAST <= len(of) <= MOST_TRAININGS:
        raise BadInput(
            f"Invalid parameter 'of': expected {LEAST} to {MOST} runs, versions or experiments, or "
            f"up to {MOST_TRAININGS} runs that logged metrics, found {len(of)}",
            "of",
        )
    twice = next((name for name, count in Counter(of).items() if count > 1), None)
    if twice is not None:
        raise _repeated(twice)


def _repeated(reference: str) -> BadInput:
    return BadInput(f"Invalid parameter 'of': found {reference[:80]!r} twice", "of")


def letter_of(place: int) -> str:
    """Return the letter of the side at an index from 0: A to Z, then AA, AB, ..."""
    first, second = divmod(place, len(_LETTERS))
    return f"{_LETTERS[first - 1] if first else ''}{_LETTERS[second]}"


def _letter_sides(of: Sequence[str], baseline: str) -> dict[str, str]:
    """Return the letter of each side: A for the baseline, then B, C, ... in their order."""
    ordered = [baseline, *(name for name in of if name != baseline)]
    return {name: letter_of(place) for place, name in enumerate(ordered)}


# Runs.


def _compare_runs(
    asked: ComparisonQuery,
    runs: Mapping[str, tuple[Run, Sequence[LoggedMetric]]],
    versions: Mapping[str, DefinedVersion],
) -> ComparisonDetail:
    baseline = asked.of[0] if asked.baseline is None else asked.baseline
    letters = _letter_sides(asked.of, baseline)
    sides = []
    for name in asked.of:
        run, series = runs[name]
        sides.append(
            ComparedSide(
                reference=name,
                letter=letters[name],
                name=run.model or run.name,
                params=flatten(run.params),
                metrics=_figures(series),
                run=_run_of(run),
            )
        )
    names = _metrics(sides, asked)
    sentence = (
        _write_metric(sides, baseline, names[0]) if names else _write_outputs(sides, baseline)
    )
    return ComparisonDetail(
        _answer("run", sides, baseline, sentence, names),
        {name: series for name, (_, series) in runs.items()},
        versions,
    )


def _find_sources(
    reader: Reader, project: str, facts: Mapping[str, tuple[Run, Sequence[LoggedMetric]]]
) -> dict[str, DefinedVersion]:
    """Read the definitions of the versions of up to six runs, if the versions differ."""
    runs = [run for run, _ in facts.values() if run.version is not None]
    if len(facts) > MOST or len({(run.model, run.version) for run in runs}) <= 1:
        return {}
    known = find_definitions(reader, project, sorted({run.model for run in runs}))
    return {
        run.run_id: DefinedVersion(number, run.digest, definition)
        for run in runs
        for number, definition in known.get(run.model, {}).items()
        if number == run.version
    }


def _merge_inputs(run: Run) -> None:
    """Add the plain inputs of a training to its params: they are settings, too."""
    plain = {
        name: value
        for name, value in (run.inputs if isinstance(run.inputs, dict) else {}).items()
        if isinstance(value, str | bool | int | float)
    }
    run.params = plain | (run.params if isinstance(run.params, dict) else {})


def _run_of(run: Run) -> ComparedRun:
    used = [part for part in (run.tokens.input, run.tokens.output) if part is not None]
    return ComparedRun(
        kind=run.kind,
        model=run.model,
        version=run.version,
        outcome=run.outcome,
        error=wording.write_error(run.error_type, run.error_message),
        start_time=run.start_time,
        start_ns=run.start_ns,
        latency_ms=run.latency_ms,
        tokens=sum(used) if used else None,
        cost=run.cost,
        scores=dict(run.scores),
        inputs=run.inputs,
        outputs=run.outputs,
    )


def _figures(series: Iterable[LoggedMetric]) -> dict[str, MetricFigures]:
    """Return the last, lowest and highest point of each metric."""
    figures = {}
    for curve in series:
        finite = [
            (point.value, point.step) for point in curve.points if isinstance(point.value, float)
        ]
        low = min(finite, key=lambda point: point[0], default=(None, None))
        high = max(finite, key=lambda point: point[0], default=(None, None))
        last = curve.points[-1]
        figures[curve.name] = MetricFigures(
            count=curve.count,
            last=last.value,
            last_step=last.step,
            low=low[0],
            low_step=low[1],
            high=high[0],
            high_step=high[1],
        )
    return figures


def _metrics(sides: Sequence[ComparedSide], asked: ComparisonQuery) -> list[ComparedMetric]:
    """List the metrics of all runs, the most frequent first.

    Raises:
        BadInput: The requested metric is not among them.
    """
    counts = Counter(name for side in sides for name in side.metrics)
    if asked.metric is not None and asked.metric not in counts:
        known = ", ".join(map(repr, [*counts][:_NAMED])) or "none"
        raise BadInput(
            f"Invalid metric {asked.metric[:80]!r}: expected one that was logged ({known[:400]})",
            "metric",
        )

    made = []
    for name in sorted(counts, key=lambda name: (name != asked.metric, rank_metric(name, counts))):
        is_less = name in asked.lower or (name not in asked.higher and is_lower(name))
        last = {side.reference: side.metrics[name].last for side in sides if name in side.metrics}
        finite = {name: value for name, value in last.items() if isinstance(value, float)}
        best = (min if is_less else max)(finite.values(), default=None)
        made.append(
            ComparedMetric(
                name=name,
                lower_is_better=is_less,
                best=[name for name, value in finite.items() if value == best],
            )
        )
    return made


def _write_metric(sides: Sequence[ComparedSide], baseline: str, metric: ComparedMetric) -> str:
    """Write the sentence on the best last value of a metric, compared with the baseline."""
    by_reference = {side.reference: side for side in sides}
    before = by_reference[baseline]
    word = "lowest" if metric.lower_is_better else "highest"
    name = metric.name[:80]
    if not metric.best:
        return f"No run has a finite last value of {name}"
    best = by_reference[metric.best[0]]
    value = best.metrics[metric.name].last
    number = write_number(value)
    letters = [by_reference[item].letter for item in metric.best]
    if baseline in metric.best:
        others = [letter for letter in letters if letter != before.letter]
        too = f", as {'have' if len(others) > 1 else 'has'} {join_words(others)}" if others else ""
        return f"{before.letter}, the baseline, has the {word} {name}, {number}{too}"
    text = (
        f"{join_words(letters)} {'have' if len(letters) > 1 else 'has'} the {word} {name}, {number}"
    )
    own = before.metrics.get(metric.name)
    if own is None or not isinstance(own.last, float) or not isinstance(value, float):
        return f"{text}; the baseline {before.letter} has none"
    change = value - own.last
    text += f": {write_number(abs(change), 3)} {'below' if change < 0 else 'above'} the baseline"
    return f"{text} {before.letter}{_write_time(best, before)}"


def _write_time(side: ComparedSide, before: ComparedSide) -> str:
    """Return in words how much longer or shorter a run took than the baseline."""
    if side.run is None or before.run is None:
        return ""
    if side.run.latency_ms is None or before.run.latency_ms is None:
        return ""
    change = side.run.latency_ms - before.run.latency_ms
    return (
        f", {wording.duration(abs(change))} {'slower' if change > 0 else 'faster'}"
        if change
        else ""
    )


def _write_outputs(sides: Sequence[ComparedSide], baseline: str) -> str:
    """Return in words which runs have a different output than the baseline."""
    before = next(side for side in sides if side.reference == baseline)
    others = [side for side in sides if side is not before]
    differ = [side.letter for side in others if _read_outcome(side) != _read_outcome(before)]
    if not differ:
        return f"All have the same output as the baseline {before.letter}"
    has = "have" if len(differ) > 1 else "has"
    text = f"{join_words(differ)} {has} a different output than the baseline {before.letter}"
    same = [side.letter for side in others if side.letter not in differ]
    return f"{text}, {join_words(same)} the same" if same else text


def _read_outcome(side: ComparedSide) -> object:
    return None if side.run is None else (side.run.outcome, side.run.error, side.run.outputs)


# Versions.


def _compare_versions(
    reader: Reader,
    project: str,
    asked: ComparisonQuery,
    named: Mapping[str, tuple[str, int]],
    *,
    now_ns: int,
    has_scores: bool,
) -> ComparisonDetail:
    baseline = _choose_version(named) if asked.baseline is None else asked.baseline
    model_before, number_before = named[baseline]
    # A verdict takes longer than all other parts, so it is read next to them.
    verdicts = {
        name: reader.ahead(
            find_verdict,
            project,
            model,
            number,
            number_before,
            now_ns=now_ns,
            chosen=ChosenRuns(asked.where, asked.by),
        )
        for name, (model, number) in named.items()
        if name != baseline and model == model_before
    }
    known = {
        model: {
            version.version: version
            for version in find_versions(reader, project, model, has_scores=has_scores)
        }
        for model in dict.fromkeys(model for model, _ in named.values())
    }
    for model, number in named.values():
        if number not in known[model]:
            raise Missing(f"Model {model!r} has no version {number}")
    versions = {name: known[model][number] for name, (model, number) in named.items()}
    owners = {name: [own_model(of.model, of.digest)] for name, of in versions.items()}
    series = find_all_series(reader, project, owners, most=_POINTS)
    before = versions[baseline]
    letters = _letter_sides(asked.of, baseline)
    sides = []
    for name in asked.of:
        version = versions[name]
        verdict = pairs = None
        if name != baseline and version.model == before.model:
            if asked.pairs:
                pairs = reader.ahead(
                    find_version_pairs,
                    project,
                    version.model,
                    (before.version, version.version),
                    now_ns,
                    where=asked.where,
                    limit=asked.pairs,
                )
            verdict = verdicts[name].result()
        changes = [] if name == baseline else diff.facts(before.definition, version.definition)
        sides.append(
            ComparedSide(
                reference=name,
                letter=letters[name],
                name=wording.numbered(version.model, version.version),
                params=flatten(version.definition.params),
                metrics=_figures(series[name]),
                version=ComparedVersion(
                    model=version.model,
                    version=version.version,
                    digest=version.digest,
                    first_seen_time=version.first_seen_time,
                    runs=version.runs,
                    errors=version.errors,
                    p50_ms=version.p50_ms,
                    p95_ms=version.p95_ms,
                    judges=version.judges,
                    changes=changes,
                    verdict=verdict,
                ),
                pairs=pairs.result() if pairs else None,
            )
        )
    names = _metrics(sides, asked)
    items = [
        _write_word(side, baseline, sides, side.version.verdict)
        for side in sides
        if side.version is not None and side.version.verdict is not None
    ]
    if not any(of.version.verdict.judges for of in sides if of.version and of.version.verdict):
        items = [_write_metric(sides, baseline, names[0])] if names else items
    return ComparisonDetail(
        _answer(
            "version",
            sides,
            baseline,
            "; ".join(items) or "These are versions of different models: there is no verdict",
            names,
        ),
        series,
        {
            name: DefinedVersion(of.version, of.digest, of.definition)
            for name, of in versions.items()
        },
    )


def _choose_version(named: Mapping[str, tuple[str, int]]) -> str:
    """Choose the baseline: the oldest version, or with several models the first one."""
    if len({model for model, _ in named.values()}) > 1:
        return next(iter(named))
    return min(named, key=lambda reference: named[reference][1])


def _write_word(
    side: ComparedSide,
    baseline: str,
    sides: Sequence[ComparedSide],
    verdict: Any,
) -> str:
    """Write a verdict in a few words. The page shows its sentences below."""
    before = next(side.letter for side in sides if side.reference == baseline)
    if not verdict.judges and not verdict.failures:
        is_compared = not isinstance(verdict, VersionsVerdict) or verdict.amounts or verdict.missing
        if not is_compared:
            return f"{side.letter} vs {before}: {verdict.sentence}"
        return f"{side.letter} vs {before}: no judge scored both"
    if verdict.word == Word.NOT_ENOUGH_DATA:
        return f"{side.letter} vs the baseline {before}: {verdict.word}"
    than = "from" if verdict.word == Word.NO_DIFFERENCE else "than"
    return f"{side.letter} is {verdict.word} {than} the baseline {before}"


# Experiments.


def _compare_experiments(
    reader: Reader, project: str, asked: ComparisonQuery, runs: Sequence[Run]
) -> ComparisonDetail:
    listed = {
        experiment.run_id: experiment for experiment in make_experiments(reader, project, runs)
    }
    has_recorded = RECORDED in asked.of
    _check_recorded(asked, is_replay=_replay_alike([*listed.values()]))
    baseline = asked.baseline or (
        RECORDED if has_recorded else choose_baseline([*listed.values()]).run_id
    )
    details = {}
    for name, experiment in listed.items():
        before = make_recorded(experiment) if has_recorded else listed[baseline]
        details[name] = compare_listed(
            reader, project, experiment, None if name == baseline else before
        )
    if has_recorded:
        details[RECORDED] = _describe_recorded(next(iter(details.values())))
    letters = _letter_sides(asked.of, baseline)
    sides = []
    for name in asked.of:
        detail = details[name]
        sides.append(
            ComparedSide(
                reference=name,
                letter=letters[name],
                name=detail.experiment.name,
                params=flatten(detail.experiment.params),
                metrics={},
                experiment=detail,
                pairs=_pair_experiments(reader, project, asked, (detail, details[baseline]))
                if name != baseline
                else None,
            )
        )
    items = [
        _write_word(side, baseline, sides, side.experiment.verdict)
        for side in sides
        if side.experiment is not None and side.experiment.verdict is not None
    ]
    return ComparisonDetail(_answer("experiment", sides, baseline, "; ".join(items), []), {}, {})


def _pair_experiments(
    reader: Reader,
    project: str,
    asked: ComparisonQuery,
    details: tuple[ExperimentDetail, ExperimentDetail],
) -> OutputPairs | None:
    """Pair the outputs of an experiment with those of the baseline, which comes second."""
    after, before = (detail.experiment for detail in details)
    if not asked.pairs:
        return None
    word = details[0].verdict.word if details[0].verdict else None
    return find_experiment_pairs(reader, project, before, after, word=word, limit=asked.pairs)


def _replay_alike(experiments: Sequence[ListedExperiment]) -> bool:
    """Return whether the experiments replay the same recorded runs."""
    replayed = {experiment.dataset_digest for experiment in experiments}
    return len(replayed) == 1 and all(map(make_recorded, experiments))


def _check_recorded(asked: ComparisonQuery, *, is_replay: bool) -> None:
    """Check that recorded runs are compared only as the baseline of experiments that replay them.

    Raises:
        BadInput: `recorded` is compared with something else, or is not the baseline.
    """
    if RECORDED not in asked.of:
        return
    if not is_replay:
        expected = "only experiments that replay the same recorded runs"
        raise BadInput(f"Invalid parameter 'of': found {RECORDED!r}, expected {expected}", "of")
    if asked.baseline not in {None, RECORDED}:
        raise BadInput(
            f"Invalid baseline {str(asked.baseline)[:80]!r}: expected {RECORDED}, because recorded "
            "runs are compared",
            "baseline",
        )


def _describe_recorded(replay: ExperimentDetail) -> ExperimentDetail:
    """Describe recorded runs in the form of an experiment, as the baseline of their replays."""
    verdict = replay.verdict
    return ExperimentDetail(
        experiment=make_recorded(replay.experiment) or replay.experiment,
        judges=[
            JudgeOfItems(
                judge=change.name,
                version=change.judge_number,
                digest=change.judge_version,
                is_rate=change.is_rate,
                value=change.baseline,
                failed=0,
            )
            for change in (verdict.judges if verdict else ())
        ],
        flaky=0,
        verdict=None,
        clustered_by=replay.clustered_by,
        notes=[],
    )


# All of them.


def _answer(
    kind: Kind,
    sides: list[ComparedSide],
    baseline: str,
    sentence: str,
    metrics: list[ComparedMetric],
) -> SideComparison:
    every = dict.fromkeys(name for side in sides for name in side.params)
    differing = [name for name in every if len({write_param(side, name) for side in sides}) > 1]
    return SideComparison(
        kind=kind,
        baseline=baseline,
        sentence=sentence,
        differing=differing,
        same={name: sides[0].params[name] for name in every if name not in differing},
        metrics=metrics,
        sides=sides,
    )


def write_param(side: ComparedSide, name: str) -> str | None:
    """Write the value of a param as text, so that you can compare it with that of another side.

    A side is one of the compared runs, versions or experiments. Values count as equal if this
    function returns the same text for them. For example, it returns ``1`` for both 1 and 1.0, and
    ``0.1`` for both the number 0.1 and the text "0.1".

    Returns:
        The text. None if the side does not have the param.
    """
    if name not in side.params:
        return None
    return write_value(side.params[name])
