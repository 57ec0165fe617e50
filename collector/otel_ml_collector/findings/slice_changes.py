"""For whom is a new version worse? Finds the slices whose runs changed for the worse.

All values of all tags are compared, in one pass over the runs of both versions. See design record
070.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from otel_ml.statistics.comparison import (
    LEAST_RUNS,
    FigureComparison,
    FigureKind,
    Method,
    Word,
    make_unbounded,
)
from otel_ml.statistics.intervals import CONFIDENCE, Estimate
from otel_ml.statistics.slice_changes import (
    ChangeVerdict,
    ComparedSlice,
    count_runs_of,
    find_look,
    judge_changes,
)
from otel_ml.statistics.slices import LEAST_SLICE, ClusterMoments
from otel_ml_collector.findings.slice_sums import (
    MOST_READ,
    RUN_NUMBER,
    AskedRuns,
    FigureColumn,
    SliceCondition,
    SliceDimensions,
    SlicesQuery,
    find_dimensions,
    list_members,
    make_judge_column,
    read_counted,
    round_sum,
    sum_members,
)
from otel_ml_collector.measures.measures import (
    COST,
    ERRORS,
    LATENCY,
    MISSING_OUTPUTS,
    TOKENS,
)
from otel_ml_collector.measures.units import Outcome, Sides
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.sql import EMPTY, Condition, Sql
from otel_ml_collector.verdicts.sides import SidesVerdict
from otel_ml_collector.windows import Window

# Maximum number of runs that are read of each side.
_MOST_RUNS_OF_SIDE: Final = 25_000
# Maximum number of values of a tag that are compared, the most frequent.
_MOST_TAG_VALUES: Final = 50
# A smaller slice is named instead of the worst one if it explains it: without its runs, the worst
# one is not worse. Client Kessler is named, not the region that contains it. It needs at least this
# share of the extra failures.
_EXPLAINING_SHARE: Final = 0.5
_MOST_TRIED: Final = 5
# Maximum number of slices that are named for a figure.
_MOST_NAMED: Final = 3
# The effect of a tag value is that of its runs and of as many runs without an effect.
_SHRINKING_RUNS: Final = 20.0
# How often the effects of all tags are estimated in turn.
_ROUNDS: Final = 3
# Maximum number of tags whose effects are subtracted, those with the most runs first.
_MOST_FACTORS: Final = 12
_BEFORE, _AFTER = "before", "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFigure:
    """A figure, such as the error share, by which two versions are compared in each slice.

    Attributes:
        margin: Smallest difference that matters. For an amount, it is a ratio: 0.05 is 5 %.
        last_hours: Last hours that count, of the baseline and of the candidate. None for all.
    """

    name: str
    kind: FigureKind
    lower_is_better: bool
    margin: float
    last_hours: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """The runs of two versions, and the slices that they are in.

    Attributes:
        runs: A row for each run, with these columns:

            * `is_before`: Whether it is a run of the baseline.
            * `start_ns`: When it began.
            * `hour`: Its hour, counted from 1970.
            * `unit`: A number that all runs of a session share.
            * `h0`, `h1`, …: Whether the run has a value for the first figure, and so on.
            * `v0`, `v1`, …: The value. For an amount, it is a logarithm.
        ids: Numbers of slices.
        places: For each of them, the index of a run that is in the slice.
        tags: The tag of each slice, by the number of the slice.
        every: Sampling intervals of the baseline and of the candidate. With 10, the table has a
            tenth of the runs.
        is_hourly: Whether runs are compared with runs of the same hour.
    """

    runs: pa.Table
    ids: pa.Array
    places: pa.Array
    tags: Mapping[int, str]
    every: tuple[int, int] = (1, 1)
    is_hourly: bool = False


@dataclass(frozen=True, slots=True)
class FoundChange:
    """How one figure changed in a slice.

    Attributes:
        slice: Number of the slice.
        figure: Index of the figure.
        runs: Number of runs of the smaller side at which the change was looked at.
        verdict: The change, and whether it is named.
        is_named: Whether the new version is worse for this slice, and no other slice explains it.
    """

    slice: int
    figure: int
    runs: int
    verdict: ChangeVerdict
    is_named: bool


def find_changes_of_slices(
    compared: ComparedRuns, figures: Sequence[ChangedFigure]
) -> list[FoundChange]:
    """Compare the change of each figure in each slice with the change in all other runs.

    Each figure is looked at when the side that has fewer values of it reaches 100, 200, 400, ...
    values. Later runs do not count before the next look.

    Args:
        compared: The runs and their slices.
        figures: The figures.

    Returns:
        The changes, those that are named first, the worst of each figure first.
    """
    looked = [
        _Looked(at, figure, *look)
        for at, figure in enumerate(figures)
        if (look := _find_look(compared, at, figure)) is not None
    ]
    ids, places = _leave_out_small(compared)
    if not looked or not len(ids):
        return []
    prepared = _Prepared.of(replace(compared, ids=ids, places=places), looked)
    verdicts = prepared.judge(range(len(looked)))
    found = []
    for place, item in enumerate(looked):
        own = {number: verdict for (number, at), verdict in verdicts.items() if at == place}
        named = prepared.choose_named(place, own)
        found += [
            FoundChange(number, item.at, count_runs_of(item.number), own[number], number in named)
            for number in [*named, *(number for number in own if number not in named)]
        ]
    return sorted(found, key=lambda change: not change.is_named)


@dataclass(frozen=True, slots=True)
class WorseSlice:
    """A slice for which a new version is worse.

    Attributes:
        part: The slice, such as `client = Remax`.
        figure: The figure that is worse, with its values in the slice.
        elsewhere: The change in all other runs. For an amount, a ratio.
        runs: Number of runs of the side with fewer of them, at which the slice was looked at.
    """

    part: SliceCondition
    figure: FigureComparison
    elsewhere: Estimate
    runs: int


def find_worse_slices(
    reader: Reader,
    project: str,
    sides: Sides,
    verdict: SidesVerdict,
    *,
    model: str,
    dimension: str,
    is_around_rollout: bool = False,
) -> list[WorseSlice]:
    """Find the slices for which a new version is worse: for whom it is worse.

    The change within each slice is compared with the change in all other runs. A slice is a value
    of a tag, or of a label such as the environment. The 50 most frequent values of each are
    compared.

    Args:
        reader: The store.
        project: The project.
        sides: The runs of the new version and of its baseline.
        verdict: The comparison of all these runs. Its figures are compared in each slice.
        model: Name of the model.
        dimension: What is new: `version`, `release` or `provider_model`. It is no slice.
        is_around_rollout: Whether `sides` are the runs before and since the rollout, of a verdict
            that compares only some figures by them. Only these figures are compared then.

    Returns:
        The slices, the clearest first. Latency, tokens and cost come last. Empty if either side has
        fewer than 100 runs.
    """
    figures = [
        figure
        for figure in verdict.figures
        # In hours with both versions, some figures have too few runs.
        if (figure.subject in verdict.around_rollout) == is_around_rollout
    ]
    if min(sides.counts) < LEAST_RUNS or not figures:
        return []
    outcomes = {outcome.figure: outcome for outcome in sides.outcomes}
    columns = [_make_column(figure, verdict, place) for place, figure in enumerate(figures)]
    every = _choose_sampling(sides.counts)
    asked = _ask(reader, project, sides, model, every)
    truths = {
        column.name: _read_outcome(reader, sides, outcomes[column.name])
        for column in columns
        if column.target
    }
    runs = read_counted(
        reader,
        asked,
        columns,
        truths,
        Sql(", {is_before} AS is_before, start_ns, {hour} AS hour").fill(
            is_before=sides.is_before, hour=sides.hour
        ),
    )
    if not runs.num_rows:
        return []
    dimensions = find_dimensions(reader, SlicesQuery(project), asked, runs)
    ids, places = list_members(runs, dimensions)
    # These labels are no slices: they are results, or compared as a release.
    parts = _choose_values(ids, dimensions, model, {dimension, "version", "outcome"})
    is_kept = pc.is_in(ids, value_set=pa.array(sorted(parts), pa.int64()))
    place = runs.column_names.index("is_before")
    changes = find_changes_of_slices(
        ComparedRuns(
            runs.set_column(place, "is_before", runs["is_before"].cast(pa.bool_())),
            ids.filter(is_kept),
            places.filter(is_kept),
            {number: part.dimension for number, part in parts.items()},
            every,
            sides.is_hourly,
        ),
        [_describe_figure(figure, verdict) for figure in figures],
    )
    named = [change for change in changes if change.is_named]
    named.sort(key=lambda change: (_is_amount(figures[change.figure]), change.verdict.p))
    return [
        WorseSlice(
            parts[change.slice],
            _narrow(figures[change.figure], change.verdict),
            change.verdict.elsewhere,
            change.runs,
        )
        for change in named
    ]


_SAMPLED_RUNS: Final = Sql(
    "{runs} AND cityHash64(trace_id) % if({is_before}, {every_before:UInt32}, "
    "{every_after:UInt32}) = 0"
)
_KNOWN_OUTCOMES: Final = Sql("""SELECT {run} AS run, assumeNotNull(value) AS value
  FROM ({rows}) WHERE isNotNull(value) LIMIT {most}""")
_MEASURES: Final = {
    measure.name: measure for measure in (ERRORS, MISSING_OUTPUTS, LATENCY, TOKENS, COST)
}


def _is_amount(figure: FigureComparison) -> bool:
    return figure.kind == "amount"


def _make_column(figure: FigureComparison, verdict: SidesVerdict, place: int) -> FigureColumn:
    """Make the column that reads a figure of each run."""
    kind, name = figure.kind, figure.subject
    if target := verdict.targets.get(name):
        return FigureColumn(name, kind, lower_is_better=False, value=EMPTY, target=target)
    measure = next((own for known, own in _MEASURES.items() if known == name), None)
    if measure is not None:
        return FigureColumn(name, kind, lower_is_better=True, value=measure.compared)
    return make_judge_column(name, kind, name, verdict.digests[name], place)


def _describe_figure(figure: FigureComparison, verdict: SidesVerdict) -> ChangedFigure:
    return ChangedFigure(
        name=figure.subject,
        kind=figure.kind,
        lower_is_better=figure.lower_is_better,
        margin=figure.margin,
        last_hours=verdict.last_hours.get(figure.subject, (None, None)),
    )


def _choose_sampling(counts: tuple[int, int]) -> tuple[int, int]:
    """Return the sampling intervals: powers of 2, so that a larger interval keeps fewer traces."""
    before, after = (
        1 << max(math.ceil(math.log2(runs / _MOST_RUNS_OF_SIDE)), 0) for runs in counts
    )
    return before, after


def _ask(
    reader: Reader, project: str, sides: Sides, model: str, every: tuple[int, int]
) -> AskedRuns:
    """Describe which runs to read."""
    values = {
        **sides.values,
        "models": [model],
        "every_before": every[0],
        "every_after": every[1],
    }
    return AskedRuns(
        condition=Condition(_SAMPLED_RUNS.fill(runs=sides.runs, is_before=sides.is_before), values),
        window=Window(values["start"], values["end"]),
        kinds=find_record_kinds(reader, project),
        every=1,
        runs=sum(sides.counts),
        models=[model],
        values=values,
        is_sample=max(every) > 1,
    )


def _read_outcome(reader: Reader, sides: Sides, outcome: Outcome) -> pa.Table:
    """Read how good each prediction with ground truth was."""
    sql = _KNOWN_OUTCOMES.fill(run=RUN_NUMBER, rows=outcome.rows, most=MOST_READ)
    return reader.arrow(sql, {**sides.values, **outcome.values})


def _choose_values(
    ids: pa.Array, dimensions: SliceDimensions, model: str, left_out: Collection[str]
) -> dict[int, SliceCondition]:
    """Choose the most frequent values of each tag."""
    counts = pc.value_counts(ids)
    sizes = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    chosen: dict[int, SliceCondition] = {}
    known: Counter[str] = Counter()
    for number, _ in sorted(sizes, key=lambda item: (-item[1], item[0])):
        part = dimensions.of(number, model)
        if part is None or (part.dimension in left_out and part.parts[0][0] != part.dimension):
            continue
        known[part.parts[0][0]] += 1
        if known[part.parts[0][0]] <= _MOST_TAG_VALUES:
            chosen[number] = part
    return chosen


def _narrow(figure: FigureComparison, found: ChangeVerdict) -> FigureComparison:
    """Return the comparison of a figure in a slice that is worse."""
    sides = found.baseline, found.candidate
    if figure.kind == "amount":
        sides = (
            make_unbounded(found.baseline.value, found.baseline),
            make_unbounded(found.candidate.value, found.candidate),
        )
    return replace(
        figure,
        word=Word.WORSE,
        baseline=replace(figure.baseline, estimate=sides[0]),
        candidate=replace(figure.candidate, estimate=sides[1]),
        difference=found.change,
        basis=replace(
            figure.basis,
            method=Method.SLICE,
            confidence=CONFIDENCE,
            waits_for=1,
            needed=None,
            smallest=None,
            caveats=(),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Looked:
    """A figure with enough values for a look.

    Attributes:
        at: Index of the figure.
        number: Number of the look, from 0.
        mask: Which runs count at the look.
    """

    at: int
    figure: ChangedFigure
    number: int
    mask: pa.Array


def _find_look(
    compared: ComparedRuns, at: int, figure: ChangedFigure
) -> tuple[int, pa.Array] | None:
    """Find the newest look at a figure, and the runs that began before it."""
    runs = compared.runs
    mask = runs[f"h{at}"].combine_chunks().cast(pa.bool_())
    is_before, start_ns = (runs[name].combine_chunks() for name in ("is_before", "start_ns"))
    starts = []
    for side, last in zip((is_before, pc.invert(is_before)), figure.last_hours, strict=True):
        if last is not None:
            is_late = pc.and_(side, pc.greater(runs["hour"].combine_chunks(), last))
            mask = pc.and_(mask, pc.invert(is_late))
        starts.append(start_ns.filter(pc.and_(side, mask)))
    number = find_look(
        min(len(own) * every for own, every in zip(starts, compared.every, strict=True))
    )
    if number is None:
        return None
    ends = []
    for own, every in zip(starts, compared.every, strict=True):
        place = min(-(-count_runs_of(number) // every), len(own)) - 1
        ends.append(own.take(pc.sort_indices(own).slice(place, 1))[0].as_py())
    return number, pc.and_(mask, pc.less_equal(start_ns, max(ends)))


def _leave_out_small(compared: ComparedRuns) -> tuple[pa.Array, pa.Array]:
    """Leave out slices in which a side has too few runs."""
    is_before = compared.runs["is_before"].combine_chunks().take(compared.places)
    counts = pa.table({"id": compared.ids, "is_before": is_before}).group_by(["id", "is_before"])
    counted = counts.aggregate([([], "count_all")])
    often = counted.filter(pc.greater_equal(counted["count_all"], LEAST_SLICE))
    sides = often.group_by("id").aggregate([([], "count_all")])
    both = sides.filter(pc.equal(sides["count_all"], 2))["id"].combine_chunks()
    is_kept = pc.is_in(compared.ids, value_set=both)
    return compared.ids.filter(is_kept), compared.places.filter(is_kept)


def _list_factors(compared: ComparedRuns) -> list[pa.Array]:
    """Return for each tag the number of each run's value, 0 for none; and the hour, if it counts.

    The tags with the most runs come first.
    """
    members: defaultdict[str, list[int]] = defaultdict(list)
    for number in pc.unique(compared.ids).to_pylist():
        members[compared.tags[number]].append(number)
    every = pa.array(range(compared.runs.num_rows), pa.int64())
    factors = []
    for _, numbers in sorted(members.items()):
        is_its = pc.is_in(compared.ids, value_set=pa.array(numbers, pa.int64()))
        at = pc.index_in(every, value_set=compared.places.filter(is_its))
        own = compared.ids.filter(is_its).take(at)
        factors.append((pc.count(own).as_py(), pc.fill_null(own, 0)))
    factors.sort(key=lambda item: -item[0])
    listed = [factor for _, factor in factors[:_MOST_FACTORS]]
    return [*listed, compared.runs["hour"].combine_chunks()] if compared.is_hourly else listed


def adjust(values: pa.Array, is_after: pa.Array, factors: Sequence[pa.Array]) -> pa.Array:
    """Subtract from each value what the tags of its run explain.

    Otherwise, a different mix of clients within a region would look like a change in this region.
    The effects of the values of each tag are added up. They are estimated in turn, next to the
    effect of the new version. Effects of values with few runs are shrunk.

    Args:
        values: The values, one for each run.
        is_after: For each run, 1.0 if it belongs to the new version, otherwise 0.0.
        factors: For each tag, the numbers of its values, one for each run.
    """
    encoded = [factor.dictionary_encode().indices for factor in factors]
    sides = is_after.cast(pa.int8()).dictionary_encode().indices
    for _ in range(_ROUNDS):
        for groups in encoded:
            # The effect of the version is no effect of a tag that is more frequent with it.
            left = pc.subtract(values, _find_means(values, sides, shrinking=0.0).take(sides))
            means = _find_means(left, groups, shrinking=_SHRINKING_RUNS)
            values = pc.subtract(values, means.take(groups))
    return values


def _find_means(values: pa.Array, groups: pa.Array, shrinking: float) -> pa.Array:
    """Return the mean of each group, in the order of the groups' numbers."""
    table = pa.table({"group": groups, "value": values}).group_by("group")
    sums = table.aggregate([("value", "sum"), ([], "count_all")]).sort_by("group")
    counts = pc.add(sums["count_all"].cast(pa.float64()), shrinking)
    return pc.divide(sums["value_sum"], counts).combine_chunks()


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Runs in the form that `sum_members` needs, each side as one model.

    Each figure that is looked at has two columns: its values and its adjusted values.
    """

    runs: pa.Table
    ids: pa.Array
    places: pa.Array
    looked: Sequence[_Looked]

    @classmethod
    def of(cls, compared: ComparedRuns, looked: Sequence[_Looked]) -> "_Prepared":
        runs, factors = compared.runs, _list_factors(compared)
        is_before = runs["is_before"].combine_chunks()
        is_after = pc.invert(is_before).cast(pa.int64())
        units = runs["unit"].combine_chunks().dictionary_encode().indices.cast(pa.int64())
        columns = {
            "of_model": pc.if_else(is_before, _BEFORE, _AFTER),
            # A session with runs of both versions is two units.
            "unit": pc.add(pc.multiply(units, 2), is_after),
        }
        every = pa.array(range(runs.num_rows), pa.int64())
        for place, item in enumerate(looked):
            at = every.filter(item.mask)
            values = runs[f"v{item.at}"].combine_chunks().take(at)
            left = adjust(
                values,
                is_after.take(at).cast(pa.float64()),
                [factor.take(at) for factor in factors],
            )
            of_run = pc.index_in(every, value_set=at)
            for column, own in ((2 * place, values), (2 * place + 1, left)):
                columns[f"h{column}"] = item.mask
                columns[f"v{column}"] = pc.fill_null(own.take(of_run), 0.0)
        return cls(pa.table(columns), compared.ids, compared.places, looked)

    def judge(self, chosen: Sequence[int]) -> dict[tuple[int, int], ChangeVerdict]:
        """Judge the changes of some figures, by the number of the slice and the figure's place."""
        names = {
            f"{kind}{2 * place + more}": f"{kind}{2 * at + more}"
            for at, place in enumerate(chosen)
            for more in (0, 1)
            for kind in "hv"
        }
        own = self.runs.select(["of_model", "unit", *names])
        own = own.rename_columns(["of_model", "unit", *names.values()])
        sums = {
            (row["model"], row["id"]): row
            for row in sum_members(own, self.ids, self.places, 2 * len(chosen))
        }
        keys, changes = [], []
        for number in sorted({number for _, number in sums} - {0}):
            rows = [sums.get((side, of)) for of in (number, 0) for side in (_BEFORE, _AFTER)]
            if not all(rows):
                continue
            for at, place in enumerate(chosen):
                raw, adjusted = (
                    [ClusterMoments(*row[f"m{2 * at + more}"]) for row in rows if row]
                    for more in (0, 1)
                )
                item = self.looked[place]
                keys.append((number, place))
                changes.append(
                    ComparedSlice(
                        kind=item.figure.kind,
                        lower_is_better=item.figure.lower_is_better,
                        margin=item.figure.margin,
                        look=item.number,
                        of_slice=(raw[0], raw[1]),
                        of_all=(raw[2], raw[3]),
                        adjusted_slice=(adjusted[0], adjusted[1]),
                        adjusted_all=(adjusted[2], adjusted[3]),
                    )
                )
        return {
            key: verdict
            for key, verdict in zip(keys, judge_changes(changes), strict=True)
            if verdict is not None
        }

    def choose_named(self, place: int, verdicts: Mapping[int, ChangeVerdict]) -> list[int]:
        """Choose the slices that explain where a figure is worse, the worst first.

        A slice is left out if it is not worse without the runs of the slices before it.
        """
        left, worse = self, {number for number, own in verdicts.items() if own.is_worse}
        named: list[int] = []
        while worse and len(named) < _MOST_NAMED:
            lost = {
                number: round_sum(verdicts[number].lost * verdicts[number].candidate.n)
                for number in worse
            }
            most = max(worse, key=lambda number: (lost[number], number))
            smaller = [
                number
                for number in sorted(
                    worse, key=lambda number: (verdicts[number].candidate.n, number)
                )
                if number != most and lost[number] >= _EXPLAINING_SHARE * lost[most]
            ]
            for number in [*smaller[:_MOST_TRIED], most]:
                others = worse - {number}
                rest = left.leave_out(number, others)
                still = rest.find_worse(place) & others
                if most not in still:
                    break
            named.append(number)
            left, worse = rest, still
        return named

    def find_worse(self, place: int) -> set[int]:
        """Return the numbers of the slices in which a figure is worse."""
        return {number for (number, _), own in self.judge([place]).items() if own.is_worse}

    def leave_out(self, number: int, others: Collection[int]) -> "_Prepared":
        """Return the runs that are not in a slice, with some other slices."""
        out = self.places.filter(pc.equal(self.ids, number))
        every = pa.array(range(self.runs.num_rows), pa.int64())
        kept = every.filter(pc.invert(pc.is_in(every, value_set=out)))
        places = pc.index_in(self.places, value_set=kept)
        is_kept = pc.and_(
            pc.is_valid(places),
            pc.is_in(self.ids, value_set=pa.array(sorted(others), pa.int64())),
        )
        return _Prepared(
            self.runs.take(kept),
            self.ids.filter(is_kept),
            places.filter(is_kept).cast(pa.int64()),
            self.looked,
        )
