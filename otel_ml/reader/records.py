"""The objects that a `Reader` returns. Their fields have the names of the JSON API."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, TypeVar

from otel_ml import records
from otel_ml.counts import write_count
from otel_ml.notebook import Card, HasCard, page_address, shorten
from otel_ml.reader.api import Api
from otel_ml.reader.display import FileSource, show_record
from otel_ml.records import (
    Evaluation,
    Inside,
    Linked,
    LinkedRun,
    ListedRun,
    Tokens,
    WorstScore,
)
from otel_ml.wire import HasSubject, Subject

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]  # it carries no types

    Load = Callable[["Artifact"], Any]

_EMPTY: Final[dict[str, Any]] = {}
R = TypeVar("R")
# In a list of root runs: the key of the totals over all calls inside each root.
INSIDE: Final = "inside"


@dataclass(frozen=True, slots=True)
class LogLine(records.LineRecord):
    """A line of text that a run logged."""

    event: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact(records.ListedArtifact, HasSubject):
    """A value that a run logged under a name (`ref`). Call `load` to fetch the value.

    Attributes:
        run_id: ID of the run that logged the artifact. None if it was logged to a whole trace.
        obj_id: ID of the artifact. Empty if you read the artifact from `Run.artifacts`.
    """

    run_id: str | None = None
    obj_id: str = ""
    _load: "Load | None" = field(default=None, repr=False, compare=False)

    @property
    def _subject(self) -> Subject:
        return Subject("artifact", self.ref, self.sha256 or "", self.run_id or "")

    @property
    def kept(self) -> str:
        """Which part of the value is stored, such as ``its text only``.

        Empty if the whole value is stored.
        """
        part = self.preview.get("kept") if isinstance(self.preview, Mapping) else None
        return part if isinstance(part, str) else ""

    def load(self) -> Any:
        """Fetch the value with the type, dtype, shape and content that were logged.

        Raises:
            NotFound: The collector does not have the value.
            ValueError: The value's type is not registered; see `otel_ml.types.register`.
            ImportError: The value needs a package that is not installed.
        """
        if self._load is None:
            raise TypeError("Cannot load an artifact that was not read from a collector")
        return self._load(self)


@dataclass(slots=True, kw_only=True, repr=False)
class Run(HasCard, ListedRun):
    """A recorded run. In a list, inputs, outputs and other large parts are fetched on first use.

    Attributes:
        run_id: ID of the run: 32 hex digits, a dash, 16 hex digits.
        version: Version number of the model.
        latency_ms: Duration in milliseconds. None if the run has not ended.
        outcome: ``ok``, ``error``, ``cancelled`` or ``abandoned``. A run that has not ended is
            ``running``, or ``crashed`` if its process stopped reporting.
        inputs_preview: The inputs as one short line of text.
        outputs_preview: The output as one short line of text. None if the run has not ended.
    """

    inputs_preview: str = ""
    outputs_preview: str | None = None
    _whole: "Whole | None" = field(default=None, repr=False, compare=False)

    @property
    def page(self) -> str:
        """Address of the run's web page. Empty if the run was not read from a collector."""
        source = self._file
        return "" if source is None else page_address(source.api.page, *source.path)

    @property
    def _file(self) -> FileSource | None:
        """Where the file with the run's trace is read. None if it was not read from a collector."""
        api = None if self._whole is None else self._whole.api
        return None if api is None else FileSource(api, (self.project, "runs", self.run_id))

    def _repr_html_(self) -> str:
        return show_record(self._file, self._card)

    @property
    def _card(self) -> Card:
        version = "" if self.version is None else f" v{self.version}"
        latency = "" if self.latency_ms is None else f"{self.latency_ms:,.1f} ms"
        model = f"{shorten(self.model or self.name)}{version}"
        return Card("Run", self.run_id, (model, self.outcome, latency), self.page)

    @property
    def start(self) -> datetime:
        """Start time in UTC, with microsecond precision."""
        return datetime.fromtimestamp(self.start_ns // 1_000 / 1_000_000, timezone.utc)

    @property
    def inputs(self) -> Any:
        """The inputs by parameter name."""
        return self._part("inputs")

    @property
    def outputs(self) -> Any:
        """The output. None if the run has no end yet."""
        return self._part("outputs")

    @property
    def chunks(self) -> Any:
        """The chunks of a streamed output. None unless `outputs` was joined from chunks."""
        return self._part("chunks")

    @property
    def capture(self) -> Mapping[str, Sequence[str]]:
        """Parts that were not fully recorded, with the reasons: ``{"inputs": ["truncated"]}``."""
        return self._part("capture") or _EMPTY

    @property
    def params(self) -> Any:
        """The parameters that the function declared, by name."""
        return self._part("params")

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Metrics by name: one number, or a list of numbers. Series are reduced to 1,000 points."""
        metrics = self._part("metrics") or _EMPTY
        return {name: number_of(value) for name, value in metrics.items()}

    @property
    def metric_sources(self) -> Mapping[str, str]:
        """Source of each metric: ``data`` if `data_metrics` computed it, else ``logged``."""
        return self._part("metric_sources") or _EMPTY

    @property
    def evaluations(self) -> list[Evaluation]:
        """Scores of judges, labels of reviewers, and ground truth."""
        return [made(Evaluation, item) for item in self._part("evaluations") or ()]

    @property
    def logs(self) -> list[LogLine]:
        """Logged lines of text, the oldest first."""
        return [made(LogLine, item) for item in self._part("logs") or ()]

    @property
    def artifacts(self) -> list[Artifact]:
        """Logged artifacts, the newest first, at most 1,000."""
        load = None if self._whole is None else self._whole.load
        artifacts = self._part("artifacts") or ()
        return [made(Artifact, item, run_id=self.run_id, _load=load) for item in artifacts]

    @property
    def uses(self) -> list[Linked]:
        """Models, artifacts and data sets that the run used."""
        return [made(Linked, item) for item in self._part("uses") or ()]

    @property
    def produced(self) -> list[Linked]:
        """Models, artifacts and data sets that the run produced."""
        return [made(Linked, item) for item in self._part("produced") or ()]

    @property
    def used_by(self) -> list[LinkedRun]:
        """Runs that later used what this run produced."""
        return [made(LinkedRun, item) for item in self._part("used_by") or ()]

    @property
    def inside(self) -> Inside | None:
        """Totals of this run and all calls inside it. None if another run called this run.

        The totals include tokens, cost and the worst score of each judge. `asked` is a preview
        of the first inputs of the calls inside, and `answered` of their last outputs. `asked` is
        empty if this run itself has inputs. `answered` is empty if this run itself has outputs, or
        if it failed.
        """
        summary = self._part(INSIDE)
        if summary is None:
            return None
        scores = {
            judge: made(WorstScore, score) for judge, score in summary.get("scores", {}).items()
        }
        return made(Inside, summary, tokens=made(Tokens, summary["tokens"]), scores=scores)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Span attributes that no other field of the run shows."""
        return self._part("attributes") or _EMPTY

    @property
    def resource(self) -> Mapping[str, Any]:
        """OpenTelemetry resource attributes of the process."""
        return self._part("resource") or _EMPTY

    def _part(self, name: str) -> Any:
        return None if self._whole is None else self._whole.read(self.run_id, name)


@dataclass(frozen=True, slots=True)
class Figures:
    """Statistics of a set of runs: number of runs and errors, latency, tokens, cost and scores.

    If several instrumentations recorded the same call, it counts once.

    Attributes:
        runs: Number of runs.
        errors: Number of failed runs.
        error_share: Share of failed runs, from 0 to 1. None if there are no runs.
        p50_ms: Median latency in milliseconds, accurate to 1 %. None if no run has ended.
        p90_ms: 90 % quantile of the latency.
        p95_ms: 95 % quantile of the latency.
        p99_ms: 99 % quantile of the latency.
        tokens: Number of tokens.
        cost: Sum of the known costs in US dollars. None if no cost is known.
        judges: One dict for each judge version, with its number of scores, mean score and pass
            rate.
    """

    runs: int
    errors: int = 0
    error_share: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    tokens: Tokens = field(default_factory=Tokens)
    cost: float | None = None
    judges: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that have the same value, such as the same model, and their totals.

    `Runs.by` returns one group for each value.

    Attributes:
        label: The value that the runs share. Empty for runs without a value.
        where: A filter that selects the runs of the group, to pass to `Reader.runs`.
        total: Totals of the group.
    """

    label: str
    where: str
    total: Figures


@dataclass(frozen=True, slots=True)
class Sums:
    """The result of `Runs.by`: totals of all runs, and totals of each group of runs.

    Attributes:
        total: Totals of all matching runs, including those that a limit leaves out of the list.
        groups: The groups with the most runs, at most 20.
        left: Number of smaller groups, which are left out of `groups`.
        rest: Totals of the runs in the smaller groups that are left out. None if no group is left
            out.
    """

    total: Figures
    groups: Sequence[Group] = ()
    left: int = 0
    rest: Figures | None = None


class Whole:
    """Fetches the complete inputs and other large parts of runs, when they are first used.

    A list of runs contains only previews of them. Each part is fetched once and then cached.

    Args:
        fetch: Function that takes a run ID and the name of a part, such as ``inputs``. It returns a
            dict with this part. The dict may also contain other parts.
        load: Function that fetches the value of an artifact.
        known: Parts that are already fetched, by run ID and name.
        api: The collector. None if there is none.
    """

    def __init__(
        self,
        fetch: Callable[[str, str], Mapping[str, Any]],
        load: "Load",
        known: dict[str, dict[str, Any]] | None = None,
        api: Api | None = None,
    ) -> None:
        self.api = api
        self._fetch = fetch
        self._known = {} if known is None else known
        self.load = load

    def read(self, run_id: str, name: str) -> Any:
        """Return a part of a run, such as ``inputs``. Fetches it the first time."""
        here = self._known.setdefault(run_id, {})
        if name not in here:
            here.update(self._fetch(run_id, name))
        return here.get(name)


@dataclass(frozen=True, slots=True)
class UnmatchedRecords:
    """Tags, scores and other data that were sent for a trace, but belong to no stored run.

    For example, a tag of a whole trace, or a reviewer's label for a run that has not arrived yet.

    Attributes:
        run_id: ID of the run that the data was sent for. None if it was sent for the whole trace.
    """

    project: str
    run_id: str | None
    tags: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    logs: Sequence[LogLine] = ()
    evaluations: Sequence[Evaluation] = ()
    artifacts: Sequence[Artifact] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Trace(HasCard):
    """All runs of a trace, or of all traces with the same trace key, the oldest first.

    A trace key is your own name for a trace, such as ``order-17``. Iterating over a trace yields
    its runs in the order of their start.

    Attributes:
        key: The trace ID or trace key that you asked for.
        records: Tags, scores and other data that belong to the whole trace, or to runs that have
            not arrived.
        truncated: True if runs are missing because the trace has more than 10,000.
        hidden_parents: IDs of parent runs in projects that your API key may not read.
    """

    key: str
    runs: Sequence[Run]
    records: Sequence[UnmatchedRecords] = ()
    truncated: bool = False
    hidden_parents: Sequence[str] = ()

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    @property
    def _card(self) -> Card:
        return Card("Trace", self.key, (write_count(len(self.runs), "run"),))

    def _repr_html_(self) -> str:
        known = {run.run_id for run in self.runs}
        tops = [run for run in self.runs if run.parent_run_id not in known]
        source = next((run._file for run in tops), None)
        return show_record(source, self._card)


class StoredExperiment(records.ListedExperiment):
    """An experiment that was read from a collector. A notebook shows its items and its verdict."""

    _file: FileSource | None = None  # not a field, so it is not part of `dataclasses.asdict`

    def _repr_html_(self) -> str:
        return show_record(self._file, Card("Experiment", self.name, (self.outcome,)))


class StoredComparison(dict[str, Any]):
    """A comparison, as ``GET .../compare`` returns it. A notebook shows it as the page does.

    Args:
        answer: The answer of the API.
        source: Where its file is read.
    """

    def __init__(self, answer: Mapping[str, Any], source: FileSource) -> None:
        super().__init__(answer)
        self._file = source

    def _repr_html_(self) -> str:
        return show_record(self._file, Card("Comparison", self["sentence"]))


@dataclass(frozen=True, slots=True, repr=False)
class Model(HasCard, records.ModelCounts):
    """A model (a traced function) with the number of its runs, errors and versions.

    Attributes:
        page: Address of the model's web page in the collector.
    """

    page: str = field(default="", compare=False)

    @property
    def _card(self) -> Card:
        facts = (write_count(self.runs, "run"), write_count(self.versions, "version"))
        return Card("Model", self.model, facts, self.page)


@dataclass(frozen=True, slots=True, repr=False)
class Version(HasCard, HasSubject, records.ListedVersion):
    """A version of a model: its code and params, and the errors, latency and scores of its runs.

    Attributes:
        version: Version number.
        experiment_runs: Number of runs in experiments. They are not included in `runs`.
        judges: One dict for each judge version, with the keys `evaluations` (number of scores),
            `failed` (how often the judge itself failed), `mean_score`, `judged` (number of
            evaluations with a pass or fail result) and `passed` (number of passes among them).
        definition: What identifies the version, as a dict: source, signature, params, helper
            functions, constants, parts that could not be read, and structure of the output.
        aliases: Current aliases of the version, such as ``champion``.
        produced_by: Runs that produced the version: dicts with run_id, name, version and time.
        used_by: Runs that used the version: dicts with the same keys.
        metrics: Metrics logged for the version itself: a number, or a list of numbers, by name.
        last_metrics: Last value of each metric. None for NaN.
        metric_sources: Source of each metric: ``data`` if `data_metrics` computed it, else
            ``logged``.
        page: Address of the version's web page in the collector.
    """

    judges: Sequence[Mapping[str, Any]] = ()
    definition: Mapping[str, Any] = field(default_factory=dict)
    aliases: Sequence[str] = ()
    produced_by: Sequence[Mapping[str, Any]] = ()
    used_by: Sequence[Mapping[str, Any]] = ()
    tags: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    last_metrics: Mapping[str, Any] = field(default_factory=dict)
    metric_sources: Mapping[str, str] = field(default_factory=dict)
    page: str = field(default="", compare=False)

    @property
    def _subject(self) -> Subject:
        return Subject("model", self.model, self.digest)

    @property
    def _card(self) -> Card:
        facts = (f"v{self.version}", self.digest, write_count(self.runs, "run"))
        return Card("Version", self.model, facts, self.page)


@dataclass(frozen=True, slots=True, repr=False)
class Project(HasCard, records.ProjectCounts):
    """A project with the number of its runs, errors and artifacts.

    Attributes:
        page: Address of the project's web page in the collector.
    """

    page: str = field(default="", compare=False)

    @property
    def _card(self) -> Card:
        return Card("Project", self.project, (write_count(self.runs, "run"),), self.page)


@dataclass(frozen=True, slots=True)
class Point(records.MetricPoint):
    """One value of a metric, with step and time. `value` is None for NaN."""

    value: float | None


@dataclass(frozen=True, slots=True, repr=False)
class Series(HasCard):
    """The points of one metric, in the order in which they were logged.

    Attributes:
        source: ``data`` if `data_metrics` computed the last point, else ``logged``.
        count: Number of points that were logged.
        points: The points. A long series is divided into sections, and only the lowest and the
            highest point of each section are returned. The first and the last point of the series
            are always included.
        page: Address of the web page of the run or version that logged the metric.
    """

    run_id: str
    name: str
    count: int
    points: Sequence[Point]
    source: str = "logged"
    page: str = field(default="", compare=False)

    @property
    def _card(self) -> Card:
        last = f"last {self.points[-1].value}" if self.points else ""
        return Card("Series", self.name, (write_count(self.count, "point"), last), self.page)

    @property
    def values(self) -> list[float | None]:
        """The values without steps and times."""
        return [point.value for point in self.points]

    def to_pandas(self) -> "pd.DataFrame":
        """Return a pandas table with the columns ``value``, ``step`` and ``time``.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd  # optional

        return pd.DataFrame(
            {
                "value": pd.array(self.values, dtype="Float64"),
                "step": pd.array([point.step for point in self.points], dtype="Int64"),
                "time": pd.to_datetime([point.time_ns for point in self.points], utc=True),
            }
        )


def number_of(value: Any) -> Any:
    """Convert a metric's value or values from the API to numbers. Infinity is text in the API."""
    if isinstance(value, list):
        return [*map(number_of, value)]
    return float(value) if isinstance(value, str) else value


def made(kind: type[R], facts: Mapping[str, Any], **more: object) -> R:
    """Create an object of class `kind` from the API's JSON. Unknown fields are ignored."""
    known = {field_.name for field_ in fields(kind)}  # type: ignore[arg-type]  # all are dataclasses
    return kind(**{name: value for name, value in {**facts, **more}.items() if name in known})


def made_run(facts: Mapping[str, Any], whole: Whole) -> Run:
    """Create a run from its JSON in a list. `whole` fetches its other parts."""
    shown = {"inputs_preview": facts["inputs"], "outputs_preview": facts["outputs"]}
    return made(Run, {**facts, **shown}, tokens=made(Tokens, facts["tokens"]), _whole=whole)


def made_experiment(facts: Mapping[str, Any], api: Api, project: str) -> StoredExperiment:
    """Create an experiment from its JSON. `api` and `project` are where it was read."""
    experiment = made(StoredExperiment, facts)
    source = FileSource(api, (project, "experiments", experiment.run_id))
    object.__setattr__(experiment, "_file", source)  # the class is frozen
    return experiment


def made_sums(facts: Mapping[str, Any]) -> Sums:
    """Create `Sums` from the API's JSON."""
    rest = facts.get("rest")
    return made(
        Sums,
        facts,
        total=_made_figures(facts["total"]),
        groups=[
            made(Group, group, total=_made_figures(group["total"])) for group in facts["groups"]
        ],
        rest=None if rest is None else _made_figures(rest),
    )


def _made_figures(facts: Mapping[str, Any]) -> Figures:
    return made(Figures, facts, tokens=made(Tokens, facts["tokens"]))


def make_unmatched(facts: Mapping[str, Any], load: "Load") -> UnmatchedRecords:
    """Create `UnmatchedRecords` from the API's JSON."""
    return made(
        UnmatchedRecords,
        facts,
        logs=[made(LogLine, log) for log in facts["logs"]],
        evaluations=[made(Evaluation, evaluation) for evaluation in facts["evaluations"]],
        artifacts=[made(Artifact, artifact, _load=load) for artifact in facts["artifacts"]],
    )
