"""Releases: compare a model's newest version with the one before it, while its runs arrive.

A new version of a model, a new release of the service and a new LLM are handled alike. Everything
is computed from the recorded runs on request. So late, repeated or reordered data leads to the same
answer.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby
from typing import Final, Literal

from pydantic import Field

from otel_ml.counts import write_count
from otel_ml.statistics.comparison import Word
from otel_ml.statistics.rollout import (
    CALLS,
    LEAST_SHARE,
    Choice,
    Rollout,
    Stretch,
    choose_baseline,
    choose_rollout,
    choose_runs,
    find_rollout,
)
from otel_ml.statistics.slice_changes import find_look
from otel_ml_collector import wording
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.grammar import FieldComparison, parse
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.findings import Finding, FindingsQuestion
from otel_ml_collector.findings.slice_changes import WorseSlice, find_worse_slices
from otel_ml_collector.findings.slice_sums import is_requested_name
from otel_ml_collector.findings.slice_truths import find_outcomes, name_target
from otel_ml_collector.findings.slices import narrow_to_failed
from otel_ml_collector.measures.measures import HAS_FAILED
from otel_ml_collector.measures.units import (
    BOUNDS,
    HOUR,
    VERSION_LABEL,
    Sides,
    count_tag_values,
)
from otel_ml_collector.store.counted import RECORDED
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_counted
from otel_ml_collector.store.sql import ALWAYS, Condition, Sql
from otel_ml_collector.store.versions import all_version_numbers, read_current_aliases
from otel_ml_collector.times import DAY_NS, HOUR_NS, from_rfc3339, to_rfc3339
from otel_ml_collector.verdicts.claims import (
    Claim,
    ComparedValues,
    claim_version,
    join_evidence,
    make_banner,
    measure_of,
    name_measured,
    name_slice,
    name_version,
    write_difference,
    write_elsewhere,
    write_margin,
    write_moment,
)
from otel_ml_collector.verdicts.sides import (
    COUNTED,
    RUNS_WITH_TRUTH,
    SCORED_RUNS,
    SidesVerdict,
    compare_sides,
    compare_tag_values,
    leave_open,
)
from otel_ml_collector.verdicts.verdicts import (
    AMOUNT_FIGURES,
    AT_ALL_LOOKS,
    ERRORS,
    MISSING,
    ComparedFigure,
    FiguresVerdict,
    Interval,
    judge_recorded,
)
from otel_ml_collector.versions import diff
from otel_ml_collector.versions.find import find_definitions
from otel_ml_collector.windows import Window

Dimension = Literal["version", "release", "provider_model"]
DIMENSIONS: Final[tuple[Dimension, ...]] = ("version", "release", "provider_model")

_NEW_NS: Final = 14 * DAY_NS
_BEFORE_NS: Final = 7 * DAY_NS
# Maximum number of hours, times versions, that are counted.
_MOST_HOURS: Final = 500_000
# Maximum number of combinations of version, release and LLM.
_MOST_COMBINED: Final = 50_000
# Maximum number of releases of a project that are judged, the latest.
_MOST_JUDGED: Final = 20
# Newest runs are left out for as long as slow runs take to arrive, at most this long.
_MOST_DELAY_NS: Final = HOUR_NS
# A p99 of the latency needs this many runs.
_LEAST_FOR_P99: Final = 100
# Maximum number of calls whose order is read, to find a rollout.
_MOST_ORDERED: Final = 200_000
# If both sides ran in at most as many hours, a rollout may decide which runs are compared.
_FEW_HOURS: Final = 2


class Side(AnswerBody):
    """One side of a comparison: a version of a model, a release of the service, or an LLM."""

    name: str = Field(description="Name, such as answer:v3, or the name of the release or LLM")
    version: int | None = Field(
        description="Number of the model version; null for a release or LLM"
    )
    where: str = Field(description="Filter that lists the runs of this side")
    runs: int = Field(description="Number of compared runs")


class ReleaseFigure(ComparedFigure):
    """One figure of a release, compared with its baseline."""

    since: str | None = Field(
        description="When it first became certain that this is worse, RFC 3339"
    )
    worst: str = Field(
        description="Filter of the slice for which this figure of the new version is worse, such "
        "as one client, over all tags; empty if there is no such slice"
    )
    of_worst: ComparedFigure | None = Field(
        default=None,
        description="The same figure in the slice `worst`; null if there is no such slice",
    )


class ReleaseSlice(AnswerBody):
    """A slice, such as one client, for which a new version is worse than its baseline.

    The change within the slice is worse than the margin, and differs from the change in all other
    runs.
    """

    name: str = Field(description="Name of the slice, such as `client Kessler`")
    condition: str = Field(description="Filter for the slice alone")
    where: str = Field(description="Filter that lists the new version's runs in the slice")
    sentence: str = Field(description="By how much the new version is worse for the slice")
    elsewhere: Interval = Field(
        description="Change in all other runs, adjusted for a different mix of traffic; for "
        "latency, tokens and cost, a ratio"
    )
    runs: int = Field(
        description="Slices are looked at when the side with fewer runs reaches 100, 200, 400, ... "
        "runs with the figure. This is the number of the newest look"
    )
    figure: ComparedFigure = Field(
        description="The figure that is worse, with its values in the slice at this look, and 95 % "
        "intervals"
    )


class Release(AnswerBody):
    """The comparison of a model's newest version, release or LLM with its baseline.

    For example, version 3 is usually compared with version 2. The verdict in `word` becomes "worse"
    as soon as this is statistically certain. You may repeat the comparison as often as you like
    while runs arrive: of a hundred releases without any change, at most one is ever called worse.
    """

    model: str
    dimension: Dimension
    word: Word
    sentence: str
    compared: str = Field(description="Which runs are compared, in words, with their numbers")
    left_out: str = Field(
        description="Which runs of the newer version are not compared, in words; empty if all are"
    )
    kind: Literal["hours", "rollout", "none"] = Field(
        description="`hours`: the runs of hours in which both ran. `rollout`: the older version's "
        "runs of the 7 days before the rollout, and the newer version's runs since then. `none`: "
        "neither gives enough runs"
    )
    candidate: Side
    baseline: Side
    change: str = Field(
        description="What changed in the version, in a few words; empty for a release or LLM"
    )
    began: str = Field(description="Start of its first run, RFC 3339")
    began_ns: int = Field(exclude=True)
    deciding: ComparedFigure | None = Field(
        exclude=True, description="The figure that decides; null if no figure is compared"
    )
    around_rollout: list[str] = Field(
        description="Figures that are compared by the runs before and since the rollout, because "
        "fewer than 100 runs of a side have them in the hours in which both ran"
    )
    since: str | None = Field(
        description="When it first became certain that this is worse, RFC 3339"
    )
    stratum: str = Field(
        description="Tag whose values get the same weight on both sides; empty if there is none"
    )
    share: float = Field(
        description="Share of the sessions and traces that are included, from 0 to 1"
    )
    figures: list[ReleaseFigure] = Field(description="All figures, worst first")
    for_whom: list[ReleaseSlice] = Field(
        description="Slices for which it is worse, the clearest first, over all values of all "
        "tags. Of a hundred versions without a difference, at most five ever have one"
    )
    command: str = Field(
        description="Command that evaluates both versions on a data set; empty for a release or LLM"
    )

    @property
    def heading(self) -> str:
        """A heading that names both sides, and which of their runs are compared."""
        names = f"{self.candidate.name} vs {self.baseline.name}"
        return f"{names}: {self.compared}{f'; {self.left_out}' if self.left_out else ''}"

    @property
    def is_worse(self) -> bool:
        """Whether it is worse, over all runs or for a slice."""
        return self.word == Word.WORSE or bool(self.for_whom)

    @property
    def shown_slice(self) -> ReleaseSlice | None:
        """The slice that the claim is about. None if it is about all runs."""
        if self.word != Word.WORSE:
            return next(iter(self.for_whom), None)
        worst = self.worst_slice
        return worst if worst is not None and _explains(self.figures[0], worst.figure) else None

    @property
    def worst_slice(self) -> ReleaseSlice | None:
        """The slice for which the figure that decides is worse. None if there is no such slice."""
        figure = self.figures[0].name if self.figures else ""
        return next((item for item in self.for_whom if item.figure.name == figure), None)

    def narrow(self, figure: str) -> "Release":
        """Return the comparison of one figure alone, as if no other were compared."""
        own = next(item for item in self.figures if item.name == figure)
        return self.model_copy(
            update={
                "word": own.word,
                "sentence": own.named_sentence,
                "deciding": own,
                "figures": [own],
                "for_whom": [item for item in self.for_whom if item.figure.name == figure],
            }
        )

    @property
    def recorded(self) -> FiguresVerdict:
        """This comparison in the form that comparisons of two versions have."""
        return judge_recorded(self.word, self.sentence, self.figures, self.deciding)


class Releases(AnswerBody):
    """The releases of a model or a project, newest first."""

    releases: list[Release]


@dataclass(frozen=True, slots=True)
class Change:
    """A new version, release or LLM of a model, and the baseline that it is compared with.

    Attributes:
        dimension: Which of the three is new: `version`, `release` or `provider_model` (the LLM).
        name: Name of the new version, release or LLM.
        labels: Values by which the store finds its runs. A version can have several.
        baseline: Name of the baseline.
        before: Values by which the store finds the runs of the baseline.
        began_ns: Start of the first run with the new version, release or LLM.
        end_ns: End of the compared time. Later runs may still be arriving.
        choice: Which runs are compared.
        is_reversed: Whether the baseline is newer than the other side.
        find_rollout: Returns the runs before and since the rollout, if `choice` are the runs of the
            hours of both. None if there is no rollout.
    """

    model: str
    dimension: Dimension
    name: str
    labels: tuple[str, ...]
    version: int | None
    baseline: str
    before: tuple[str, ...]
    baseline_version: int | None
    began_ns: int
    end_ns: int
    choice: Choice
    is_reversed: bool = False
    find_rollout: Callable[[], Choice | None] = field(
        default=lambda: None, compare=False, repr=False
    )

    @property
    def names(self) -> tuple[str, str]:
        """Short names of the baseline and of the new version, release or LLM: `v1` and `v2`."""
        if self.version is None or self.baseline_version is None:
            return self.baseline, self.name
        return f"v{self.baseline_version}", f"v{self.version}"

    @property
    def conditions(self) -> tuple[str, str]:
        """Filters for the runs of the baseline and of the other side, without the model."""
        before = self.baseline if self.baseline_version is None else self.baseline_version
        now = self.name if self.version is None else self.version
        return f"{self.dimension} == {quoted(before)}", f"{self.dimension} == {quoted(now)}"

    @property
    def runs(self) -> tuple[int, int]:
        """Number of compared runs, of the baseline and of the other side."""
        older, newer = self.choice.runs
        return (newer, older) if self.is_reversed else (older, newer)

    @property
    def around_rollout(self) -> "Change | None":
        """This change with the runs before and since the rollout, instead of shared hours."""
        choice = self.find_rollout() if self.choice.kind == "hours" else None
        return None if choice is None else replace(self, choice=choice)

    def reverse(self) -> "Change":
        """Exchange the two sides."""
        return replace(
            self,
            name=self.baseline,
            labels=self.before,
            version=self.baseline_version,
            baseline=self.name,
            before=self.labels,
            baseline_version=self.version,
            is_reversed=not self.is_reversed,
        )

    @property
    def compared(self) -> str:
        """Which runs are compared, in words."""
        older, newer = reversed(self.names) if self.is_reversed else self.names
        runs = self.choice.runs
        if self.choice.rollout is not None:
            start_ns = self.choice.rollout.hour * HOUR_NS
            if self.choice.rollout.is_clean:
                start_ns = max(start_ns, self.began_ns)
            start = write_moment(start_ns)
            return (
                f"rollout of {newer} on {start} UTC: {runs[0]:,} runs with {older} before it, "
                f"{runs[1]:,} with {newer} since then"
            )
        counts = [f"{count:,}" for count in self.runs]
        return f"hours with both {_PLURALS[self.dimension]}: {' and '.join(counts)} runs"

    @property
    def left_out(self) -> str:
        """Which runs of the newer side are not compared, in words. Empty if all are."""
        count = self.choice.left_out
        if not count:
            return ""
        newer = self.names[0 if self.is_reversed else 1]
        where = "before the rollout" if self.choice.rollout is not None else "in other hours"
        return f"{write_count(count, 'run')} with {newer} {where} not counted"


_PLURALS: Final[Mapping[Dimension, str]] = {
    "version": "versions",
    "release": "releases",
    "provider_model": "LLMs",
}
_LABELS: Final[Mapping[Dimension, Sql]] = {
    "version": VERSION_LABEL,
    "release": Sql("toString(release)"),
    "provider_model": Sql("toString(provider_model)"),
}


def find_releases(
    reader: Reader,
    project: str,
    now_ns: int,
    model: str | None = None,
    where: str = "",
    *,
    changes: Sequence[Change] | None = None,
) -> list[Release]:
    """Compare the new versions, releases and LLMs of the last 14 days with their baselines.

    Each is compared with the version, release or LLM that the model used before.

    Args:
        reader: The store.
        project: The project.
        now_ns: Time of the comparison, in nanoseconds since 1970. Later runs are ignored.
        model: Only this model; None for all models.
        where: A filter; only matching runs are compared. Empty for all runs.
        changes: The result of `find_changes`, if you have it already.

    Returns:
        The comparisons, newest first.

    Raises:
        BadInput: The filter is invalid.
    """
    if changes is None:
        changes = find_changes(reader, project, now_ns, model)
    changes = changes[:_MOST_JUDGED]
    versions = [change.model for change in changes if change.dimension == "version"]
    definitions = find_definitions(reader, project, versions) if versions else {}
    releases = []
    for change in changes:
        release = _judge(reader, project, change, now_ns, where)
        own = definitions.get(change.model, {})
        if change.version in own:
            before = own.get(change.baseline_version or 0)
            release.change = diff.changes(before, own[change.version])
        releases.append(release)
    return releases


@dataclass(frozen=True, slots=True)
class TwoVersions:
    """Two versions of a model, and which of their runs are compared.

    Attributes:
        project: The project.
        model: Name of the model.
        versions: Numbers of the baseline and of the version that is compared with it.
        now_ns: Time of the comparison, in nanoseconds since 1970. Later runs are ignored.
        where: A filter; only matching runs are compared. Empty for all runs.
    """

    project: str
    model: str
    versions: tuple[int, int]
    now_ns: int
    where: str = ""


def compare_pair(reader: Reader, asked: TwoVersions) -> tuple[Release | None, bool]:
    """Compare any two versions of a model as a release is compared.

    It does not matter which of them is the baseline: the answer is mirrored exactly. The answer
    names what changed from the older version to the newer one.

    Returns:
        The comparison, and whether it is that of a release. No comparison if one of the versions
        has no run.

    Raises:
        BadInput: The filter is invalid.
    """
    change, is_release = _find_pair(reader, asked)
    if change is None:
        return None, False
    release = _judge(reader, asked.project, change, asked.now_ns, asked.where)
    definitions = find_definitions(reader, asked.project, [asked.model]).get(asked.model, {})
    older, newer = sorted(asked.versions)
    if newer in definitions:
        release.change = diff.changes(definitions.get(older), definitions[newer])
    return release, is_release


def compare_by(reader: Reader, asked: TwoVersions, by: str) -> dict[str, SidesVerdict]:
    """Compare two versions of a model separately for each value of the tag `by`.

    Returns:
        The verdict for each value, those with the most runs first, at most 20. Empty if no value
        occurs with both versions.
    """
    change, _ = _find_pair(reader, asked)
    project = asked.project
    sides = None if change is None else _find_sides(reader, project, change, asked.where)
    if sides is None:
        return {}
    start = f"{by}="
    tokens = [
        row["token"] for row in count_tag_values(reader, sides) if row["token"].startswith(start)
    ]
    found = compare_tag_values(reader, project, sides, tokens[:_MOST_VALUES_SHOWN])
    return {token.removeprefix(start): verdict for token, verdict in found.items()}


_MOST_VALUES_SHOWN: Final = 20


def _find_pair(reader: Reader, asked: TwoVersions) -> tuple[Change | None, bool]:
    """Choose the runs of two versions to compare, the baseline first, see `compare_pair`."""
    project, model, now_ns = asked.project, asked.model, asked.now_ns
    older, newer = sorted(asked.versions)
    changes = find_changes(reader, project, now_ns, model, dimensions=("version",))
    change = next(
        (item for item in changes if (item.baseline_version, item.version) == (older, newer)), None
    )
    is_release = change is not None
    if change is None:
        numbers = all_version_numbers(reader, project, "model")
        names: dict[str, str | int] = {
            f"{digest}:{structure}": number
            for (own, digest, structure), number in numbers.items()
            if own == model
        }
        new = _Newest(model, "version", newer, 0, names)
        change = _find_baseline(reader, project, new, numbers, now_ns, against=older, start_ns=0)
    if change is not None and asked.versions == (newer, older):
        change = change.reverse()
    return change, is_release


def find_changes(
    reader: Reader,
    project: str,
    now_ns: int,
    model: str | None = None,
    *,
    dimensions: Sequence[Dimension] = DIMENSIONS,
) -> list[Change]:
    """Find the models that have a new version, release or LLM, and choose a baseline for each.

    A version, release or LLM is new if the model's first run with it was in the last 14 days. Only
    the newest version, the newest release and the newest LLM of each model are considered.

    The baseline is an older version, release or LLM: the version that is marked as production, or
    else the one with the most runs in the compared hours or days. A new version, release or LLM
    without a baseline is left out.
    """
    numbers = all_version_numbers(reader, project, "model")
    changes = []
    firsts, slow_ns = _find_firsts(reader, project, now_ns, model, numbers)
    for (of, dimension), labels in firsts.items():
        if dimension not in dimensions:
            continue
        first_ns: dict[str | int, int] = {}
        for name, began_ns in labels.values():
            first_ns[name] = min(first_ns.get(name, began_ns), began_ns)
        # For versions, the highest number counts, even if an older version runs again.
        newest = max(
            first_ns, key=lambda entry: (entry if isinstance(entry, int) else 0, first_ns[entry])
        )
        if len(first_ns) > 1 and first_ns[newest] >= now_ns - _NEW_NS:
            names = {label: name for label, (name, _) in labels.items()}
            new = _Newest(of, dimension, newest, first_ns[newest], names, slow_ns[of])
            change = _find_baseline(reader, project, new, numbers, now_ns)
            if change is not None:
                changes.append(change)
    return sorted(changes, key=lambda change: (-change.began_ns, change.model, change.dimension))


@dataclass(frozen=True, slots=True)
class VersionWord:
    """Whether a model's newest version was worse than its baseline at one time.

    Attributes:
        is_worse: Whether one figure was worse, over all runs or for a slice.
        runs: Number of runs of the newest version that have this figure.
        sentence: For whom it was worse, in words. Empty if it was not worse.
    """

    is_worse: bool
    runs: int
    sentence: str


@dataclass(slots=True)
class VersionWords:
    """Finds out whether a model's newest version was worse than its baseline at past times.

    Slices are compared only when the side with fewer runs reaches 100, 200, 400, ... of them. So
    they are read again only for the first time after each of these looks.

    Args:
        reader: The store.
        project: The project.
        model: The model.
    """

    reader: Reader
    project: str
    model: str
    _changes: dict[int, Change | None] = field(default_factory=dict)
    _runs: "dict[tuple[Change, str], _ChangedRuns]" = field(default_factory=dict)
    _verdicts: dict[tuple[Change, str], SidesVerdict] = field(default_factory=dict)
    _slices: dict[tuple[object, ...], list[WorseSlice]] = field(default_factory=dict)

    def find(self, figure: str, where: str, times_ns: Sequence[int]) -> dict[int, VersionWord]:
        """Return for each time whether the newest version was worse than its baseline then.

        Args:
            figure: The figure that is compared: `errors`, or the name of a judge.
            where: A filter; only matching runs are compared. Empty for all runs.
            times_ns: The times, in ascending order. For each, later runs are ignored.

        Returns:
            The answer for each time. A time is left out if the newest version was older than 14
            days or had no baseline, or if a judge had scored runs of only one of the two versions.
        """
        words = {}
        for time_ns, change in self._find_changes(times_ns).items():
            key = change, where
            if key not in self._verdicts:
                self._runs[key] = _find_runs(self.reader, self.project, change, where)
                self._verdicts[key] = _compare(self.reader, self.project, change, self._runs[key])
            verdict = self._verdicts[key]
            changes = verdict.describe()
            own = next((item for item in changes if item.name == figure and item.runs), None)
            if own is not None:
                worse = self._find_slices(change, where, verdict, changes)
                release = _describe(
                    change, verdict, [item for item in worse if item.figure.subject == figure]
                ).narrow(figure)
                sentence = write_release(release) if release.is_worse else ""
                words[time_ns] = VersionWord(release.is_worse, own.runs, sentence)
        return words

    def _find_slices(
        self, change: Change, where: str, verdict: SidesVerdict, figures: Sequence[ComparedFigure]
    ) -> list[WorseSlice]:
        """Find the slices for which the version is worse, once for each look at them."""
        looks = [
            find_look(min(figure.baseline.n, figure.candidate.n))
            for figure in figures
            if figure.baseline and figure.candidate
        ]
        key = (
            where,
            *(change.before, change.labels, change.choice.kind, change.choice.rollout),
            *looks,
        )
        if key not in self._slices:
            self._slices[key] = _find_slices(
                self.reader, self.project, change, verdict, self._runs[change, where]
            )
        return self._slices[key]

    def _find_changes(self, times_ns: Sequence[int]) -> dict[int, Change]:
        """Find the newest version at each time, as `find_changes` does for one time."""
        numbers = all_version_numbers(self.reader, self.project, "model")
        firsts = _find_first_days(self.reader, self.project, self.model, times_ns)
        _, slow_ns = _find_firsts(self.reader, self.project, times_ns[-1], self.model, numbers)
        changes = {}
        for time_ns in times_ns:
            names: dict[str, str | int] = {}
            first_ns: dict[int, int] = {}
            oldest_ns = time_ns - _NEW_NS - _BEFORE_NS
            for (digest, structure), days in firsts.items():
                starts = [start_ns for start_ns in days if oldest_ns <= start_ns <= time_ns]
                number = numbers.get((self.model, digest, structure), 0)
                if starts and number:
                    names[f"{digest}:{structure}"] = number
                    first_ns[number] = min(first_ns.get(number, time_ns), *starts)
            newest = max(first_ns, default=0)
            if len(first_ns) > 1 and first_ns[newest] >= time_ns - _NEW_NS:
                if time_ns not in self._changes:
                    new = _Newest(
                        self.model,
                        "version",
                        newest,
                        first_ns[newest],
                        names,
                        slow_ns.get(self.model, 0),
                    )
                    self._changes[time_ns] = _find_baseline(
                        self.reader, self.project, new, numbers, time_ns
                    )
                change = self._changes[time_ns]
                if change is not None:
                    changes[time_ns] = change
        return changes


def _find_first_days(
    reader: Reader, project: str, model: str, times_ns: Sequence[int]
) -> dict[tuple[str, str], list[int]]:
    """Return the start of the first run of each day, by digest and structure of its version."""
    sql = Sql("""
        SELECT digest, structure, min(start_ns) AS first_ns FROM {recorded}
        WHERE {counted} AND model = {model:String} AND digest != ''
        GROUP BY digest, structure, intDiv(start_ns, {day}) ORDER BY first_ns LIMIT {most}
        """).fill(
        recorded=RECORDED,
        counted=find_counted(reader, project, BOUNDS).sql,
        day=DAY_NS,
        most=_MOST_COMBINED,
    )
    values = {
        "project": project,
        "model": model,
        "start": max(times_ns[0] - _NEW_NS - _BEFORE_NS, 0),
        "end": times_ns[-1] + 1,
    }
    firsts: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row in reader.rows(sql, values):
        firsts[row["digest"], row["structure"]].append(row["first_ns"])
    return firsts


_Numbers = Mapping[tuple[str, str, str], int]


def _find_firsts(
    reader: Reader, project: str, now_ns: int, model: str | None, numbers: _Numbers
) -> tuple[dict[tuple[str, Dimension], dict[str, tuple[str | int, int]]], dict[str, int]]:
    """Find when versions, releases and LLMs had their first run, with one query.

    A failed call often reports the requested LLM, such as `gpt-4o`. A successful call reports the
    one that answered, such as `gpt-4o-2024-08-06`. So a requested name does not count as an LLM if
    no call with it succeeded.

    Returns:
        For each model and dimension: the name and first start of each label. And for each model,
        how long its slow runs take: the 99th percentile of the latency, in nanoseconds.
    """
    of_model = Condition(Sql("model = {model:String}"), {"model": model}) if model else ALWAYS
    window = Window(max(now_ns - _NEW_NS - _BEFORE_NS, 0), now_ns + 1)
    sql = Sql("""
        SELECT model, digest, structure, release, provider_model, min(start_ns) AS first_ns,
          countIf(NOT {failed}) AS answered, count() AS runs,
          quantileDD(0.01, 0.99)(latency_ns) AS slow_ns
        FROM {recorded} WHERE {counted} AND ({of_model}) AND model != ''
        GROUP BY model, digest, structure, release, provider_model
        ORDER BY first_ns DESC, model, digest, structure, release, provider_model LIMIT {most}
        """).fill(
        recorded=RECORDED,
        counted=find_counted(reader, project, BOUNDS).sql,
        of_model=of_model.sql,
        failed=HAS_FAILED,
        most=_MOST_COMBINED,
    )
    values = {"project": project, "start": window.start_ns, "end": window.end_ns}
    firsts: defaultdict[tuple[str, Dimension], dict[str, tuple[str | int, int]]] = defaultdict(dict)
    rows = reader.rows(sql, {**values, **of_model.parameters})
    answered: defaultdict[str, set[str]] = defaultdict(set)
    slow: defaultdict[str, list[tuple[bool, int]]] = defaultdict(list)
    for row in rows:
        if row["answered"]:
            answered[row["model"]].add(row["provider_model"])
        slow[row["model"]].append((row["runs"] >= _LEAST_FOR_P99, round(row["slow_ns"] or 0)))
    for row in rows:
        key = row["model"], row["digest"], row["structure"]
        llm, others = row["provider_model"], answered[row["model"]]
        if llm not in others and (llm == row["model"] or is_requested_name(llm, others)):
            llm = ""
        named_: Mapping[Dimension, tuple[str, str | int]] = {
            "version": (f"{row['digest']}:{row['structure']}", numbers.get(key, 0)),
            "release": (row["release"], row["release"]),
            "provider_model": (llm, llm),
        }
        for dimension in DIMENSIONS:
            label, name = named_[dimension]
            if name and label != ":":  # which means: no version
                of_labels = firsts[row["model"], dimension]
                known = of_labels[label][1] if label in of_labels else row["first_ns"]
                of_labels[label] = name, min(known, row["first_ns"])
    return firsts, {model: max(known)[1] for model, known in slow.items()}


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest version, release or LLM of a model, with the names of all labels in the store.

    Attributes:
        slow_ns: How long slow runs of the model take to arrive.
    """

    model: str
    dimension: Dimension
    name: str | int
    began_ns: int
    names: Mapping[str, str | int]
    slow_ns: int = 0

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the new version, release or LLM."""
        return self.labels_of(self.name)

    def labels_of(self, name: str | int) -> tuple[str, ...]:
        """Return the labels of a version, release or LLM."""
        return tuple(sorted(label for label, own in self.names.items() if own == name))

    @property
    def later(self) -> list[str]:
        """The labels of later versions. Their runs do not matter."""
        if not isinstance(self.name, int):
            return []
        return sorted(
            label for label, own in self.names.items() if isinstance(own, int) and own > self.name
        )


_OF_MODEL: Final = Sql(
    "{counted} AND model = {model:String} AND NOT {label} IN {later:Array(String)}"
)


def _find_baseline(
    reader: Reader,
    project: str,
    new: _Newest,
    numbers: _Numbers,
    now_ns: int,
    *,
    against: str | int | None = None,
    start_ns: int | None = None,
) -> Change | None:
    """Find the baseline of a new version, release or LLM, and choose the runs to compare.

    The baseline is `against`, if that is given. Runs since `start_ns` can be compared. By default,
    this is 7 days before the first run of the new version, release or LLM.
    """
    end_ns = now_ns + 1 - min(new.slow_ns, _MOST_DELAY_NS)
    calls = _Calls(
        reader,
        new,
        _OF_MODEL.fill(
            counted=find_counted(reader, project, BOUNDS).sql, label=_LABELS[new.dimension]
        ),
        {
            "project": project,
            "model": new.model,
            "later": new.later,
            "start": max(new.began_ns - _BEFORE_NS, 0) if start_ns is None else start_ns,
            "end": end_ns,
        },
    )
    hours = calls.count()
    newer, older = hours.pop(new.name, Counter[int]()), hours
    older.pop("", None)
    if new.dimension == "version" and against is None:
        older = _keep_production(reader, project, new.model, numbers, older)
    if against is not None:
        older = {against: older.get(against, Counter[int]())}
    if not newer or not any(older.values()):
        return None
    rollout = calls.find_rollout() if _needs_rollout(older, newer) else None
    baseline = choose_baseline(older, newer, rollout)

    def find_around() -> Choice | None:
        began = calls.find_rollout() if rollout is None else rollout
        return None if began is None else choose_rollout(older[baseline], newer, began)

    def write(name: str | int) -> str:
        return wording.numbered(new.model, name) if isinstance(name, int) else name

    return Change(
        model=new.model,
        dimension=new.dimension,
        name=write(new.name),
        labels=new.labels,
        version=new.name if isinstance(new.name, int) else None,
        baseline=write(baseline),
        before=new.labels_of(baseline),
        baseline_version=baseline if isinstance(baseline, int) else None,
        began_ns=new.began_ns or min(newer) * HOUR_NS,
        end_ns=end_ns,
        choice=choose_runs(older[baseline], newer, rollout),
        find_rollout=cache(find_around),
    )


def _keep_production(
    reader: Reader,
    project: str,
    model: str,
    numbers: _Numbers,
    older: dict[str | int, Counter[int]],
) -> dict[str | int, Counter[int]]:
    """Keep only the versions that are marked as production, if one of them has runs."""
    digests = {
        alias["digest"]
        for alias in read_current_aliases(reader, project, model)
        if alias["alias"] == "production"
    }
    marked = {
        number
        for (named_, digest, _), number in numbers.items()
        if named_ == model and digest in digests
    }
    return {name: hours for name, hours in older.items() if name in marked} or older


def _needs_rollout(older: Mapping[str | int, Counter[int]], newer: Counter[int]) -> bool:
    """Whether hours in which both sides ran may not be enough."""
    choices = [choose_runs(hours, newer, None) for hours in older.values()]
    return not any(choice.kind == "hours" and len(choice.hours) > _FEW_HOURS for choice in choices)


@dataclass(slots=True)
class _Calls:
    """The calls of a model: how many there were in each hour, and in which order."""

    reader: Reader
    new: _Newest
    runs: Sql
    values: Mapping[str, object]
    _every: dict[int, tuple[int, int]] = field(default_factory=dict)

    def count(self) -> dict[str | int, Counter[int]]:
        """Count the runs of each version, release or LLM by hour. The name of others is empty."""
        sql = Sql("""
            SELECT {label} AS label, {hour} AS hour, count() AS runs
            FROM {recorded} WHERE {runs} GROUP BY label, hour ORDER BY hour, label LIMIT {most}
            """).fill(
            label=_LABELS[self.new.dimension],
            hour=HOUR,
            recorded=RECORDED,
            runs=self.runs,
            most=_MOST_HOURS,
        )
        hours: defaultdict[str | int, Counter[int]] = defaultdict(Counter)
        for row in self.reader.rows(sql, dict(self.values)):
            name = self.new.names.get(row["label"], "")
            hours[name][row["hour"]] += row["runs"]
            old, new = self._every.get(row["hour"], (0, 0))
            is_new = name == self.new.name
            self._every[row["hour"]] = old + row["runs"] * (not is_new), new + row["runs"] * is_new
        return hours

    def find_rollout(self) -> Rollout | None:
        """Find the rollout. Call `count` before."""
        return find_rollout(self._list_stretches())

    def _list_stretches(self) -> list[Stretch]:
        """List all calls in their order, as far as it matters for the rollout."""
        mixed: list[int] = []
        calls = 0
        for hour, (old, new) in sorted(self._every.items(), reverse=True):
            calls += old + new
            if calls > _MOST_ORDERED:
                break
            if old and new:
                mixed.append(hour)
            if new < (old + new) // CALLS * CALLS * LEAST_SHARE:
                break  # 100 successive calls in this hour have too few of the new version
        ordered = self._read_order(mixed) if mixed else {}
        stretches = []
        for hour, (old, new) in sorted(self._every.items()):
            if hour in ordered:
                stretches += [
                    Stretch(hour, is_new == "1", len([*same]))
                    for is_new, same in groupby(ordered[hour])
                ]
            else:  # without its order, an hour of both is not a switch from one to the other
                early = old // 2 if new else old
                stretches += [
                    Stretch(hour, False, early),
                    Stretch(hour, True, new),
                    Stretch(hour, False, old - early),
                ]
        return stretches

    def _read_order(self, hours: Sequence[int]) -> dict[int, str]:
        """Return the calls of each hour in their order: 1 for the new version, 0 for others."""
        sql = Sql("""
            SELECT hour,
              arrayStringConcat(arrayMap(call -> toString(call.2), arraySort(groupArray(call))))
                AS calls
            FROM (
              SELECT {hour} AS hour, (start_ns, {label} IN {after:Array(String)}) AS call
              FROM {recorded} WHERE {runs} AND {hour} IN {hours:Array(Int64)}
            )
            GROUP BY hour""").fill(
            hour=HOUR, label=_LABELS[self.new.dimension], recorded=RECORDED, runs=self.runs
        )
        values = {**self.values, "after": [*self.new.labels], "hours": [*hours]}
        return {row["hour"]: row["calls"] for row in self.reader.rows(sql, values)}


# The runs of both sides in the hours in which both ran.
_IN_HOURS: Final = Sql("""{hour} IN {hours:Array(Int64)}
  AND ({label} IN {before:Array(String)} OR {label} IN {after:Array(String)})""")
# The runs of the older side before the rollout, and those of the newer side since then.
_AROUND_ROLLOUT: Final = Sql("""(start_ns < {switched:Int64} AND {label} IN {older:Array(String)}
  OR start_ns >= {rollout:Int64} AND {label} IN {newer:Array(String)})""")


def _judge(reader: Reader, project: str, change: Change, now_ns: int, where: str) -> Release:
    """Compare a change with its baseline, and find the slices for which it is worse."""
    runs = _find_runs(reader, project, change, where)
    if runs.sides is None:
        return _describe(change, leave_open(change.runs), [])
    verdict = _compare(reader, project, change, runs)
    release = _describe(change, verdict, _find_slices(reader, project, change, verdict, runs))
    if where:
        release.compared += f", of which only those with {where} count"
    return release


def _find_slices(
    reader: Reader, project: str, change: Change, verdict: SidesVerdict, runs: "_ChangedRuns"
) -> list[WorseSlice]:
    """Find the slices for which a change is worse, the clearest first."""
    if runs.sides is None:
        return []
    worse = find_worse_slices(
        reader, project, runs.sides, verdict, model=change.model, dimension=change.dimension
    )
    around_sides = runs.find_around() if verdict.around_rollout else None
    if around_sides is not None:
        worse += find_worse_slices(
            reader,
            project,
            around_sides,
            verdict,
            model=change.model,
            dimension=change.dimension,
            is_around_rollout=True,
        )
    return worse


def compare_values(
    reader: Reader,
    project: str,
    release: Release,
    now_ns: int,
    *,
    figure: str,
    tokens: Sequence[str],
) -> dict[str, SidesVerdict]:
    """Compare a new version with its baseline, separately for each value of a tag.

    The method is that of `find_releases`, which compares all runs of both versions.

    Args:
        reader: The store.
        project: The project.
        release: The comparison of all runs of the version with those of its baseline.
        now_ns: When `release` was computed. Later runs are ignored.
        figure: Name of the figure that matters.
        tokens: Values of one tag, each as `tag=value`, such as `client=Kessler`.

    Returns:
        The verdict for each of these values. Empty if there are no runs to compare.
    """
    sides = _find_sides_of(reader, project, release, now_ns, figure)
    return compare_tag_values(reader, project, sides, tokens) if sides and tokens else {}


def compare_by_tag(
    reader: Reader,
    project: str,
    release: Release,
    now_ns: int,
    *,
    figure: str,
    tag: str,
    most: int,
) -> dict[str, SidesVerdict]:
    """Compare two versions for each value of a tag, as `compare_values` does.

    Args:
        reader: The store.
        project: The project.
        release: The comparison of all runs of both versions.
        now_ns: When `release` was computed. Later runs are ignored.
        figure: Name of the figure that matters.
        tag: Name of the tag, such as `client`.
        most: Maximum number of values: those that most of the compared runs have.

    Returns:
        The verdict for each value that runs of both versions have. The keys are texts such as
        `client=Kessler`.
    """
    sides = _find_sides_of(reader, project, release, now_ns, figure)
    if sides is None:
        return {}
    sizes = {
        row["token"]: row["before"] + row["after"]
        for row in count_tag_values(reader, sides)
        if row["token"].partition("=")[0] == tag
    }
    tokens = sorted(sizes, key=lambda token: (-sizes[token], token))[:most]
    return compare_tag_values(reader, project, sides, tokens) if tokens else {}


def _find_sides_of(
    reader: Reader, project: str, release: Release, now_ns: int, figure: str
) -> Sides | None:
    """Find the runs by which a figure of a release is compared; None if there are none."""
    versions = release.baseline.version, release.candidate.version
    if versions[0] is not None and versions[1] is not None:
        pair = versions[0], versions[1]
        change, _ = _find_pair(reader, TwoVersions(project, release.model, pair, now_ns))
    else:
        changes = find_changes(
            reader, project, now_ns, release.model, dimensions=(release.dimension,)
        )
        own = (item for item in changes if item.name == release.candidate.name)
        change = next(own, None)
    if change is not None and figure in release.around_rollout:
        change = change.around_rollout or change
    return None if change is None else _find_sides(reader, project, change, "")


@dataclass(frozen=True, slots=True)
class _ChangedRuns:
    """The runs by which a change is compared. Finding them reads the store, so it is done once.

    Attributes:
        sides: The chosen runs of both sides; None if a side has none.
        find_around: Returns the runs before and since the rollout; None if there are none.
    """

    sides: Sides | None
    find_around: Callable[[], Sides | None]


def _find_runs(reader: Reader, project: str, change: Change, where: str) -> _ChangedRuns:
    @cache
    def find_around() -> Sides | None:
        around = change.around_rollout
        return None if around is None else _find_sides(reader, project, around, where)

    return _ChangedRuns(_find_sides(reader, project, change, where), find_around)


def _compare(reader: Reader, project: str, change: Change, runs: _ChangedRuns) -> SidesVerdict:
    """Compare a new version, release or LLM with its baseline."""
    if runs.sides is None:
        return leave_open(change.runs)
    return compare_sides(reader, project, runs.sides, runs.find_around)


def _find_sides(reader: Reader, project: str, change: Change, where: str) -> Sides | None:
    """Find the runs to compare; None if a side has none."""
    choice = change.choice
    if not all(choice.runs):
        return None
    condition, _ = compile_where(reader, project, where, is_bounded=True)
    older, newer = change.before, change.labels
    if change.is_reversed:
        older, newer = newer, older
    label = _LABELS[change.dimension]
    start_ns = choice.start * HOUR_NS
    values: dict[str, object] = {
        **condition.parameters,
        "project": project,
        "model": change.model,
        "start": start_ns,
        "end": change.end_ns,
        "before": [*change.before],
    }
    if choice.rollout is None:
        chosen = _IN_HOURS.fill(hour=HOUR, label=label)
        values |= {"hours": [*choice.hours], "after": [*change.labels]}
    else:
        chosen = _AROUND_ROLLOUT.fill(label=label)
        values |= {
            "rollout": choice.rollout.hour * HOUR_NS,
            "switched": choice.rollout.end * HOUR_NS,
            "older": [*older],
            "newer": [*newer],
        }
    growing = None if choice.rollout is None else int(not change.is_reversed)
    return Sides(
        runs=Sql("{counted} AND ({condition}) AND model = {model:String} AND {chosen}").fill(
            counted=find_counted(reader, project, BOUNDS).sql,
            condition=condition.sql,
            chosen=chosen,
        ),
        is_before=Sql("{label} IN {before:Array(String)}").fill(label=label),
        values=values,
        counts=change.runs,
        names=change.names,
        hour=HOUR,
        is_hourly=choice.rollout is None,
        growing=growing,
        is_reversed=change.is_reversed,
        outcomes=find_outcomes(
            reader,
            project,
            change.model,
            Window(start_ns, change.end_ns),
            runs=sum(change.runs),
        ),
    )


def _describe(change: Change, verdict: SidesVerdict, worse: Sequence[WorseSlice]) -> Release:
    """Describe a change by its figures, and the slices for which it is worse."""
    deciding = verdict.deciding
    of_model = f"model == {quoted(change.model)}"

    wheres = [f"{of_model} and {condition}" for condition in change.conditions]
    baseline = Side(
        name=change.baseline,
        version=change.baseline_version,
        where=wheres[0],
        runs=change.runs[0],
    )
    candidate = Side(name=change.name, version=change.version, where=wheres[1], runs=change.runs[1])
    since = {
        name: to_rfc3339(min((hour + 1) * HOUR_NS, change.end_ns))
        for name, hour in verdict.since.items()
    }
    worst: dict[str, WorseSlice] = {}
    for item in worse:
        worst.setdefault(item.figure.subject, item)
    figures = [
        ReleaseFigure(
            **dict(figure),
            since=since.get(figure.name),
            worst=worst[figure.name].part.where if figure.name in worst else "",
            of_worst=verdict.describe_figure(worst[figure.name].figure)
            if figure.name in worst
            else None,
        )
        for figure in verdict.describe()
    ]
    names = _name_sides(change.model, change.dimension, candidate, baseline)
    return Release(
        model=change.model,
        dimension=change.dimension,
        word=verdict.word,
        sentence=change.compared if deciding is None else deciding.named_sentence,
        deciding=deciding,
        compared=_write_compared(change, verdict.around_rollout),
        around_rollout=[*verdict.around_rollout],
        left_out=change.left_out,
        kind=change.choice.kind,
        candidate=candidate,
        baseline=baseline,
        change="",
        began=to_rfc3339(change.began_ns),
        began_ns=change.began_ns,
        since=min(since.values(), default=None),
        stratum=verdict.tag,
        share=verdict.share,
        figures=figures,
        for_whom=[
            _describe_slice(item, verdict.describe_figure(item.figure), candidate.where, names)
            for item in _list_once(worse)
        ],
        command=""
        if change.version is None
        else evaluate_command(
            change.model, change.baseline, is_judged=any(map(_is_judged, figures))
        ),
    )


def _write_compared(change: Change, around_rollout: Sequence[str]) -> str:
    """Write which runs are compared, and which other runs some figures have."""
    around = change.around_rollout if around_rollout else None
    if around is None:
        return change.compared
    return f"{change.compared}; {', '.join(around_rollout)}: {around.compared}"


def _list_once(worse: Iterable[WorseSlice]) -> list[WorseSlice]:
    """List each slice once, with its clearest figure."""
    slices: dict[str, WorseSlice] = {}
    for item in worse:
        slices.setdefault(item.part.where, item)
    return [*slices.values()]


def _describe_slice(
    item: WorseSlice, figure: ComparedFigure, where: str, names: tuple[str, str]
) -> ReleaseSlice:
    subject, baseline = names
    name = name_condition(item.part.where)
    claim = claim_version(subject, _read_values(figure), baseline, part=name)
    elsewhere = Interval.model_validate(item.elsewhere)
    others = write_elsewhere(
        elsewhere, _kind_of(figure), figure.margin, lower_is_better=figure.lower_is_better
    )
    return ReleaseSlice(
        name=name,
        condition=item.part.where,
        where=narrow(where, item.part.where),
        sentence=f"{claim.sentence}; {others}",
        elsewhere=elsewhere,
        runs=item.runs,
        figure=figure,
    )


def evaluate_command(model: str, baseline: str, *, is_judged: bool) -> str:
    """Return the command that evaluates a model on a data set, with a version as baseline.

    It works only if the baseline was evaluated on the same data set before.
    """
    judge = " --judge FILE.py:JUDGE" if is_judged else ""
    return f"otel-ml evaluate FILE.py:{model} --dataset NAME{judge} --baseline {baseline}"


def _is_judged(figure: ReleaseFigure) -> bool:
    return measure_of(figure.name) == "quality" and not figure.target


def contribute(question: FindingsQuestion) -> list[Finding]:
    """Find releases of the last 14 days that are worse than their baseline."""
    return find_worse_releases(find_releases_of(question), question.now_ns)


def find_releases_of(question: FindingsQuestion) -> list[Release]:
    """Compare the new versions, releases and LLMs of a project with their baselines.

    The list of changes is shared with other contributors.
    """
    return find_releases(
        question.reader,
        question.project,
        question.now_ns,
        changes=find_changes_of(question),
    )


def find_changes_of(question: FindingsQuestion) -> list[Change]:
    """Find the new versions, releases and LLMs of a project, once for all contributors."""
    return question.shared.work_out(
        "changes", lambda: find_changes(question.reader, question.project, question.now_ns)
    )


def find_worse_releases(releases: Iterable[Release], now_ns: int) -> list[Finding]:
    """Make findings of the releases that are worse, over all runs or for a slice."""
    return [_make_finding(release, now_ns) for release in releases if release.is_worse]


def write_release(release: Release) -> str:
    """Write a verdict on a release in words, with at most three numbers."""
    return claim_release(release).sentence


def claim_release(release: Release) -> Claim:
    """Write whether a release is worse than its baseline, for whom, and since when."""
    subject, baseline = _name_sides(
        release.model, release.dimension, release.candidate, release.baseline
    )
    left_out = release.left_out[:1].upper() + release.left_out[1:]
    if not release.is_worse:
        banner = make_banner(
            release.word,
            release.deciding,
            (baseline, subject),
            sentence=release.sentence,
            interval=AT_ALL_LOOKS,
        )
        evidence = join_evidence(
            banner.evidence,
            _write_runs(release),
            left_out,
            _write_first_run(release, subject),
            f"Changed: {release.change}" if release.change else "What changed is unknown",
        )
        return Claim(banner.lead, f": {banner.claim}", evidence)
    part, worst = release.shown_slice, release.worst_slice
    shown = part.figure if part else release.figures[0]
    figure = next(item for item in release.figures if item.name == shown.name)
    claim = claim_version(subject, _read_values(shown), baseline, part=part.name if part else "")
    text = claim.text
    if part:
        text = part.sentence.removeprefix(claim.title)
    elif worst:
        text = f"{text}. Worst for {worst.name}"
    kind = _kind_of(figure)
    judge = f'"{figure.name}"' if _is_judged(figure) else ""
    if judge and figure.judge_number:
        judge = f"{judge}, judge version {figure.judge_number}"
    ratio = figure.margin if kind == "amount" else 0.0
    since = write_moment(from_rfc3339(figure.since, "since")) if figure.since else ""
    others = [item for item in release.for_whom if item not in (part, worst)]
    evidence = join_evidence(
        _write_runs(
            release, shown, f"{part.name[:1].upper()}{part.name[1:]}" if part else "Included"
        ),
        left_out,
        write_difference(
            shown.difference,
            kind,
            of=name_target(
                figure.target, is_rate=figure.is_rate, lower_is_better=figure.lower_is_better
            )
            if figure.target
            else name_measured(figure.name, kind, judge),
            interval=wording.INTERVAL if part else AT_ALL_LOOKS,
        ),
        f"Over all runs: {write_difference(figure.difference, kind)}" if part else "",
        *(f"Also: {item.sentence}" for item in others),
        _write_first_run(release, subject),
        f"{subject} has been significantly worse since {since}" if since else "",
        write_margin(figure.name, ratio, figure.baseline.value if figure.baseline else 0.0),
    )
    return Claim(claim.title, text, evidence)


def _name_sides(
    model: str, dimension: Dimension, candidate: Side, baseline: Side
) -> tuple[str, str]:
    """Name the new side in a sentence, such as `answer v2`, and its baseline, such as `v1`."""
    match dimension:
        case "version":
            return name_version(model, candidate.version), f"v{baseline.version}"
        case "release":
            return f"{model} in release {candidate.name}", baseline.name
    return f"{model} with {candidate.name}", baseline.name


# A slice explains a worse version if it changed at least this many times as much as the whole.
_EXPLAINS: Final = 1.5


def _explains(of_all: ComparedFigure, of_slice: ComparedFigure) -> bool:
    """Whether a slice changed much more than all runs together."""
    whole, part = of_all.difference, of_slice.difference
    if whole is None or part is None:
        return False
    if of_all.name in AMOUNT_FIGURES:
        return part.value - 1 >= _EXPLAINS * (whole.value - 1)
    return abs(part.value) >= _EXPLAINS * abs(whole.value)


def _write_first_run(release: Release, subject: str) -> str:
    """Write when the newer version, release or LLM began."""
    older, newer = release.candidate.version, release.baseline.version
    if older is not None and newer is not None and older < newer:
        subject = f"v{newer}"
    return f"First run of {subject}: {write_moment(release.began_ns)}"


def _write_runs(release: Release, part: ComparedFigure | None = None, label: str = "") -> str:
    """Write which runs are compared, and how many of them have a figure if not all have it.

    `label` names the runs that have the figure, such as `Client Kessler`.
    """
    compared = release.compared[:1].upper() + release.compared[1:]
    counts = release.baseline.runs, release.candidate.runs
    if not (part and part.baseline and part.candidate):
        return compared
    own = part.baseline.n, part.candidate.n
    if own == counts:
        return compared
    before, now = (
        f"v{side.version}" if side.version is not None else side.name
        for side in (release.baseline, release.candidate)
    )
    counted = RUNS_WITH_TRUTH if part.target else COUNTED.get(part.name, SCORED_RUNS)
    if part.name in (ERRORS, MISSING):
        counted = "runs"
    return f"{compared}. {label}: {own[0]:,} {counted} with {before}, {own[1]:,} with {now}"


def _kind_of(figure: ComparedFigure) -> Literal["rate", "score", "amount"]:
    if figure.name in AMOUNT_FIGURES:
        return "amount"
    return "rate" if figure.is_rate else "score"


def _read_values(figure: ComparedFigure) -> ComparedValues:
    return ComparedValues(
        figure=figure.target or figure.name,
        kind=_kind_of(figure),
        now=figure.candidate.value if figure.candidate else 0.0,
        before=figure.baseline.value if figure.baseline else 0.0,
        is_target=bool(figure.target),
        is_error=bool(figure.target) and figure.lower_is_better,
    )


def name_condition(condition: str) -> str:
    """Name a slice, such as `client Kessler`. Any other filter is returned unchanged."""
    try:
        parsed = parse(condition)
    except BadInput:
        return condition
    if not isinstance(parsed, FieldComparison) or parsed.operator != "==":
        return condition
    return name_slice(parsed.field.key or parsed.field.name, str(parsed.value))


def _make_finding(release: Release, now_ns: int) -> Finding:
    part, worst_part = release.shown_slice, release.worst_slice
    condition = part or (worst_part if release.word == Word.WORSE else None)
    name = part.figure.name if part else release.figures[0].name
    worst = next(item for item in release.figures if item.name == name)
    claim = claim_release(release)
    change = abs(worst.difference.value) if worst.difference and worst.is_rate else 1.0
    where = part.where if part else release.candidate.where
    return Finding(
        kind="release",
        sentence=claim.sentence,
        model=release.model,
        # No filter on scores can find the wrong predictions of a target.
        where=where
        if worst.target
        else narrow_to_failed(
            where,
            worst.name,
            "rate" if worst.is_rate else "",
            worst.judge_number,
        ),
        start_ns=release.began_ns,
        end_ns=now_ns,
        size=change * release.candidate.runs,
        figure=worst.name if release.dimension == "version" else "",
        command=release.command,
        title=claim.title,
        evidence=claim.evidence,
        measure=measure_of(worst.name),
        measured=worst.name,
        condition=condition.condition if condition else "",
        target=worst.target,
        version=release.candidate.version,
        baseline=release.baseline.version,
        change=release.change,
        cause="slice of a version" if part else "version",
    )
