"""Compares runs, versions of models, or experiments: the JSON API and the page."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import HTMLResponse, Response

from otel_ml.attributes import RECORDED
from otel_ml.statistics.comparison import FAILED_CALLS, Word
from otel_ml_collector import wording
from otel_ml_collector.access import ANNOTATE, access_of
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.comparison.find import (
    MOST,
    ComparedMetric,
    ComparedSide,
    ComparisonDetail,
    ComparisonQuery,
    DefinedVersion,
    SideComparison,
    find_comparison,
    write_param,
)
from otel_ml_collector.comparison.tag_values import choose_tag, find_tag_values
from otel_ml_collector.comparison.value_pairs import ValuePair, compare_values
from otel_ml_collector.curves.overlay import Curve, Overlay, lay_over
from otel_ml_collector.evaluations.experiments import ExperimentVerdict
from otel_ml_collector.evaluations.output_pairs import (
    MOST_PAIRS,
    find_version_pairs,
    lay_out_pairs,
)
from otel_ml_collector.filter.writing import quoted, write_judge_field
from otel_ml_collector.findings.releases import claim_release, find_worse_releases
from otel_ml_collector.findings.suggestions import suggest_for_release
from otel_ml_collector.findings.versions import (
    VersionsVerdict,
    find_compared,
    find_release_of,
    find_verdict,
    find_version_releases,
)
from otel_ml_collector.problems.problems import name_problem
from otel_ml_collector.store.reader import JsonValue, Reader
from otel_ml_collector.verdicts.claims import Banner, make_banner
from otel_ml_collector.verdicts.lines import (
    VerdictLine,
    amount_lines,
    failure_lines,
    judge_lines,
    versus_lines,
    write_bounds,
    write_value,
)
from otel_ml_collector.verdicts.verdicts import (
    AT_ALL_LOOKS,
    ERRORS,
    MISSING,
    ComparedFigure,
    JudgedSides,
    find_worst,
)
from otel_ml_collector.versions import diff
from otel_ml_collector.web import view
from otel_ml_collector.web.amounts import column_writer
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.shared_file import FromFileOptions, SharedFile

# Widths of the columns after the name, for a window of 1,280 pixels.
_WIDE: Final = 1_030
_PARAM_WIDE: Final = 76
_NAME_WIDE: Final = 124
_METRIC_WIDE: Final = 300
_FIGURE_WIDE: Final = 100
_METRIC_COLUMNS: Final = 2
_METRIC_DIGITS: Final = 4
_FEWEST_PARAMS: Final = 3
_CURVES: Final = 12
_JUDGES: Final = 4
_SHOWN_ROWS: Final = 200
_COPIED: Final = 20  # params and metrics that are copied
_CELL_CHARS: Final = 2_000
# Special characters of Markdown and HTML.
_MARKUP: Final = re.compile(r"[\\`*_{}\[\]<>|#]")
_NO_PAIRS: Final = 204
_PAIRS_IN_A_FILE: Final = 20
_PARTS: Final = {"run": "runs", "version": "models", "experiment": "experiments"}

api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


FromAsked = Annotated[ComparisonQuery, Depends()]


@api.get("/projects/{project:path}/compare")
def get_comparison(project: str, asked: FromAsked, reader: FromReader) -> SideComparison:
    """Compare runs, versions of a model or experiments with a baseline.

    Versions and experiments have the same verdict as on their own pages.
    """
    return find_comparison(reader, project, asked, time.time_ns()).answer


@api.get("/projects/{project:path}/models/{model:path}/versions/{number}/verdict")
def get_verdict(
    *,
    project: str,
    model: str,
    number: int,
    against: Annotated[int, Query(ge=1, description="Version number of the baseline")],
    reader: FromReader,
) -> VersionsVerdict:
    """Return whether a version of a model is better or worse than another, with the reasons.

    Scores of judges, failed calls, missing outputs, ground truth, latency, tokens and cost are
    compared. A new version and the one before it are compared by their recorded runs. For any other
    two versions, experiments of both on the same data set are compared. If there are none, their
    recorded runs are compared: those of the hours in which both ran, otherwise those before and
    since the rollout. Recorded runs of one session or trace count as dependent (one cluster) in
    confidence intervals.
    """
    return find_verdict(reader, project, model, number, against, now_ns=time.time_ns())


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of the comparison table that depend on the data.

    Attributes:
        params: Names of the params with a column.
        metrics: The metrics with columns.
        judges: Names of the judges with a column.
        tokens: Whether there is a column for tokens.
        cost: Whether there is a column for cost.
        has_room: Whether the page has room for wide columns of params and metrics, in which most
            names fit. Otherwise these columns are narrow.
    """

    params: Sequence[str]
    metrics: Sequence[ComparedMetric]
    judges: Sequence[str]
    tokens: bool
    cost: bool
    has_room: bool


@dataclass(frozen=True, slots=True)
class ParamCell:
    """A param's value in the table, and whether the baseline has the same value."""

    text: str
    is_same: bool


@dataclass(frozen=True, slots=True)
class MetricCell:
    """A metric of a side: its last value, its change, and whether it is best."""

    last: str
    change: str
    best: str
    step: int | None
    is_best: bool


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """A row of the comparison table: one of the compared runs, versions or experiments.

    Attributes:
        side: The run, version or experiment.
        address: Address of its page.
        is_best: Whether it alone has the best value of the first metric.
        judges: One cell per judge: the value, and its confidence interval (empty if it has none).
    """

    side: ComparedSide
    address: str
    is_baseline: bool
    is_best: bool
    params: Sequence[ParamCell]
    metrics: Sequence[MetricCell]
    judges: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ComparedPair:
    """How a run, version or experiment differs from the baseline, as the comparison page shows it.

    Attributes:
        side: The run, version or experiment that is compared with the baseline.
        judges: How the scores of each judge changed. Empty for runs.
        amounts: How latency, tokens and cost changed. Empty for runs.
        failures: How the share of failed calls changed. Empty for runs.
        parts: For runs: what differs between the inputs, and between the outputs. If they are
            equal, they are left out.
        same: For runs: which of ``inputs`` and ``outputs`` are equal.
        blocks: Functions whose source code differs between the two model versions. For two runs of
            the same model, these are the versions that the runs used. Empty for experiments.
        versions: The model version of the baseline, then that of `side`. Empty for experiments, and
            for runs without changed functions.
        banner: The verdict in one sentence. None for runs. Also None if no judge scored both the
            baseline and `side`, and no call failed.
        interval: What kind of intervals the figures have. Empty for runs.
    """

    side: ComparedSide
    judges: Sequence[VerdictLine]
    amounts: Sequence[VerdictLine]
    failures: Sequence[VerdictLine]
    parts: Sequence[ValuePair] = ()
    same: Sequence[str] = ()
    blocks: Sequence[diff.Block] = ()
    versions: Sequence[DefinedVersion] = ()
    banner: Banner | None = None
    interval: str = ""

    @property
    def has_more(self) -> bool:
        """Whether any difference can be shown."""
        return bool(self.parts or self.blocks) or self.side.run is None


class Shown:
    """Query parameters of a comparison page, without the two sides."""

    def __init__(
        self,
        *,
        every: Annotated[bool, Query(alias="all")] = False,
        by: Literal["step", "time"] = "step",
        scale: Literal["linear", "log"] = "linear",
        smooth: Literal["0", "0.6", "0.9"] = "0",
    ) -> None:
        self.every, self.by, self.scale, self.smooth = every, by, scale, smooth

    def address(self, project: str, asked: ComparisonQuery, **changes: object) -> str:
        """Write the address of the page with some parameters changed."""
        given: dict[str, object] = {
            "of": list(asked.of),
            "baseline": asked.baseline,
            "metric": asked.metric,
            "lower": list(asked.lower),
            "higher": list(asked.higher),
            "all": 1 if self.every else "",
            "by": self.by,
            "scale": self.scale,
            "smooth": self.smooth,
        } | changes
        usual = {"by": "step", "scale": "linear", "smooth": "0"}
        kept = {name: value for name, value in given.items() if usual.get(name) != value}
        return view.address(project, "compare", **kept)


@pages.get("/projects/{project:path}/compare", response_class=FramedPage)
def show_comparison(
    *,
    request: Request,
    project: str,
    asked: FromAsked,
    shown: Annotated[Shown, Depends()],
    reader: FromReader,
) -> Response:
    """Show runs, versions or experiments compared with a baseline."""
    context = _describe_page(request, reader, project, asked, shown)
    return show_page(request, "compare.html", context)


@api.get("/projects/{project:path}/compare/file", response_class=HTMLResponse)
def get_comparison_file(
    request: Request, project: str, asked: FromAsked, options: FromFileOptions
) -> Response:
    """Make one HTML file of a comparison of runs, versions or experiments with a baseline.

    The file opens without a server. If it would be too large, it says what was left out.
    """
    shown = Shown()
    file = SharedFile(request, options, project, shown.address(project, asked))
    context = _describe_page(request, options.reader, project, asked, shown, pairs=_PAIRS_IN_A_FILE)
    for side in context["found"].sides:
        if side.pairs and side.pairs.changed > _PAIRS_IN_A_FILE:
            file.cuts.append(f"pairs of {side.letter} after the first {_PAIRS_IN_A_FILE}")
    return file.answer(*file.write_page(file.render("compare.html", context)))


def _describe_page(
    request: Request,
    reader: Reader,
    project: str,
    asked: ComparisonQuery,
    shown: Shown,
    *,
    pairs: int = 0,
) -> dict[str, Any]:
    """Find what the page of a comparison shows, with at most `pairs` pairs of outputs."""
    compared = find_comparison(
        reader, project, replace(asked, pairs=pairs), time.time_ns(), has_scores=False
    )
    answer = compared.answer
    few = len(answer.sides) <= MOST
    columns = _choose_columns(answer)
    every = [*answer.differing, *(answer.same if shown.every else ())]
    has_more = few and (len(every) > len(columns.params))
    others = _lay_out_others(compared) if few else []

    def here(**changes: object) -> str:
        return shown.address(project, asked, **changes)

    return {
        "found": answer,
        "shown": shown,
        "part": "metrics" if answer.kind == "run" and answer.metrics else _PARTS[answer.kind],
        "baseline": compared.baseline,
        "columns": columns,
        "rows": _rows(project, compared, columns),
        "settings": _lay_out_params(compared, every[:_SHOWN_ROWS]) if has_more else [],
        "more_metrics": answer.metrics[len(columns.metrics) : _SHOWN_ROWS],
        "metric_cells": partial(_metric_cells, compared),
        "overlays": _overlays(project, compared),
        "pairs": [item for item in others if item.has_more],
        "compare_words": diff.compare,
        "verdict_of": _verdict_of,
        "alike": [item.side.letter for item in others if not item.has_more],
        "may_annotate": access_of(request.scope).has(ANNOTATE),
        "where_compared": asked.where,
        "here": here,
        "markdown": _write_markdown(compared, f"{str(request.base_url).rstrip('/')}{here()}"),
        "saved": view.api_address(
            "projects",
            project,
            "compare",
            "file",
            of=list(asked.of),
            baseline=asked.baseline,
            where=asked.where,
            metric=asked.metric,
            lower=list(asked.lower),
            higher=list(asked.higher),
        ),
        "kept": [("of", name) for name in asked.of] + _kept(asked),
        "turn": lambda metric: _turn(here, asked, metric),
        "same": ", ".join(
            f"{name} {_text(value)}" for name, value in [*answer.same.items()][:_SHOWN_ROWS]
        ),
        "api": view.api_address(
            "projects",
            project,
            "compare",
            of=list(asked.of),
            baseline=asked.baseline,
            metric=asked.metric,
            lower=list(asked.lower),
            higher=list(asked.higher),
        ),
        "python": python_call("compare", list(asked.of), baseline=asked.baseline),
    }


@pages.get("/projects/{project:path}/model-verdict")
def show_verdict(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    model: Annotated[str, Query(max_length=1_024)],
    version: Annotated[int, Query(ge=1)],
    against: Annotated[int, Query(ge=1)],
    is_default: Annotated[bool, Query(alias="default")] = False,
) -> Response:
    """Show whether a version of a model is better than another.

    This is a part of the model's page, which the browser loads after the rest of the page. If the
    user has not chosen two versions (`is_default`), a newly released version is compared with the
    version that was in use before it, instead of with `against`.
    """
    now_ns = time.time_ns()
    releases = find_version_releases(reader, project, now_ns, model)
    newest = find_release_of(releases, model, version)
    if is_default and newest is not None and newest.baseline.version is not None:
        against = newest.baseline.version
    verdict, release = find_compared(
        reader, project, model, version, against, now_ns=now_ns, releases=releases
    )
    banner = make_banner(
        verdict.word,
        verdict.deciding,
        (f"v{against}", f"v{version}"),
        sentence=verdict.sentence,
        interval=verdict.interval,
    )
    figure = finding = None
    if release is not None and verdict.basis != "experiments":
        if release is newest:
            finding = next(iter(find_worse_releases([release], now_ns)), None)
        figure = next((item for item in release.figures if item.name == banner.figure), None)
        claim = claim_release(release)
        has_colon = claim.text.startswith(": ")
        part = release.shown_slice
        if part is not None:
            figure = next(item for item in release.figures if item.name == part.figure.name)
        banner = replace(
            banner,
            word=Word.WORSE if release.is_worse else banner.word,
            lead=claim.title if has_colon else claim.sentence,
            claim=claim.text.removeprefix(": ") if has_colon else "",
            evidence=claim.evidence,
        )
    live = verdict.production or verdict
    has_live = bool(live.judges or live.amounts or live.failures)
    is_live = has_live or verdict.basis != "experiments"
    context = {
        "found": verdict,
        "banner": banner,
        "interval": AT_ALL_LOOKS if is_live else wording.INTERVAL,
        # Without recorded runs of both versions, the deciding experiments are shown.
        "lines": versus_lines(live, live.missing) if has_live else versus_lines(verdict, None),
        "source": "live runs" if is_live else "experiments",
        "tried": verdict.paired or (verdict if verdict.basis == "experiments" else None),
        "tag": choose_tag(release, figure) if release and figure else "",
        "target": figure.target if figure else "",
        "tag_values": find_tag_values(reader, project, release, figure, now_ns)
        if release is not None and figure is not None
        else [],
        # The claim may be about one client, so its runs are those of the problem.
        "where": finding.where if finding else _list_failures(verdict, banner),
        "problem": name_problem(finding) if finding else "",
        "suggestion": suggest_for_release(model, banner.figure, finding.own_slice)
        if finding
        else None,
    }
    return show_page(request, "verdict.html", context)


@dataclass(frozen=True, slots=True)
class VersionPairsQuery:
    """Which versions to compare: the parameters of the part of a page that shows pairs."""

    model: Annotated[str, Query(max_length=1_024)]
    version: Annotated[int, Query(ge=1)]
    against: Annotated[int, Query(ge=1)]
    where: Annotated[str, Query(max_length=8_000)] = ""
    word: Annotated[Word | Literal[""], Query(description="Verdict on the version")] = ""
    every: Annotated[bool, Query(alias="all")] = False


@pages.get("/projects/{project:path}/version-pairs")
def show_version_pairs(
    request: Request,
    reader: FromReader,
    project: str,
    query: Annotated[VersionPairsQuery, Depends()],
) -> Response:
    """Show what two versions returned for equal inputs.

    The browser loads this part after the rest of the page. Without pairs, it is empty.
    """
    versions = query.against, query.version
    answer = find_version_pairs(
        reader,
        project,
        query.model,
        versions,
        time.time_ns(),
        where=query.where,
        word=query.word or None,
        limit=MOST_PAIRS,
    )
    if not answer.pairs:
        return Response(status_code=_NO_PAIRS)
    asked = asdict(query)
    del asked["every"]
    context = {
        **lay_out_pairs(
            answer,
            lambda is_all: view.address(
                project, "version-pairs", **asked, all="1" if is_all else ""
            ),
            every=query.every,
        ),
        "versions": versions,
        "verdict_word": query.word,
        "compare_words": diff.compare,
        "figure": "",
        "may_annotate": access_of(request.scope).has(ANNOTATE),
    }
    return show_page(request, "pairs.html", context)


def _list_failures(verdict: VersionsVerdict, banner: Banner) -> str:
    """Write the filter of the new version's runs that failed by the deciding figure."""
    where = f"model == {quoted(verdict.model)} and version == {verdict.version}"
    if banner.figure in {ERRORS, FAILED_CALLS}:
        return f'{where} and outcome == "error"'
    if banner.judge is not None and banner.judge.is_rate:
        judge = banner.judge
        passed = write_judge_field(judge.name, judge.judge_number, judge.judge_version, "passed")
        return f"{where} and {passed} == False"
    return where


def _verdict_of(side: ComparedSide) -> VersionsVerdict | ExperimentVerdict | None:
    """Return the verdict on a side compared with the baseline. None for runs."""
    if side.version:
        return side.version.verdict
    return side.experiment.verdict if side.experiment else None


def _kept(asked: ComparisonQuery) -> list[tuple[str, str]]:
    """List the parameters of the address, without the sides."""
    facts = {"baseline": asked.baseline, "metric": asked.metric}
    many = [("lower", metric_name) for metric_name in asked.lower] + [
        ("higher", metric_name) for metric_name in asked.higher
    ]
    return [(name, value) for name, value in facts.items() if value is not None] + many


def _write_markdown(compared: ComparisonDetail, address: str) -> str:
    """Write the comparison for a pull request: its sentence, a table, verdicts and a link."""
    answer, before = compared.answer, compared.baseline
    params, metrics = answer.differing[:_COPIED], answer.metrics[:_COPIED]
    judges = _judges_of(answer)
    heads = ["", answer.kind, *params]
    for metric in metrics:
        heads += [metric.name, f"to {before.letter}"]
    by_metric = [_metric_cells(compared, metric) for metric in metrics]
    rows = []
    for place, side in enumerate(answer.sides):
        name = f"{side.name}, baseline" if side is before else side.name
        row = [side.letter, name, *(_param_cell(side, before, param).text for param in params)]
        for cells in by_metric:
            row += [cells[place].last, cells[place].change or "–"]
        rows.append(row + [" ".join(_judge_cell(side, judge)).strip() for judge in judges])
    heads += judges
    lines = [f"**{_escape(answer.sentence)}**", "", _table_row(heads), f"|{' --- |' * len(heads)}"]
    lines += [_table_row(row) for row in rows]
    markdown = [
        f"* {side.letter}, {_escape(name)}: {_escape(sentence)}"
        for side in answer.sides
        for name, sentence in _changes_of(side)
    ]
    link = f"[the comparison]({address})"
    return "\n".join([*lines, "", *markdown, *([""] if markdown else []), link]) + "\n"


def _table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escape, cells))} |"


def _changes_of(side: ComparedSide) -> list[tuple[str, str]]:
    """List the sentence of each figure, and for versions which data are compared."""
    verdict = _verdict_of(side)
    if verdict is None:
        return []
    figures = [(FAILED_CALLS, verdict.failures.sentence)] if verdict.failures else []
    if isinstance(verdict, VersionsVerdict) and verdict.missing:
        figures.append((MISSING, verdict.missing.sentence))
    figures += [(change.name, change.sentence) for change in verdict.judges]
    figures += [(change.name, change.sentence) for change in verdict.amounts]
    if isinstance(verdict, VersionsVerdict):
        figures.append(("compared data", verdict.heading))
    return figures


def _escape(text: str) -> str:
    """Escape a text for Markdown, and cut it if it is long."""
    return _MARKUP.sub(r"\\\g<0>", wording.shorten(" ".join(text.split()), _CELL_CHARS))


def _choose_columns(side_comparison: SideComparison) -> Columns:
    """Choose the columns that fit: metrics first, then params that differ."""
    runs = [side.run for side in side_comparison.sides if side.run is not None]
    has_tokens, has_cost = any(run.tokens for run in runs), any(run.cost for run in runs)
    judges = _judges_of(side_comparison)
    # A run has its duration, tokens and cost; versions and experiments have four columns.
    figures = len(judges) + (1 + has_tokens + has_cost if runs else 4)
    left = _WIDE - figures * _FIGURE_WIDE
    count = min(len(side_comparison.metrics), _METRIC_COLUMNS)
    if (left - count * _METRIC_WIDE) < _PARAM_WIDE * min(
        len(side_comparison.differing), _FEWEST_PARAMS
    ):
        count = min(count, 1)
    left = max(left - count * _METRIC_WIDE, 0)
    params = side_comparison.differing[: left // _PARAM_WIDE]
    has_room = (len(params) + count) * _NAME_WIDE <= left
    return Columns(params, side_comparison.metrics[:count], judges, has_tokens, has_cost, has_room)


def _turn(here: Callable[..., str], asked: ComparisonQuery, metric: ComparedMetric) -> str:
    """Write the address with the opposite direction of a metric."""
    lower = [metric_name for metric_name in asked.lower if metric_name != metric.name]
    higher = [metric_name for metric_name in asked.higher if metric_name != metric.name]
    (higher if metric.lower_is_better else lower).append(metric.name)
    return here(lower=lower, higher=higher)


def _text(value: object) -> str:
    """Write a param for readers."""
    return value if isinstance(value, str) else wording.tag_value(value)


def _rows(project: str, compared: ComparisonDetail, columns: Columns) -> list[ComparisonRow]:
    answer, before = compared.answer, compared.baseline
    best = answer.metrics[0].best if answer.metrics else []
    by_metric = [_metric_cells(compared, metric) for metric in columns.metrics]
    rows = [
        ComparisonRow(
            side=side,
            address=_address_of(project, side),
            is_baseline=side is before,
            is_best=best == [side.reference],
            params=[_param_cell(side, before, name) for name in columns.params],
            metrics=[cells[place] for cells in by_metric],
            judges=[_judge_cell(side, judge) for judge in columns.judges],
        )
        for place, side in enumerate(answer.sides)
    ]
    return sorted(rows, key=lambda row: not row.is_baseline)


def _address_of(project: str, side: ComparedSide) -> str:
    if side.version is not None:
        return view.address(project, "models", side.version.model, to=side.version.version)
    if side.experiment and side.reference == RECORDED:
        experiment = side.experiment.experiment
        return view.address(
            project, "datasets", experiment.dataset, version=experiment.dataset_version
        )
    return view.address(project, "experiments" if side.experiment else "runs", side.reference)


def _param_cell(side: ComparedSide, before: ComparedSide, name: str) -> ParamCell:
    text = _text(side.params[name]) if name in side.params else "–"
    is_same = side is not before and write_param(side, name) == write_param(before, name)
    return ParamCell(text, is_same)


def _metric_cells(compared: ComparisonDetail, metric: ComparedMetric) -> list[MetricCell]:
    """Write a metric of each side, in their order; numbers of a kind have the same decimals."""
    sides = compared.answer.sides
    figures = [side.metrics.get(metric.name) for side in sides]
    before = compared.baseline.metrics.get(metric.name)
    lasts = [own.last if own else None for own in figures]
    changes = [
        last - before.last
        if side is not compared.baseline
        and before is not None
        and isinstance(last, float)
        and isinstance(before.last, float)
        else None
        for side, last in zip(sides, lasts, strict=True)
    ]
    bests = [
        (None, None)
        if own is None
        else (own.low, own.low_step)
        if metric.lower_is_better
        else (own.high, own.high_step)
        for own in figures
    ]
    write_last = column_writer(lasts, _METRIC_DIGITS)
    write_best = column_writer((value for value, _ in bests), _METRIC_DIGITS)
    write_size = column_writer(changes)
    return [
        MetricCell(
            last=write_last(last),
            change="" if change is None else f"{'+' if change > 0 else ''}{write_size(change)}",
            best=write_best(best),
            step=step,
            is_best=metric.best == [side.reference],
        )
        for side, last, change, (best, step) in zip(sides, lasts, changes, bests, strict=True)
    ]


def _judges_of(side_comparison: SideComparison) -> list[str]:
    """Return the judges that have a column: for runs those with a score, for experiments all."""
    names: dict[str, None] = {}
    for side in side_comparison.sides:
        if side.run is not None:
            names |= dict.fromkeys(side.run.scores)
        if side.experiment is not None:
            names |= dict.fromkeys(judge.judge for judge in side.experiment.judges)
    return [*names][:_JUDGES]


def _judge_cell(side: ComparedSide, judge: str) -> tuple[str, str]:
    """Write a judge's score of a run, or its value for an experiment with the interval."""
    if side.run is not None and judge in side.run.scores:
        return wording.score(side.run.scores[judge]), ""
    if side.experiment is not None:
        for item in side.experiment.judges:
            if item.judge == judge:
                value = write_value(item.value, is_rate=item.is_rate)
                return value, write_bounds(item.value, is_rate=item.is_rate)
    return "–", ""


def _lay_out_params(
    compared: ComparisonDetail, names: Sequence[str]
) -> list[tuple[str, Sequence[ParamCell]]]:
    before = compared.baseline
    return [
        (name, [_param_cell(side, before, name) for side in compared.answer.sides])
        for name in names
    ]


# Curves.


def _overlays(project: str, compared: ComparisonDetail) -> list[Overlay]:
    """Draw the curves of each metric together: at most six, the baseline and the best ones."""
    overlays = []
    for metric in compared.answer.metrics[:_CURVES]:
        sides = _drawn(compared, metric)
        series = {
            side.reference: item
            for side in sides
            for item in compared.series[side.reference]
            if item.name == metric.name
        }
        if all(curve.count < 2 for curve in series.values()):  # noqa: PLR2004 - no line of one point
            continue
        overlays.append(
            lay_over(
                metric.name,
                [
                    Curve(
                        letter=side.letter,
                        source=_source(project, side, metric.name),
                        start_ns=side.run.start_ns if side.run else None,
                        style="base"
                        if side.reference == compared.answer.baseline
                        else "a"
                        if side.reference in metric.best
                        else "d",
                        series=series[side.reference],
                    )
                    for side in sides
                ],
            )
        )
    return overlays


def _drawn(compared: ComparisonDetail, metric: ComparedMetric) -> list[ComparedSide]:
    """Choose the sides to draw: the baseline, and those with the best last values."""
    having = [side for side in compared.answer.sides if metric.name in side.metrics]

    def order(side: ComparedSide) -> tuple[bool, float]:
        last = side.metrics[metric.name].last
        value = last if isinstance(last, float) else float("inf")
        is_other = side.reference != compared.answer.baseline
        return is_other, value if metric.lower_is_better else -value

    chosen = sorted(having, key=order)[:MOST]
    return [side for side in having if side in chosen]


def _source(project: str, side: ComparedSide, name: str) -> str:
    """Write the API call that returns the points of a metric."""
    if side.version is None:
        owner: dict[str, object] = {"run_id": side.reference}
    else:
        owner = {"model": side.version.model, "version": side.version.version}
    return view.api_address("projects", project, "metrics", **owner, name=name)


# Each side compared with the baseline.


def _lay_out_others(compared: ComparisonDetail) -> list[ComparedPair]:
    before = compared.baseline
    return [
        _compare_pair(compared, side, before)
        for side in compared.answer.sides
        if side is not before
    ]


def _compare_pair(
    compared: ComparisonDetail, side: ComparedSide, before: ComparedSide
) -> ComparedPair:
    if side.experiment is not None:
        verdict = side.experiment.verdict
        if verdict is None:
            return ComparedPair(side, (), (), ())
        versions = {judge.judge: judge.version for judge in side.experiment.judges}
        return ComparedPair(
            side,
            judge_lines(verdict.judges, versions),
            amount_lines(verdict.amounts),
            failure_lines(verdict.failures),
            banner=_make_banner(verdict, find_worst(verdict), before, side),
            interval=wording.INTERVAL,
        )
    if side.version is not None:
        decision = side.version.verdict
        return ComparedPair(
            side,
            judge_lines(decision.judges) if decision else (),
            amount_lines(decision.amounts) if decision else (),
            failure_lines(decision.failures) if decision else (),
            banner=_make_banner(
                decision,
                decision.deciding,
                before,
                side,
                sentence=decision.sentence,
                interval=decision.interval,
            )
            if decision
            else None,
            interval=decision.interval if decision else "",
            blocks=_blocks(compared, side, before, side.version.model),
            versions=[compared.versions[part.reference] for part in (before, side)],
        )
    parts, same = [], []
    for name in ("inputs", "outputs"):
        old, new = (_payload(part, name) for part in (before, side))
        if old == new:
            same.append(name)
        else:
            parts.append(compare_values(name, old, new))
    model = side.run.model if side.run else ""
    is_one = before.run is not None and before.run.model == model
    blocks = _blocks(compared, side, before, model) if is_one else []
    both = [compared.versions[part.reference] for part in (before, side)] if blocks else []
    return ComparedPair(side, (), (), (), parts, same, blocks, both)


def _make_banner(
    verdict: JudgedSides,
    deciding: ComparedFigure | None,
    before: ComparedSide,
    side: ComparedSide,
    *,
    sentence: str = "",
    interval: str = wording.INTERVAL,
) -> Banner | None:
    """Write the verdict on a pair. None if no judge scored both and no call failed."""
    if not verdict.judges and verdict.failures is None:
        return None
    names = before.letter, side.letter
    return make_banner(verdict.word, deciding, names, sentence=sentence, interval=interval)


def _blocks(
    compared: ComparisonDetail, side: ComparedSide, before: ComparedSide, model: str
) -> list[diff.Block]:
    """Compare the source of two versions; empty if it is unknown, or the same."""
    old, new = (compared.versions.get(part.reference) for part in (before, side))
    if old is None or new is None or old.definition == new.definition:
        return []
    return diff.changed_blocks(old.definition, new.definition, model)


def _payload(side: ComparedSide, name: str) -> JsonValue:
    """Return the inputs or outputs of a run. If it failed, its outputs are the error."""
    if side.run is None:
        return ""
    if name == "outputs" and side.run.outcome != "ok":
        return side.run.error or side.run.outcome
    value: JsonValue = side.run.inputs if name == "inputs" else side.run.outputs
    return "" if value is None else value
