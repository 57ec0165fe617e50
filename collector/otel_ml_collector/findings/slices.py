"""Slices: compare the runs with each value of a tag or label with all other runs of the model.

Nothing is configured or stored: slices are computed from the recorded runs on request. In a very
large project, a sample of the traces is read, and the answer says how large it is.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final, Literal, TypeAlias

from pydantic import Field

from otel_ml.counts import write_count
from otel_ml.statistics import floats
from otel_ml.statistics.comparison import AMOUNT_MARGIN, FigureKind, Word
from otel_ml.statistics.slices import ClusterMoments, RestVerdict, SliceFigure, judge_slices
from otel_ml_collector import wording
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.findings.slice_sums import (
    FIELD_MARK,
    LEAST_RUNS,
    PAIR,
    AskedRuns,
    FigureColumn,
    SliceCondition,
    SliceDimensions,
    SlicesQuery,
    choose_figures,
    count_slices,
    find_dimensions,
    find_requests_ms,
    read_counted,
    round_sum,
)
from otel_ml_collector.findings.slice_truths import (
    choose_targets,
    find_truths,
    list_figures,
    name_target,
)
from otel_ml_collector.margins import Margins
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.versions import version_numbers
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.verdicts.claims import (
    Claim,
    ComparedValues,
    claim_slice,
    join_evidence,
    measure_of,
    name_measured,
    name_slice,
    name_version,
    write_change,
    write_difference,
    write_extra,
    write_margin,
)
from otel_ml_collector.verdicts.verdicts import Interval
from otel_ml_collector.windows import Window

CellWord: TypeAlias = Word | Literal["other"]

# Larger differences of scores have no decimals, and four significant digits.
_TWO_DECIMALS: Final = 100
_MOST_PARTS: Final = 12
MOST_SHOWN: Final = 500
# Maximum number of slices of a model that become findings.
_MOST_FINDINGS: Final = 5


class SlicesFigure(AnswerBody):
    """A figure that slices are compared by."""

    name: str = Field(
        description="errors, missing inputs, latency, cost, a judge, truth with the name of a "
        "prediction target, or drift with the path of a field. An older version of a judge has its "
        "number: `grounded v1`"
    )
    kind: Literal["rate", "score", "amount", "drift"]
    lower_is_better: bool
    judge: str = Field(description="Name of the judge; empty for other figures")
    judge_version: int | None = Field(
        description="Number of the judge's version; null if it has none"
    )
    digest: str = Field(description="Digest of the judge's version")
    target: str = Field(description="Name of the prediction target; empty for other figures")
    unit: Literal["points", "%", ""] = Field(description="Unit of differences in the figure")

    @property
    def title(self) -> str:
        """The name on pages, with the version of the judge."""
        if self.target:
            return f"{self._target_title} ({self.target})"
        if self.judge_version is None:
            return self.name
        return wording.numbered(
            self.name.removesuffix(f" v{self.judge_version}"), self.judge_version
        )

    @property
    def _target_title(self) -> str:
        """What is measured for a prediction target."""
        if self.kind == "rate":
            return "Correct predictions"
        return "Prediction error" if self.lower_is_better else "Prediction quality"


class SliceCell(AnswerBody):
    """One figure of a slice, compared with all other runs."""

    figure: str
    word: CellWord = Field(
        description="Verdict on the figure. For drift: `other` (the values changed), `no "
        "difference` or `not enough data`"
    )
    n: int = Field(description="Number of included runs of the slice that have this figure")
    value: float | None = Field(
        description="Value in the slice: a share, a mean score, or a geometric mean in ms or $"
    )
    rest: float | None
    difference: Interval | None = Field(
        description="Slice minus all other runs; for latency and cost, their ratio. Null if there "
        "are too few runs"
    )
    excess: float | None = Field(
        description="Extra failures: how many runs failed in addition to the rate of all other "
        "runs (lower bound). Null if the figure is not a share of runs"
    )
    margin: float = Field(
        default=0.0,
        description="Smallest difference that matters. For latency and cost, 0.05 means 5 %. For "
        "drift, 0",
    )
    strength: int = Field(
        description="Difference divided by the margin, from 1 to 3; 0 without a verdict"
    )
    shown: str = Field(
        description="Short text for a table: the difference in its unit, such as +1.9, or the "
        "drift score. If there are too few runs, their number, such as n 22"
    )


class RunSlice(AnswerBody):
    """The runs of a model with one value of a tag or label, compared with all other runs."""

    model: str
    name: str = Field(description="Name of the slice, such as client = Remax")
    dimension: str = Field(description="Name of the tag, or version, environment, release, ...")
    where: str = Field(description="Filter that lists the runs of the slice")
    condition: str = Field(description="Filter for the slice alone, without the model")
    runs: int = Field(description="Number of included runs in the slice")
    share: float = Field(description="Share of the model's runs that are in the slice, from 0 to 1")
    excess: float = Field(description="Extra failures, counted by the figure that has most of them")
    word: CellWord = Field(description="Verdict of the worst figure of the slice")
    sentence: str = Field(
        description="Sentence about the figure that is worst in the slice; empty if no figure is "
        "worse"
    )
    title: str = Field(default="", description="Short form of the first words of `sentence`")
    figure: str = Field(default="", description="Figure that the sentence is about")
    evidence: str = Field(
        default="", description="The difference with its interval, and how many runs there are"
    )
    cells: list[SliceCell]


class Slices(AnswerBody):
    """Slices compared with all other runs, those with the most extra failures first."""

    start_time: str
    end_time: str
    runs: int = Field(description="Number of included runs")
    share: float = Field(description="Share of the traces that are included, from 0 to 1")
    figures: list[SlicesFigure]
    slices: list[RunSlice]
    judged: int = Field(
        description="Number of compared slices; `slices` leaves out the least important ones"
    )
    left_out: list[str] = Field(
        description="Tags with too many different values, such as session, which are not compared"
    )
    same_as_version: list[str] = Field(
        description="Tags and fields of which each value belongs to one version. They are not "
        "compared, because versions are compared as releases"
    )


def find_slices(reader: Reader, query: SlicesQuery, now_ns: int) -> Slices:
    """Compare slices with all other runs; those with the most extra failures come first.

    Raises:
        BadInput: The filter or the figure is invalid.
    """
    window = query.window(now_ns)
    asked = AskedRuns.of(reader, query, window)
    targets = choose_targets(reader, query.project, asked)
    figures = choose_figures(reader, query, asked, list_figures(targets))
    truths = find_truths(reader, query.project, asked, targets, figures)
    if not query.figure:
        figures = [item for item in figures if not item.target or truths[item.name].num_rows]
    runs = read_counted(reader, asked, figures, truths)
    dimensions = find_dimensions(reader, query, asked, runs)
    rows = count_slices(runs, figures, dimensions)
    ratios = _Ratios.read(reader, asked, figures)
    slices, judged = _judge(asked, figures, rows, dimensions, query.where, ratios=ratios)
    if query.pairs:
        # Pairs combine two dimensions whose slices are worse on their own.
        worse = {
            item.name for item in [item for item in slices if item.word == Word.WORSE][:_MOST_PARTS]
        }
        parts = {
            number: its.dimension
            for (number, _), its in dimensions.slices.items()
            if its.name in worse
        }
        pairs = [
            first * PAIR + second
            for first, second in combinations(sorted(parts), 2)
            if parts[first] != parts[second]
        ]
        rows = count_slices(runs, figures, dimensions, pairs) if pairs else []
        of_pairs, _ = _judge(asked, figures, rows, dimensions, query.where, ratios=ratios)
        slices = _keep_worse_pairs(of_pairs, slices, figures)
        judged = len(slices)
    numbers = version_numbers(
        reader, query.project, "judge", {figure.judge for figure in figures} - {""}
    )
    return Slices(
        start_time=to_rfc3339(window.start_ns),
        end_time=to_rfc3339(window.end_ns),
        runs=asked.runs // asked.every,
        share=1 / asked.every,
        figures=[
            SlicesFigure(
                name=figure.name,
                kind=figure.kind,
                lower_is_better=figure.lower_is_better,
                judge=figure.judge,
                judge_version=numbers.get((figure.judge, figure.digest, "")),
                digest=figure.digest,
                target=figure.target,
                unit=_UNITS[figure.kind],
            )
            for figure in figures
        ],
        slices=slices,
        judged=judged,
        left_out=[*dimensions.left_out],
        same_as_version=dimensions.version_tags,
    )


@dataclass(frozen=True, slots=True)
class _Ratios:
    """The smallest differences in latency and cost that matter, as ratios."""

    margins: Margins
    request_ms: Mapping[str, float]

    @classmethod
    def read(cls, reader: Reader, asked: AskedRuns, figures: Iterable[FigureColumn]) -> "_Ratios":
        """Read how long requests take, if a margin depends on it."""
        is_needed = reader.margins.time_share and any(item.name == "latency" for item in figures)
        return cls(reader.margins, find_requests_ms(reader, asked) if is_needed else {})

    def find(self, figure: FigureColumn, model: str, of_all: ClusterMoments) -> float | None:
        """Return the margin of a figure of a model."""
        if figure.kind != "amount" or not of_all.n:
            return figure.margin
        mean = floats.exp(of_all.t / of_all.n)
        return self.margins.find_ratio(
            figure.name, mean, AMOUNT_MARGIN, self.request_ms.get(model, 0.0)
        )


def _judge(
    asked: AskedRuns,
    figures: Sequence[FigureColumn],
    rows: Sequence[Row],
    dimensions: SliceDimensions,
    where: str,
    *,
    ratios: _Ratios,
) -> tuple[list[RunSlice], int]:
    """Compare all slices; return the most important ones in order, and the number of all."""
    every = {row["model"]: row for row in rows if row["id"] == 0}
    slices = [
        (row, its)
        for row in rows
        if row["id"]
        and (its := dimensions.of(row["id"], row["model"]))
        # Slices with nearly all runs are left out: there are no other runs to compare them with.
        and every[row["model"]]["runs"] - row["runs"] >= LEAST_RUNS
    ]
    of_models = {
        model: [_moments(row, place) for place in range(len(figures))]
        for model, row in every.items()
    }
    asked_of: list[tuple[int, int]] = []
    compared: list[SliceFigure] = []
    for slice_place, (row, its) in enumerate(slices):
        of_model = of_models[row["model"]]
        for place, figure in enumerate(figures):
            if figure.name == "errors" and its.dimension == "outcome":
                continue
            asked_of.append((slice_place, place))
            compared.append(
                SliceFigure(
                    figure.kind,
                    lower_is_better=figure.lower_is_better,
                    of_slice=_moments(row, place),
                    of_all=of_model[place],
                    margin=ratios.find(figure, row["model"], of_model[place]),
                )
            )
    cells: defaultdict[int, list[tuple[FigureColumn, RestVerdict, int]]] = defaultdict(list)
    for (slice_place, place), of_figure, verdict in zip(
        asked_of, compared, judge_slices(compared), strict=True
    ):
        cells[slice_place].append((figures[place], verdict, round(of_figure.of_slice.n)))
    order = sorted(
        range(len(slices)), key=lambda place: _order(*slices[place], cells[place], asked.every)
    )
    made = [
        _make_slice(
            *slices[place],
            cells[place],
            of_model=every[slices[place][0]["model"]]["runs"],
            asked=asked,
            where=where,
        )
        for place in order[:MOST_SHOWN]
    ]
    return made, len(slices)


def _moments(row: Row, place: int) -> ClusterMoments:
    return ClusterMoments(*row[f"m{place}"])


_Verdicts = Sequence[tuple[FigureColumn, RestVerdict, int]]


def _order(
    row: Row, its: SliceCondition, cells: _Verdicts, every: int
) -> tuple[float, float, int, str]:
    """Sort key of a slice: first its extra failures, then how far it is beyond the margin."""
    runs = row["runs"]
    worse = [cell for cell in cells if cell[1].word == Word.WORSE]
    excess = max((_measure_excess(*cell, runs * every) or 0.0 for cell in worse), default=0.0)
    weights = [_weight(verdict) for _, verdict, _ in worse]
    return -excess, -max(weights, default=0.0) * runs, -runs, f"{row['model']} {its.name}"


def _measure_excess(figure: FigureColumn, verdict: RestVerdict, _: int, runs: int) -> float | None:
    """Return the number of extra failures; None if the figure is not a share of runs."""
    if figure.kind != "rate" or verdict.difference is None:
        return None
    return round_sum(verdict.lost * runs)


def _make_slice(
    row: Row,
    its: SliceCondition,
    cells: _Verdicts,
    *,
    of_model: int,
    asked: AskedRuns,
    where: str,
) -> RunSlice:
    """Make a slice from its verdicts."""
    runs = row["runs"]
    made = [_make_cell(figure, verdict, n, runs * asked.every) for figure, verdict, n in cells]
    items = [
        (figure, verdict, cell)
        for (figure, verdict, _), cell in zip(cells, made, strict=True)
        if verdict.word.is_decided
    ]
    items.sort(
        key=lambda entry: (
            entry[1].word != Word.WORSE,
            -(entry[2].excess or 0.0),
            -_weight(entry[1]),
        )
    )
    excess = max((cell.excess or 0.0 for cell in made), default=0.0)
    words = {value.word for _, value, _ in cells}
    word = next(word for word in _WORDS if word in words or word == _WORDS[-1])
    claim = Claim("", "")
    if items:  # the first figure decides what the claim says
        figure, verdict, cell = items[0]
        claim = _claim(row["model"], its, figure, verdict, cell)
        claim = replace(claim, evidence=_write_evidence(items, its, runs, of_model, asked.every))
    model_where = f"model == {quoted(row['model'])}"
    return RunSlice(
        model=row["model"],
        name=its.name,
        dimension=its.dimension,
        where=narrow(narrow(where, model_where), its.where),
        condition=its.where,
        runs=runs,
        share=runs / of_model,
        excess=excess,
        word=word,
        sentence=claim.sentence,
        title=claim.title,
        evidence=claim.evidence,
        figure=items[0][0].name if items else "",
        cells=made,
    )


_UNITS: Final[Mapping[FigureKind, Literal["points", "%", ""]]] = {
    "rate": "points",
    "amount": "%",
    "score": "",
}
_WORDS: Final = (Word.WORSE, Word.BETTER, Word.NO_DIFFERENCE, Word.NOT_ENOUGH_DATA)


def _weight(verdict: RestVerdict) -> float:
    """Return how much worse a figure certainly is, as a multiple of its margin."""
    return verdict.lost / verdict.margin if verdict.margin else 0.0


def _make_cell(figure: FigureColumn, verdict: RestVerdict, n: int, runs: int) -> SliceCell:
    difference = verdict.difference
    return SliceCell(
        figure=figure.name,
        word=verdict.word,
        n=n,
        value=round_sum(verdict.value),
        rest=round_sum(verdict.rest),
        difference=None if difference is None else Interval.model_validate(difference),
        excess=_measure_excess(figure, verdict, n, runs),
        margin=round_sum(_margin_of(figure, verdict)) or 0.0,
        strength=verdict.strength,
        shown=f"n {n:,}" if difference is None else _show(figure.kind, difference.value),
    )


def _margin_of(figure: FigureColumn, verdict: RestVerdict) -> float:
    """Return the smallest difference that matters: of an amount, its ratio; else as it is."""
    return math.expm1(verdict.margin) if figure.kind == "amount" else verdict.margin


def _show(kind: FigureKind, difference: float) -> str:
    """Write a difference in its unit: points, per cent, or the judge's own."""
    match kind:
        case "rate":
            text = wording.signed(100 * difference)
        case "amount":
            text = wording.signed(100 * (difference - 1))
        case "score" if abs(difference) < _TWO_DECIMALS:
            text = f"{difference:+.2f}"
        case "score":
            text = f"{float(f'{difference:.4g}'):+,.0f}"
    return "0" if not text.strip("+-0.") else text.replace("-", "\N{MINUS SIGN}")


def _claim(
    model: str, its: SliceCondition, figure: FigureColumn, verdict: RestVerdict, cell: SliceCell
) -> Claim:
    """Write by how much a slice differs from all other runs of its model."""
    versions = [value for name, value in its.parts if name.endswith("version")]
    parts = [part for part in its.parts if not part[0].endswith("version")]
    subject = name_version(model, int(versions[0]) if versions else None)
    part = " and ".join(name_slice(name.removeprefix(FIELD_MARK), value) for name, value in parts)
    values = ComparedValues(
        figure=figure.target or figure.judge or figure.name,
        kind=figure.kind,
        now=cell.value or 0.0,
        before=cell.rest or 0.0,
        is_target=bool(figure.target),
        is_error=bool(figure.target) and figure.lower_is_better,
    )
    return claim_slice(subject, part, values, is_worse=verdict.word == Word.WORSE)


def _write_evidence(
    items: Sequence[tuple[FigureColumn, RestVerdict, SliceCell]],
    its: SliceCondition,
    runs: int,
    of_model: int,
    every: int,
) -> str:
    """Write the difference of the worst figure, other worse figures, and the number of runs."""
    (figure, verdict, cell), *others = items
    name = _name_column(figure)
    changes: dict[str, str] = {}
    for other, other_verdict, at in others:
        other_name = _name_column(other)
        # Two figures can have the same name: two versions of one judge.
        if other_verdict.word == verdict.word and other_name != name:
            changes.setdefault(other_name, write_change(at.difference, other.kind))
    also = ", ".join(f"{other_name} ({change})" for other_name, change in changes.items())
    own, rest = (number * every for number in (runs, of_model - runs))
    about = "About " if every > 1 else ""
    return join_evidence(
        f"{about}{write_count(own, 'run')} of {wording.slice_name(its.name)}, "
        f"{write_count(rest, 'other run')}",
        write_difference(cell.difference, figure.kind, of=name),
        f"Also {verdict.word}: {also}" if also else "",
        write_extra(round(cell.excess or 0)) if figure.name == "errors" else "",
        write_margin(figure.name, cell.margin, cell.rest or 0.0),
    )


def _name_column(figure: FigureColumn) -> str:
    """Name a figure in a sentence, such as `the share of failed runs`."""
    if figure.target:
        return name_target(
            figure.target, is_rate=figure.kind == "rate", lower_is_better=figure.lower_is_better
        )
    return name_measured(figure.name, figure.kind, f'"{figure.judge}"' if figure.judge else "")


def _keep_worse_pairs(
    pairs: Iterable[RunSlice], slices: Iterable[RunSlice], figures: Sequence[FigureColumn]
) -> list[RunSlice]:
    """Keep the pairs of slices that are worse by some figure than either slice alone."""
    signs = {
        figure.name: (1 if figure.lower_is_better else -1, figure.kind == "amount")
        for figure in figures
    }

    def measure_loss(cell: SliceCell) -> float:
        sign, is_amount = signs[cell.figure]
        value = cell.difference.value if cell.difference else 0.0
        return sign * (math.log(value) if is_amount and value > 0 else value)

    losses = {
        (item.model, item.name, cell.figure): measure_loss(cell)
        for item in slices
        for cell in item.cells
    }
    kept = []
    for pair in pairs:
        for cell in pair.cells:
            parts = [
                losses.get((pair.model, name, cell.figure), math.inf)
                for name in pair.name.split(" and ")
            ]
            if cell.word == Word.WORSE and measure_loss(cell) > max(parts):
                kept.append(pair)
                break
    return kept


def find_worse(answer: Slices, window: Window) -> list[Finding]:
    """Make findings of the worst slices. If several have the same runs, only the first counts."""
    findings = []
    entries: set[tuple[str, int, tuple[tuple[int, float | None], ...]]] = set()
    counts: Counter[str] = Counter()
    figures = {figure.name: figure for figure in answer.figures}
    for item in answer.slices:
        runs = (item.model, item.runs, tuple((cell.n, cell.value) for cell in item.cells))
        is_new = item.word == Word.WORSE and item.dimension != "outcome" and runs not in entries
        if not is_new or counts[item.model] >= _MOST_FINDINGS:
            continue
        entries.add(runs)
        counts[item.model] += 1
        figure = figures[item.figure]
        is_version = item.dimension in {"version", "release", "provider_model"}
        findings.append(
            Finding(
                kind="slice",
                sentence=item.sentence,
                model=item.model,
                # No filter on scores can find the wrong predictions of a target.
                where=item.where
                if figure.target
                else narrow_to_failed(
                    item.where, figure.judge or figure.name, figure.kind, figure.judge_version
                ),
                start_ns=window.start_ns,
                end_ns=window.end_ns,
                # Slices that are only slower have no extra failures. They are listed after all
                # slices with extra failures, so their size is below 1.
                size=item.excess or item.runs / (item.runs + 1),
                title=item.title,
                evidence=item.evidence
                if is_version
                else f"{item.evidence} No new version explains it.",
                measure=measure_of(figure.name),
                measured=figure.name,
                condition=item.condition,
                target=figure.target,
                cause="version" if is_version else "no version",
            )
        )
    return findings


def narrow_to_failed(where: str, figure: str, kind: str, judge_version: int | None) -> str:
    """Narrow a filter to runs that failed by a figure; unchanged if no filter can find them."""
    if figure == "errors":
        return narrow(where, 'outcome == "error"')
    if kind != "rate" or measure_of(figure) != "quality":
        return where
    judge = quoted(figure)
    failed = narrow(where, f"passed[{judge}] == False")
    if judge_version is None:
        return failed
    return narrow(failed, f"judge_version[{judge}] == {judge_version}")
