"""Releases: compare a model's newest version with the one before it, while its runs arrive.

A new version of a model, a new release of the service and a new LLM are handled alike. Everything
is computed from the recorded runs on request. So late, repeated or reordered data leads to the same
answer.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import Field

from otel_ml.statistics.verdict import Word
from otel_ml_collector import wording
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.grammar import FieldComparison, parse
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.findings import Finding, FindingsQuestion
from otel_ml_collector.findings.slice_sums import is_requested_name
from otel_ml_collector.findings.slice_truths import find_outcomes, name_target
from otel_ml_collector.findings.slices import find_worst_slices, narrow_to_failed
from otel_ml_collector.measures.measures import HAS_FAILED
from otel_ml_collector.measures.units import BOUNDS, VERSION_LABEL, Sides
from otel_ml_collector.store.counted import RECORDED
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_counted
from otel_ml_collector.store.sql import ALWAYS, Condition, Sql, join_sql
from otel_ml_collector.store.versions import all_version_numbers, read_current_aliases
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, from_rfc3339, to_rfc3339
from otel_ml_collector.verdicts.claims import (
    Claim,
    ComparedValues,
    claim_version,
    join_evidence,
    measure_of,
    name_measured,
    name_slice,
    name_version,
    write_difference,
    write_margin,
    write_moment,
)
from otel_ml_collector.verdicts.lines import make_banner
from otel_ml_collector.verdicts.sides import (
    SideRows,
    SidesVerdict,
    compare_sides,
    compare_tag_values,
    leave_open,
)
from otel_ml_collector.verdicts.verdicts import (
    AMOUNT_FIGURES,
    FigureChange,
    RecordedChange,
    make_recorded_change,
)
from otel_ml_collector.versions import diff
from otel_ml_collector.versions.find import find_definitions
from otel_ml_collector.windows import Window

Dimension = Literal["version", "release", "provider_model"]
DIMENSIONS: Final[tuple[Dimension, ...]] = ("version", "release", "provider_model")

_NEW_NS: Final = 14 * DAY_NS
_BEFORE_NS: Final = 7 * DAY_NS
# The alias of the version that other versions are compared with.
_PRODUCTION: Final = "production"
_MOST_LABELS: Final = 10_000
# Maximum number of combinations of version, release and LLM.
_MOST_COMBINED: Final = 50_000
_NO_VERSION: Final = ":"
# Maximum number of releases of a project that are judged, the latest.
_MOST_JUDGED: Final = 20
# Delay after the end of a window, until its slow runs have arrived.
_LEAST_DELAY_NS: Final = MINUTE_NS
_MOST_DELAY_NS: Final = HOUR_NS
# Stages after the start of a new version: start, length of windows, and end.
_STAGES: Final = (
    (0, MINUTE_NS, 15 * MINUTE_NS),
    (15 * MINUTE_NS, 5 * MINUTE_NS, 2 * HOUR_NS),
    (2 * HOUR_NS, 30 * MINUTE_NS, 12 * HOUR_NS),
    (12 * HOUR_NS, 2 * HOUR_NS, 2 * DAY_NS),
    (2 * DAY_NS, 12 * HOUR_NS, _NEW_NS),
)


class Side(AnswerBody):
    """One side of a comparison: a version of a model, a release of the service, or an LLM."""

    name: str = Field(description="Name, such as answer:v3, or the name of the release or LLM")
    version: int | None = Field(
        description="Number of the model version; null for a release or LLM"
    )
    where: str = Field(description="Filter that lists the runs of this side")
    runs: int


class ReleaseFigure(FigureChange):
    """One figure of a release, compared with its baseline."""

    since: str | None = Field(
        description="When it first became certain that this is worse, RFC 3339"
    )
    worst: str = Field(
        description="The slice of the new version with the most extra failures, over all tags; "
        "empty "
        "if no slice is worse"
    )
    of_worst: FigureChange | None = Field(
        default=None,
        description="The same figure in the slice `worst`; null if there is no such slice",
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
    candidate: Side
    baseline: Side
    change: str = Field(
        description="What changed in the version, in a few words; empty for a release or LLM"
    )
    began: str = Field(description="Start of its first run, RFC 3339")
    began_ns: int = Field(exclude=True)
    slow_ns: int = Field(exclude=True)
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
    command: str = Field(
        description="Command that evaluates both versions on a data set; empty for a release or LLM"
    )

    @property
    def heading(self) -> str:
        """A heading that names the new version and its baseline, and the compared periods."""
        return (
            f"{self.candidate.name} vs {self.baseline.name}: recorded runs since "
            f"{self.began[:16].replace('T', ' ')} UTC, compared with the 7 days before"
        )

    @property
    def recorded(self) -> RecordedChange:
        """This comparison in the form that comparisons of two versions have."""
        return make_recorded_change(self.word, self.sentence, self.figures)


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
        runs: Two numbers of runs: of the baseline in the 7 days before `began_ns`, and of the new
            version, release or LLM since then.
        slow_ns: 99th percentile of the baseline's latency, in nanoseconds. A comparison waits this
            long for slow runs to arrive.
    """

    model: str
    dimension: Dimension
    name: str
    labels: Sequence[str]
    version: int | None
    baseline: str
    before: Sequence[str]
    baseline_version: int | None
    began_ns: int
    runs: tuple[int, int]
    slow_ns: int

    @property
    def names(self) -> tuple[str, str]:
        """Short names of the baseline and of the new version, release or LLM: `v1` and `v2`."""
        if self.version is None or self.baseline_version is None:
            return self.baseline, self.name
        return f"v{self.baseline_version}", f"v{self.version}"


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

    The baseline is an older version, release or LLM that ran in the 7 days before this first run:
    the version that is marked as production, or else the one with the most runs. A new version,
    release or LLM without a baseline is left out.
    """
    numbers = all_version_numbers(reader, project, "model")
    changes = []
    for (of, dimension), labels in _find_firsts(reader, project, now_ns, model, numbers).items():
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
            new = _Newest(of, dimension, newest, first_ns[newest], names)
            change = _find_baseline(reader, project, new, numbers, now_ns)
            if change is not None:
                changes.append(change)
    return sorted(changes, key=lambda change: (-change.began_ns, change.model, change.dimension))


@dataclass(slots=True)
class VersionWords:
    """Finds out whether a model's newest version was worse than its baseline at past times.

    Use it for many past times at once: the runs of each version are read only once. They are
    divided into time windows of one minute at first, and of up to 12 hours later. A verdict can
    change only at the end of a window.

    Args:
        reader: The store.
        project: The project.
        model: The model.
    """

    reader: Reader
    project: str
    model: str
    _changes: dict[tuple[object, ...], Change | None] = field(default_factory=dict)
    _rows: dict[tuple[object, ...], SideRows] = field(default_factory=dict)
    _verdicts: dict[tuple[tuple[object, ...], int], SidesVerdict] = field(default_factory=dict)

    def find(self, figure: str, where: str, times_ns: Sequence[int]) -> dict[int, tuple[bool, int]]:
        """Return for each time whether the newest version was worse than its baseline then.

        Args:
            figure: The figure that is compared: `errors`, or the name of a judge.
            where: A filter; only matching runs are compared. Empty for all runs.
            times_ns: The times, in ascending order. For each, later runs are ignored.

        Returns:
            For each time: whether the figure was worse, and how many runs of the newest version
            have this figure. A time is left out if the newest version was older than 14 days or had
            no baseline, or if a judge had scored runs of only one of the two versions.
        """
        words = {}
        for time_ns, change in reversed(self._find_changes(times_ns).items()):
            changes = self._compare(change, where, time_ns).describe(is_release=True)
            own = next((item for item in changes if item.name == figure and item.runs), None)
            if own is not None:
                words[time_ns] = own.word == "worse", own.runs
        return words

    def _compare(self, change: Change, where: str, time_ns: int) -> SidesVerdict:
        """Compare a version with its baseline, using only runs before a time.

        Call it with the newest time first, so that the runs are read only once.
        """
        windows = _count_windows(_find_elapsed(change, time_ns))
        key = where, change.began_ns, *change.labels, "", *change.before
        known = self._rows.get(key)
        if known is None or known.sides.windows < windows:
            sides = _find_sides(self.reader, self.project, change, time_ns, where)
            if sides is None:
                return leave_open(change.runs)
            known = self._rows[key] = SideRows.read(self.reader, self.project, sides)
        verdict = self._verdicts.get((key, windows))
        if verdict is None:
            verdict = self._verdicts[key, windows] = known.compare(windows)
        return verdict

    def _find_changes(self, times_ns: Sequence[int]) -> dict[int, Change]:
        """Find the newest version at each time, as `find_changes` does for one time."""
        numbers = all_version_numbers(self.reader, self.project, "model")
        firsts = _find_first_days(self.reader, self.project, self.model, times_ns)
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
                new = _Newest(self.model, "version", newest, first_ns[newest], names)
                key = newest, new.began_ns, *sorted(names.items())
                if key not in self._changes:
                    self._changes[key] = _find_baseline(
                        self.reader, self.project, new, numbers, time_ns
                    )
                change = self._changes[key]
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
) -> dict[tuple[str, Dimension], dict[str, tuple[str | int, int]]]:
    """Find when versions, releases and LLMs had their first run, with one query.

    A failed call often reports the requested LLM, such as `gpt-4o`. A successful call reports the
    one that answered, such as `gpt-4o-2024-08-06`. So a requested name does not count as an LLM if
    no call with it succeeded.

    Returns:
        For each model and dimension: the name and first start of each label.
    """
    of_model = Condition(Sql("model = {model:String}"), {"model": model}) if model else ALWAYS
    window = Window(max(now_ns - _NEW_NS - _BEFORE_NS, 0), now_ns + 1)
    sql = Sql("""
        SELECT model, digest, structure, release, provider_model, min(start_ns) AS first_ns,
          countIf(NOT {failed}) AS answered
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
    for row in rows:
        if row["answered"]:
            answered[row["model"]].add(row["provider_model"])
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
            if name and label != _NO_VERSION:
                of_labels = firsts[row["model"], dimension]
                known = of_labels[label][1] if label in of_labels else row["first_ns"]
                of_labels[label] = name, min(known, row["first_ns"])
    return firsts


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest version, release or LLM of a model, with the names of all labels in the store."""

    model: str
    dimension: Dimension
    name: str | int
    began_ns: int
    names: Mapping[str, str | int]


def _find_baseline(
    reader: Reader, project: str, new: _Newest, numbers: _Numbers, now_ns: int
) -> Change | None:
    """Find the baseline of a new version, release or LLM, and count the runs of both."""
    sql = Sql("""
        SELECT {label} AS label, countIf(start_ns < {began:Int64}) AS before, count() AS runs,
          quantileDD(0.01, 0.99)(latency_ns) AS slow_ns
        FROM {recorded} WHERE {counted} AND model = {model:String} GROUP BY label
        ORDER BY runs DESC, label LIMIT {most}
        """).fill(
        label=_LABELS[new.dimension],
        recorded=RECORDED,
        counted=find_counted(reader, project, BOUNDS).sql,
        most=_MOST_LABELS,
    )
    values = {
        "project": project,
        "model": new.model,
        "began": new.began_ns,
        "start": max(new.began_ns - _BEFORE_NS, 0),
        "end": min(new.began_ns + _NEW_NS, now_ns + 1),
    }
    before: Counter[str | int] = Counter()
    slow_ns: defaultdict[str | int, float] = defaultdict(float)
    runs = 0
    for row in reader.rows(sql, values):
        name = new.names.get(row["label"])
        if name == new.name:
            runs += row["runs"]
        elif name is not None:
            before[name] += row["before"]
            slow_ns[name] = max(slow_ns[name], row["slow_ns"])
    before = +before
    if new.dimension == "version":
        for alias in read_current_aliases(reader, project, new.model):
            if alias["alias"] == _PRODUCTION:
                production = {
                    number
                    for (named_, digest, _), number in numbers.items()
                    if (named_, digest) == (new.model, alias["digest"])
                }
                before = (
                    Counter({item: before[item] for item in production & before.keys()}) or before
                )
    if not before or not runs:
        return None
    baseline = max(before, key=lambda entry: (before[entry], str(entry)))

    def write(name: str | int) -> str:
        return wording.numbered(new.model, name) if isinstance(name, int) else name

    return Change(
        model=new.model,
        dimension=new.dimension,
        name=write(new.name),
        labels=sorted(label for label, name in new.names.items() if name == new.name),
        version=new.name if isinstance(new.name, int) else None,
        baseline=write(baseline),
        before=sorted(label for label, name in new.names.items() if name == baseline),
        baseline_version=baseline if isinstance(baseline, int) else None,
        began_ns=new.began_ns,
        runs=(before[baseline], runs),
        slow_ns=round(slow_ns[baseline]),
    )


def _find_window(place: int) -> tuple[int, int]:
    """Return start and end of a window, relative to the first run of the version."""
    for start_ns, step_ns, end_ns in _STAGES:
        windows = (end_ns - start_ns) // step_ns
        if place < windows:
            return start_ns + place * step_ns, start_ns + (place + 1) * step_ns
        place -= windows
    return _NEW_NS, _NEW_NS


def _count_windows(elapsed_ns: int) -> int:
    """Return how many windows are complete after some time."""
    return sum(
        max(min(elapsed_ns, end_ns) - start_ns, 0) // step_ns
        for start_ns, step_ns, end_ns in _STAGES
    )


# The number of the window in which a run of the new version began.
_IS_BEFORE: Final = Sql("start_ns < {began:Int64}")
_WINDOW: Final = Sql("multiIf({is_before}, 0, {cases}, {last})").fill(
    is_before=_IS_BEFORE,
    cases=join_sql(
        ", ",
        [
            Sql(
                "start_ns - {began:Int64} < {end}, "
                "{first} + intDiv(start_ns - {began:Int64} - {start}, {step})"
            ).fill(end=end_ns, first=_count_windows(start_ns), start=start_ns, step=step_ns)
            for start_ns, step_ns, end_ns in _STAGES
        ],
    ),
    last=_count_windows(_NEW_NS),
)
# The runs of a new version and of its baseline. Runs of the baseline count only if they began
# before the new version did.
_SIDES: Final = Sql("""{counted} AND ({condition}) AND model = {model:String} AND (
  (start_ns < {began:Int64} AND {label} IN {before:Array(String)})
  OR (start_ns >= {began:Int64} AND {label} IN {after:Array(String)}))""")


def _judge(reader: Reader, project: str, change: Change, now_ns: int, where: str) -> Release:
    """Compare a change with its baseline, and find the slice in which it is worst."""

    def compare_slice(condition: str) -> SidesVerdict:
        return _compare(reader, project, change, now_ns, narrow(where, condition))

    verdict = _compare(reader, project, change, now_ns, where)
    return _describe(reader, project, change, verdict, now_ns=now_ns, compare_slice=compare_slice)


def compare_values(
    reader: Reader, project: str, release: Release, now_ns: int, tokens: Sequence[str]
) -> dict[str, SidesVerdict]:
    """Compare a new version with its baseline, separately for each value of a tag.

    The method is that of `find_releases`, which compares all runs of both versions.

    Args:
        reader: The store.
        project: The project.
        release: The comparison of all runs of the version with those of its baseline.
        now_ns: When `release` was computed. Later runs are ignored.
        tokens: Values of one tag, each as `tag=value`, such as `client=Kessler`.

    Returns:
        The verdict for each of these values. Empty if the version is too new: then not even the
        first window of the comparison is complete.
    """
    labels: defaultdict[int | None, list[str]] = defaultdict(list)
    for (model, digest, structure), number in all_version_numbers(reader, project, "model").items():
        if model == release.model:
            labels[number].append(f"{digest}:{structure}")
    candidate, baseline = release.candidate, release.baseline
    change = Change(
        model=release.model,
        dimension=release.dimension,
        name=candidate.name,
        labels=sorted(labels[candidate.version]),
        version=candidate.version,
        baseline=baseline.name,
        before=sorted(labels[baseline.version]),
        baseline_version=baseline.version,
        began_ns=release.began_ns,
        runs=(baseline.runs, candidate.runs),
        slow_ns=release.slow_ns,
    )
    sides = _find_sides(reader, project, change, now_ns, "")
    return compare_tag_values(reader, project, sides, tokens) if sides and tokens else {}


def _find_delay(change: Change) -> int:
    """Return the time that slow runs need to arrive."""
    return min(max(change.slow_ns, _LEAST_DELAY_NS), _MOST_DELAY_NS)


def _find_elapsed(change: Change, now_ns: int) -> int:
    """Return the time since a change began, minus the time that slow runs need to arrive."""
    return now_ns - change.began_ns - _find_delay(change)


def _announce(change: Change, now_ns: int) -> str:
    """Write when a change is first compared: when its first window is complete."""
    runs = f"{change.runs[1]:,} run{'' if change.runs[1] == 1 else 's'} so far"
    first_ns = change.began_ns + _find_window(0)[1] + _find_delay(change)
    if first_ns <= now_ns:
        return f"{runs}, none of them comparable with {change.baseline}"
    minute_ns = -(-first_ns // MINUTE_NS) * MINUTE_NS
    return f"{runs}, the comparison starts on {write_moment(minute_ns)} UTC"


def _compare(reader: Reader, project: str, change: Change, now_ns: int, where: str) -> SidesVerdict:
    """Compare a new version, release or LLM with its baseline, in the complete windows."""
    sides = _find_sides(reader, project, change, now_ns, where)
    if sides is None:
        return leave_open(change.runs)
    return compare_sides(reader, project, sides)


def _find_sides(
    reader: Reader, project: str, change: Change, now_ns: int, where: str
) -> Sides | None:
    """Find the runs to compare in the complete windows; None if no window is complete."""
    windows = _count_windows(_find_elapsed(change, now_ns))
    if not windows:
        return None
    end_ns = change.began_ns + _find_window(windows - 1)[1]
    condition, _ = compile_where(reader, project, where, is_bounded=True)
    sides = _SIDES.fill(
        counted=find_counted(reader, project, BOUNDS).sql,
        condition=condition.sql,
        label=_LABELS[change.dimension],
    )
    return Sides(
        runs=sides,
        is_before=_IS_BEFORE,
        values={
            **condition.parameters,
            "project": project,
            "model": change.model,
            "start": max(change.began_ns - _BEFORE_NS, 0),
            "end": end_ns,
            "began": change.began_ns,
            "before": [*change.before],
            "after": [*change.labels],
        },
        counts=change.runs,
        names=change.names,
        place=_WINDOW,
        windows=windows,
        outcomes=find_outcomes(
            reader,
            project,
            change.model,
            Window(max(change.began_ns - _BEFORE_NS, 0), end_ns),
            runs=sum(change.runs),
        ),
    )


def _describe(
    reader: Reader,
    project: str,
    change: Change,
    verdict: SidesVerdict,
    *,
    now_ns: int,
    compare_slice: Callable[[str], SidesVerdict],
) -> Release:
    """Describe a change by its figures."""
    sentence = _announce(change, now_ns)
    if verdict.first is not None:
        sentence = f"{verdict.first.name}: {verdict.first.sentence}"
    of_model = f"model == {quoted(change.model)}"

    def make_side(name: str, version: int | None, runs: int) -> Side:
        value: str | int = name if version is None else version
        where = f"{of_model} and {change.dimension} == {quoted(value)}"
        return Side(name=name, version=version, where=where, runs=runs)

    candidate = make_side(change.name, change.version, change.runs[1])
    window = Window(change.began_ns, now_ns + 1)
    since = {
        figure.name: to_rfc3339(change.began_ns + _find_window(figure.since)[1])
        for figure in verdict.figures
        if figure.since is not None
    }
    described = verdict.describe(is_release=True)
    worse = [figure for figure in described if figure.word == "worse"]
    worst = find_worst_slices(reader, project, candidate.where, worse, window)
    figures = [
        ReleaseFigure(
            **figure.model_dump(),
            since=since.get(figure.name),
            worst=worst.get(figure.name, "") if figure.word == "worse" else "",
        )
        for figure in described
    ]
    if figures and figures[0].worst:  # the figure that decides
        of_slice = compare_slice(figures[0].worst).describe(is_release=True)
        own = (item for item in of_slice if item.name == figures[0].name)
        figures[0].of_worst = next((item for item in own if item.word == "worse"), None)
    return Release(
        model=change.model,
        dimension=change.dimension,
        word=verdict.word,
        sentence=sentence,
        candidate=candidate,
        baseline=make_side(change.baseline, change.baseline_version, change.runs[0]),
        change="",
        began=to_rfc3339(change.began_ns),
        began_ns=change.began_ns,
        slow_ns=change.slow_ns,
        since=min(since.values(), default=None),
        stratum=verdict.tag,
        share=verdict.share,
        figures=figures,
        command=""
        if change.version is None
        else evaluate_command(
            change.model, change.baseline, is_judged=any(map(_is_judged, figures))
        ),
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
    """Make findings of the releases that are worse."""
    return [_make_finding(release, now_ns) for release in releases if release.word == "worse"]


def write_release(release: Release) -> str:
    """Write a verdict on a release in words, with at most three numbers."""
    return claim_release(release).sentence


def claim_release(release: Release) -> Claim:
    """Write whether a release is worse than its baseline, for whom, and since when."""
    subject, baseline = _name_sides(release)
    figure = release.figures[0] if release.figures else None
    if release.word != "worse" or figure is None:
        banner = make_banner(release.word, release.sentence, (), (baseline, subject))
        evidence = join_evidence(
            banner.evidence,
            "" if " runs" in banner.evidence else _write_runs(release),
            f"First run of {subject}: {write_moment(release.began_ns)}",
            f"Changed: {release.change}" if release.change else "What changed is unknown",
        )
        return Claim(banner.lead, f": {banner.claim}", evidence)
    worst = name_condition(figure.worst) if figure.of_worst else ""
    shown = figure.of_worst if figure.of_worst and _explains(figure) else figure
    is_slice = shown is not figure
    claim = claim_version(subject, _read_values(shown), baseline, part=worst if is_slice else "")
    text = f"{claim.text}. Worst for {worst}" if worst and not is_slice else claim.text
    kind = _kind_of(figure)
    judge = f'"{figure.name}"' if _is_judged(figure) else ""
    if judge and figure.judge_number:
        judge = f"{judge}, judge version {figure.judge_number}"
    ratio = figure.margin if kind == "amount" else 0.0
    since = write_moment(from_rfc3339(figure.since, "since")) if figure.since else ""
    runs = _write_runs(release, None if shown is figure and kind == "amount" else shown)
    evidence = join_evidence(
        f"{worst[:1].upper()}{worst[1:]}: {runs}" if is_slice else runs,
        write_difference(
            shown.difference,
            kind,
            of=name_target(figure.target, is_rate=figure.is_rate)
            if figure.target
            else name_measured(figure.name, kind, judge),
        ),
        f"Over all runs: {write_difference(figure.difference, kind)}" if is_slice else "",
        f"First run of {subject}: {write_moment(release.began_ns)}",
        f"{subject} has been significantly worse since {since}" if since else "",
        write_margin(figure.name, ratio, figure.baseline.value if figure.baseline else 0.0),
    )
    return Claim(claim.title, text, evidence)


def _name_sides(release: Release) -> tuple[str, str]:
    """Name the new side in a sentence, such as `answer v2`, and its baseline, such as `v1`."""
    match release.dimension:
        case "version":
            subject = name_version(release.model, release.candidate.version)
            return subject, f"v{release.baseline.version}"
        case "release":
            return f"{release.model} in release {release.candidate.name}", release.baseline.name
    return f"{release.model} with {release.candidate.name}", release.baseline.name


# A slice explains a worse version if it changed at least this many times as much as the whole.
_EXPLAINS: Final = 1.5


def _explains(figure: ReleaseFigure) -> bool:
    """Whether the worst slice changed much more than all runs together."""
    whole, part = figure.difference, figure.of_worst.difference if figure.of_worst else None
    if whole is None or part is None:
        return False
    if figure.name in AMOUNT_FIGURES:
        return part.value - 1 >= _EXPLAINS * (whole.value - 1)
    return abs(part.value) >= _EXPLAINS * abs(whole.value)


def _write_runs(release: Release, part: FigureChange | None = None) -> str:
    before, now = (
        f"v{side.version}" if side.version is not None else side.name
        for side in (release.baseline, release.candidate)
    )
    counts = release.baseline.runs, release.candidate.runs
    if part and part.baseline and part.candidate:
        counts = part.baseline.n, part.candidate.n
    return f"{counts[0]:,} runs with {before}, {counts[1]:,} with {now}"


def _kind_of(figure: FigureChange) -> Literal["rate", "score", "amount"]:
    if figure.name in AMOUNT_FIGURES:
        return "amount"
    return "rate" if figure.is_rate else "score"


def _read_values(figure: FigureChange) -> ComparedValues:
    return ComparedValues(
        figure=figure.name,
        kind=_kind_of(figure),
        now=figure.candidate.value if figure.candidate else 0.0,
        before=figure.baseline.value if figure.baseline else 0.0,
        is_target=bool(figure.target),
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
    worst = release.figures[0]
    claim = claim_release(release)
    change = abs(worst.difference.value) if worst.difference and worst.is_rate else 1.0
    where = release.candidate.where
    if worst.of_worst and _explains(worst):
        where = narrow(where, worst.worst)
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
        condition=worst.worst if worst.of_worst else "",
        target=worst.target,
        version=release.candidate.version,
        baseline=release.baseline.version,
        change=release.change,
    )
