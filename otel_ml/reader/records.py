"""Records of the collector as objects: plain values in the names of the JSON API."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, TypeVar

from otel_ml import records
from otel_ml.notebook import Card, HasCard, page_address, shorten
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
# Under this a list of roots tells what is inside of each.
INSIDE: Final = "inside"


@dataclass(frozen=True, slots=True)
class LogLine(records.LineRecord):
    """A line of text of a run."""

    event: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact(records.ListedArtifact, HasSubject):
    """An artifact logged under a reference.

    Attributes:
        run_id: None when it is about no run.
        obj_id: Empty in the artifacts of a run.
    """

    run_id: str | None = None
    obj_id: str = ""
    _load: "Load | None" = field(default=None, repr=False, compare=False)

    @property
    def _subject(self) -> Subject:
        return Subject("artifact", self.ref, self.sha256 or "", self.run_id or "")

    @property
    def kept(self) -> str:
        """The kept part where that is less than the logged value, such as ``its text only``."""
        part = self.preview.get("kept") if isinstance(self.preview, Mapping) else None
        return part if isinstance(part, str) else ""

    def load(self) -> Any:
        """Fetch the value: the type, dtype, shape and content that were logged.

        Raises:
            NotFound: The document is not here.
            ValueError: Its type is not registered; see `otel_ml.types.register`.
            ImportError: It needs a package that is not installed.
        """
        if self._load is None:
            raise TypeError("This artifact was not read from a collector")
        return self._load(self)


@dataclass(slots=True, kw_only=True, repr=False)
class Run(HasCard, ListedRun):
    """A run. Parts that a list does not carry are fetched at their first use.

    Attributes:
        run_id: ``<32 hex>-<16 hex>``.
        version: The model version's small number.
        latency_ms: None while the run has no end.
        outcome: ok, error, cancelled or abandoned; of a run without an end running or crashed.
        inputs_preview: The inputs in short, as text.
        outputs_preview: The outputs in short; None while the run has no end.
    """

    inputs_preview: str = ""
    outputs_preview: str | None = None
    _whole: "Whole | None" = field(default=None, repr=False, compare=False)

    @property
    def page(self) -> str:
        """The address of its page; empty where it was not read from a collector."""
        base = "" if self._whole is None else self._whole.page
        return page_address(base, self.project, "runs", self.run_id)

    @property
    def _card(self) -> Card:
        version = "" if self.version is None else f" v{self.version}"
        latency = "" if self.latency_ms is None else f"{self.latency_ms:,.1f} ms"
        model = f"{shorten(self.model or self.name)}{version}"
        return Card("Run", self.run_id, (model, self.outcome, latency), self.page)

    @property
    def start(self) -> datetime:
        """When it began, in UTC, to the microsecond."""
        return datetime.fromtimestamp(self.start_ns // 1_000 / 1_000_000, timezone.utc)

    @property
    def inputs(self) -> Any:
        """The inputs, by the names of the parameters."""
        return self._told("inputs")

    @property
    def outputs(self) -> Any:
        """The output; None while the run has no end."""
        return self._told("outputs")

    @property
    def chunks(self) -> Any:
        """The pieces of a stream, where the output is their joined form; else None."""
        return self._told("chunks")

    @property
    def capture(self) -> Mapping[str, Sequence[str]]:
        """Parts such as inputs of which not all is here, each with why: cut, hidden and so on."""
        return self._told("capture") or _EMPTY

    @property
    def params(self) -> Any:
        """The declared parameters."""
        return self._told("params")

    @property
    def metrics(self) -> Mapping[str, Any]:
        """A number, or numbers, by name; of a long series 1,000, the shape of its curve."""
        metrics = self._told("metrics") or _EMPTY
        return {name: number_of(value) for name, value in metrics.items()}

    @property
    def evaluations(self) -> list[Evaluation]:
        """The evaluations by judges, people and truths."""
        return [made(Evaluation, item) for item in self._told("evaluations") or ()]

    @property
    def logs(self) -> list[LogLine]:
        """The lines of text, the oldest first."""
        return [made(LogLine, item) for item in self._told("logs") or ()]

    @property
    def artifacts(self) -> list[Artifact]:
        """Its logged artifacts, newest first, at most 1,000."""
        load = None if self._whole is None else self._whole.load
        artifacts = self._told("artifacts") or ()
        return [made(Artifact, item, run_id=self.run_id, _load=load) for item in artifacts]

    @property
    def uses(self) -> list[Linked]:
        """The records that it used: models, artifacts, data sets."""
        return [made(Linked, item) for item in self._told("uses") or ()]

    @property
    def produced(self) -> list[Linked]:
        """The records that it produced, likewise."""
        return [made(Linked, item) for item in self._told("produced") or ()]

    @property
    def used_by(self) -> list[LinkedRun]:
        """Other runs that used its records."""
        return [made(LinkedRun, item) for item in self._told("used_by") or ()]

    @property
    def inside(self) -> Inside | None:
        """The sums of a root and the calls inside it; None of a run that is no root.

        With the first question and the last answer inside it where it has none itself, and the
        worst score of each judge.
        """
        summary = self._told(INSIDE)
        if summary is None:
            return None
        scores = {
            judge: made(WorstScore, score) for judge, score in summary.get("scores", {}).items()
        }
        return made(Inside, summary, tokens=made(Tokens, summary["tokens"]), scores=scores)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the span that have no other place."""
        return self._told("attributes") or _EMPTY

    @property
    def resource(self) -> Mapping[str, Any]:
        """The resource of the process."""
        return self._told("resource") or _EMPTY

    def _told(self, name: str) -> Any:
        return None if self._whole is None else self._whole.read(self.run_id, name)


@dataclass(frozen=True, slots=True)
class Figures:
    """The sums of some runs, each call once.

    Attributes:
        error_share, p50_ms, p95_ms: None of no runs; quantiles are within 1 % of the exact ones.
        cost: In US dollars, of the runs whose cost is known; None where none is.
        judges: Figures of each version of a judge, as the API answers them.
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
    """The runs of a list that have a value in common.

    Attributes:
        label: The value; empty for runs that have none.
        where: The filter that lists them.
    """

    label: str
    where: str
    total: Figures


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of the runs of a list, by groups.

    Attributes:
        total: Of all that match, whatever the order and the limit of the list.
        groups: Those with most runs, at most 20.
        left: How many groups there are besides.
        rest: The sum of these; None where there are none.
    """

    total: Figures
    groups: Sequence[Group] = ()
    left: int = 0
    rest: Figures | None = None


class Whole:
    """Fetches and keeps the parts of runs that a list does not carry.

    Args:
        fetch: Reads a part of a run, or more of it, by the run's id and the part's name.
        load: Reads the value of an artifact.
        known: Parts that are here already, by run id and name.
        page: Base address of the collector's pages.
    """

    def __init__(
        self,
        fetch: Callable[[str, str], Mapping[str, Any]],
        load: "Load",
        known: dict[str, dict[str, Any]] | None = None,
        page: str = "",
    ) -> None:
        self.page = page
        self._fetch = fetch
        self._known = {} if known is None else known
        self.load = load

    def read(self, run_id: str, name: str) -> Any:
        """Read a part of a run."""
        here = self._known.setdefault(run_id, {})
        if name not in here:
            here.update(self._fetch(run_id, name))
        return here.get(name)


@dataclass(frozen=True, slots=True)
class Told:
    """Late records of a trace, its key, or a run that is not stored.

    Attributes:
        run_id: None for the trace itself.
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
    """All runs of the traces that have the same id or key, the oldest first.

    Attributes:
        key: The id or key that was asked for.
        records: Late records of the trace apart from its runs.
        truncated: There are more runs than 10,000.
        hidden_parents: Runs above these, in projects that the key may not read.
    """

    key: str
    runs: Sequence[Run]
    records: Sequence[Told] = ()
    truncated: bool = False
    hidden_parents: Sequence[str] = ()

    @property
    def _card(self) -> Card:
        return Card("Trace", self.key, (f"{len(self.runs):,} runs",))


@dataclass(frozen=True, slots=True, repr=False)
class Model(HasCard, records.ModelCounts):
    """A model and its recorded runs.

    Attributes:
        page: The address of its page in the collector.
    """

    page: str = field(default="", compare=False)

    @property
    def _card(self) -> Card:
        facts = (f"{self.runs:,} runs", f"{self.versions:,} versions")
        return Card("Model", self.model, facts, self.page)


@dataclass(frozen=True, slots=True, repr=False)
class Version(HasCard, HasSubject, records.ListedVersion):
    """A version of a model and the figures of its recorded runs.

    Attributes:
        version: The small number.
        experiment_runs: How many runs experiments have of it, which are not among `runs`.
        judges: Figures of its judges: dicts with judge, evaluations, failed, mean_score,
            passed and judged.
        definition: Its definition: source, signature, params, helpers, constants, unseen parts,
            output.
        aliases: The names that it has now, such as champion.
        produced_by: The runs that produced it, as dicts with run_id, name, version and time.
        used_by: The runs that used it, likewise.
        metrics: Metrics of the version itself: a number, or numbers, by name.
        last_metrics: The last value of each of them; None for a NaN.
        page: The address of its page in the collector.
    """

    judges: Sequence[Mapping[str, Any]] = ()
    definition: Mapping[str, Any] = field(default_factory=dict)
    aliases: Sequence[str] = ()
    produced_by: Sequence[Mapping[str, Any]] = ()
    used_by: Sequence[Mapping[str, Any]] = ()
    tags: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    last_metrics: Mapping[str, Any] = field(default_factory=dict)
    page: str = field(default="", compare=False)

    @property
    def _subject(self) -> Subject:
        return Subject("model", self.model, self.digest)

    @property
    def _card(self) -> Card:
        facts = (f"v{self.version}", self.digest, f"{self.runs:,} runs")
        return Card("Version", self.model, facts, self.page)


@dataclass(frozen=True, slots=True, repr=False)
class Project(HasCard, records.ProjectCounts):
    """A project and its recorded runs.

    Attributes:
        page: The address of its page in the collector.
    """

    page: str = field(default="", compare=False)

    @property
    def _card(self) -> Card:
        return Card("Project", self.project, (f"{self.runs:,} runs",), self.page)


@dataclass(frozen=True, slots=True)
class Point(records.MetricPoint):
    """One point of a metric; `value` is None when it is NaN."""

    value: float | None


@dataclass(frozen=True, slots=True, repr=False)
class Series(HasCard):
    """The points of a metric of a run, in the order they were logged.

    Attributes:
        count: How many points it has; where `points` are fewer, the first and the last, and of
            each stretch between them the lowest and the highest.
        page: The address of its run's page in the collector, or of its version's.
    """

    run_id: str
    name: str
    count: int
    points: Sequence[Point]
    page: str = field(default="", compare=False)

    @property
    def _card(self) -> Card:
        last = f"last {self.points[-1].value}" if self.points else ""
        return Card("Series", self.name, (f"{self.count:,} points", last), self.page)

    @property
    def values(self) -> list[float | None]:
        """The values alone."""
        return [point.value for point in self.points]

    def to_pandas(self) -> "pd.DataFrame":
        """Make a table with the columns value, step and time.

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
    """Return a value of a metric, or its values: infinities come as text."""
    if isinstance(value, list):
        return [*map(number_of, value)]
    return float(value) if isinstance(value, str) else value


def made(kind: type[R], facts: Mapping[str, Any], **more: object) -> R:
    """Make an object from an answer of the API; fields of a later collector are left out."""
    known = {field_.name for field_ in fields(kind)}  # type: ignore[arg-type]  # all are dataclasses
    return kind(**{name: value for name, value in {**facts, **more}.items() if name in known})


def made_run(facts: Mapping[str, Any], whole: Whole) -> Run:
    """Make a run from its entry in a list."""
    shown = {"inputs_preview": facts["inputs"], "outputs_preview": facts["outputs"]}
    return made(Run, {**facts, **shown}, tokens=made(Tokens, facts["tokens"]), _whole=whole)


def made_sums(facts: Mapping[str, Any]) -> Sums:
    """Make the sums of a list."""
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


def made_told(facts: Mapping[str, Any], load: "Load") -> Told:
    """Make the late records of a trace."""
    return made(
        Told,
        facts,
        logs=[made(LogLine, log) for log in facts["logs"]],
        evaluations=[made(Evaluation, evaluation) for evaluation in facts["evaluations"]],
        artifacts=[made(Artifact, artifact, _load=load) for artifact in facts["artifacts"]],
    )
