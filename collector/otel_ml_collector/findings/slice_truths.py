"""Ground truth of slices and releases: the share of right predictions, or their mean error.

Predictions and ground truth are not columns of runs. They are read with one query for each
prediction target, and joined with the counted runs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

from otel_ml.statistics.comparison import FigureKind
from otel_ml_collector.findings.slice_sums import (
    MOST_READ,
    RUN_NUMBER,
    AskedRuns,
    FigureColumn,
)
from otel_ml_collector.ground_truth.find import PREDICTION_VALUES, choose_truths, read_targets
from otel_ml_collector.ground_truth.target import SavedTarget
from otel_ml_collector.measures.measures import rounded
from otel_ml_collector.measures.units import Outcome
from otel_ml_collector.store.counted import Bounds
from otel_ml_collector.store.predictions import PredictionKind, read_kept_days, write_rows
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_counted, find_record_kinds
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.windows import Window

# Maximum number of targets, because each takes a query.
_MOST_TARGETS: Final = 3
_ASKED_TIME: Final = Bounds(start=Sql("{start:Int64}"), end=Sql("{end:Int64}"))
# Maximum number of runs whose outputs are read for ground truth without a saved target. The
# predictions of a saved target are already in a table of their own.
_MOST_UNSAVED_RUNS: Final = 50_000
_FIGURE_KINDS: Final[Mapping[PredictionKind, FigureKind]] = {
    "class": "rate",
    "number": "score",
    "ranking": "score",
}
# How the names of figures of prediction targets begin.
TRUTH: Final = "truth "
_TRUTHS: Final = Sql("""
  SELECT {run} AS run, assumeNotNull({value}) AS value
  FROM (
    SELECT trace_id, span_id, model, actual, toNullable(toFloat64({right})) AS raw FROM ({rows}))
  WHERE actual != '' AND model IN {models:Array(String)} AND {sample} AND isNotNull(raw)
    AND isFinite(raw)
  LIMIT {most}""")


def choose_targets(reader: Reader, project: str, asked: AskedRuns) -> dict[str, SavedTarget]:
    """Choose at most three prediction targets, to compare how accurate slices of runs are.

    A prediction target maps a part of a model's output to the ground truth that this part predicts.
    Saved targets of the requested models come first. Then comes ground truth without a saved
    target.

    Returns:
        The targets. The key is the word `truth` and the name of the target, such as
            `"truth churned"`. Responses use the same name for the accuracy or mean error of a
            slice. Empty if there is no ground truth.
    """
    if not (asked.kinds.scores or asked.kinds.keyed_scores):  # ground truth is stored as scores
        return {}
    saved, unsaved = read_targets(reader, project)
    targets = [target for target in saved if target.model in asked.models]
    if len(targets) < _MOST_TARGETS:
        targets += choose_truths(
            reader, project, unsaved, asked.models, asked.window, most=_MOST_TARGETS
        )
    return {f"{TRUTH}{target.name}": target for target in targets[:_MOST_TARGETS]}


def list_figures(targets: Mapping[str, SavedTarget]) -> list[FigureColumn]:
    """List the figures of prediction targets: accuracy, mean error, or mean average precision."""
    return [
        FigureColumn(
            name,
            _FIGURE_KINDS[target.kind],
            lower_is_better=target.kind == "number",
            value=PREDICTION_VALUES[target.kind],
            target=target.name,
        )
        for name, target in targets.items()
    ]


def read_truths(reader: Reader, project: str, asked: AskedRuns, target: SavedTarget) -> pa.Table:
    """Read how good the prediction of each counted run was, compared with its ground truth.

    Returns:
        A row for each run with known ground truth. `run` is a hash of its trace ID and span ID.
        `value` is 1 for a correct class and 0 for a wrong one, the absolute error of a number, or
        the precision of a ranking.
    """
    rule, window = target.rule, asked.window
    kept = read_kept_days(reader, project, rule, window.start_ns, window.end_ns)
    counted_runs = find_counted(reader, project, _ASKED_TIME)
    sql = _TRUTHS.fill(
        run=RUN_NUMBER,
        value=rounded(Sql("raw")),
        right=PREDICTION_VALUES[target.kind],
        rows=write_rows(rule, counted_runs, asked.kinds, kept),
        sample=asked.sample,
        most=MOST_READ,
    )
    values: dict[str, Any] = {
        **rule.parameters,
        **kept.parameters,
        "project": project,
        "start": window.start_ns,
        "end": window.end_ns,
        "models": asked.models,
        "every": asked.every,
    }
    return reader.arrow(sql, values)


def find_truths(
    reader: Reader,
    project: str,
    asked: AskedRuns,
    targets: Mapping[str, SavedTarget],
    figures: Iterable[FigureColumn],
) -> dict[str, pa.Table]:
    """Run `read_truths` for each figure that has a prediction target, by name of the figure."""
    return {
        item.name: read_truths(reader, project, asked, targets[item.name])
        for item in figures
        if item.name in targets
    }


_OUTCOME_ROWS: Final = Sql("""
  SELECT trace_id, span_id,
    if(actual != '' AND isFinite(raw), toNullable(toFloat64(raw)), NULL) AS value
  FROM (SELECT trace_id, span_id, actual, toNullable(toFloat64({right})) AS raw FROM ({rows}))""")


def find_outcomes(
    reader: Reader, project: str, model: str, window: Window, *, runs: int
) -> list[Outcome]:
    """Find the prediction targets that can show which version of a model is better.

    Without a saved target, the query reads the outputs, so this is only done for at most 50,000
    runs.

    Args:
        reader: The store.
        project: The project.
        model: Name of the model.
        window: Only runs that began in this time are compared.
        runs: About how many runs are compared.
    """
    kinds = find_record_kinds(reader, project)
    if not (kinds.scores or kinds.keyed_scores):  # ground truth is stored as scores
        return []
    saved, unsaved = read_targets(reader, project)
    targets = [target for target in saved if target.model == model]
    if not targets and runs <= _MOST_UNSAVED_RUNS:
        targets = choose_truths(reader, project, unsaved, [model], window, most=_MOST_TARGETS)
    outcomes = []
    for target in targets[:_MOST_TARGETS]:
        rule = replace(target.rule, model=model)
        kept = read_kept_days(reader, project, rule, window.start_ns, window.end_ns)
        counted_runs = find_counted(reader, project, _ASKED_TIME)
        outcomes.append(
            Outcome(
                figure=f"{TRUTH}{target.name}",
                target=target.name,
                kind="rate" if target.kind == "class" else "score",
                lower_is_better=target.kind == "number",
                rows=_OUTCOME_ROWS.fill(
                    right=PREDICTION_VALUES[target.kind],
                    rows=write_rows(rule, counted_runs, kinds, kept),
                ),
                values={**rule.parameters, **kept.parameters},
            )
        )
    return outcomes


def name_target(target: str, *, is_rate: bool, lower_is_better: bool) -> str:
    """Name the figure of a prediction target in a sentence."""
    mean = "the mean error" if lower_is_better else "the mean precision"
    return f'{"the share of correct predictions" if is_rate else mean} ("{target}")'
