"""Computes series for Prometheus: alerts, drift, slices, ground truth and experiments.

Series are computed only if the metrics were scraped in the last hour. A scrape never waits for
them. The states of alerts are read as the evaluator has stored them. All other series are computed
like the numbers on pages, for one project at a time, each once an hour.
"""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from otel_ml_collector.alerts.find import find_rules
from otel_ml_collector.alerts.rule import AlertRule, SliceKey
from otel_ml_collector.alerts.states import STATES
from otel_ml_collector.background import BackgroundJob
from otel_ml_collector.errors import CollectorError
from otel_ml_collector.evaluations.experiments import find_experiments
from otel_ml_collector.findings.drift import THAN, FieldsQuestion, judge_models
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.slices import find_slices
from otel_ml_collector.ground_truth.find import (
    QualityQuestion,
    choose_step,
    find_quality,
    list_targets,
)
from otel_ml_collector.stats import find_all_stats
from otel_ml_collector.store.alerts import WHOLE_RULE, AlertRow, read_alert_rows
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.telemetry.series import ComputedSeries, SeriesName, SeriesRow
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS
from otel_ml_collector.windows import Window

_MEASURED_PROJECTS: Final = 20
# Series are not computed if nothing has scraped them for this long.
_READ_WITHIN_S: Final = 3_600.0
_MEASURED_EVERY_NS: Final = HOUR_NS
_LISTED_EVERY_NS: Final = 5 * MINUTE_NS
_PREDICTED_NS: Final = 30 * DAY_NS
_MOST_TARGETS: Final = 20
_MOST_SLICES: Final = 100
_DIGEST_CHARS: Final = 8

_logger = logging.getLogger(__name__)


class SeriesUpdater:
    """Computes the Prometheus series of the 20 projects with the most runs. Not thread-safe.

    The states of alerts are read for all projects.

    Args:
        reader: The store.
        series: Stores the computed series until the next scrape.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self, reader: Reader, series: ComputedSeries, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader = reader
        self._series = series
        self._clock = clock
        self._listed_ns = -_LISTED_EVERY_NS
        self._measured_ns: dict[str, int] = {}

    def list_jobs(self) -> Sequence[BackgroundJob]:
        """List the job that computes the series of one project after another."""
        return [
            BackgroundJob(
                lambda: self.run_pass(time.time_ns()),
                30.0,
                "Metrics of drift, slices, ground truth and experiments could not be computed",
                first_s=30.0,
            )
        ]

    def run_pass(self, now_ns: int) -> None:
        """Read the states of alerts, and compute the series of one project if one is due.

        Raises:
            Unavailable: The store does not answer.
        """
        if self._clock() - self._series.read_s > _READ_WITHIN_S:
            return
        alerts = read_alert_series(self._reader)
        self._series.keep("alert", alerts)
        for project, rows in alerts.items():
            self._series.put("alert", project, rows)
        if now_ns - self._listed_ns >= _LISTED_EVERY_NS:
            self._listed_ns = now_ns
            self._list(now_ns)
        self._measure(now_ns)

    def _list(self, now_ns: int) -> None:
        """List the projects with most runs."""
        groups = find_all_stats(self._reader, now_ns).groups
        groups.sort(key=lambda group: (-group.runs, group.project))
        projects = [group.project for group in groups[:_MEASURED_PROJECTS]]
        for name in MEASURED:
            self._series.keep(name, projects)
        self._measured_ns = {project: self._measured_ns.get(project, 0) for project in projects}

    def _measure(self, now_ns: int) -> None:
        """Compute the series of the project that was computed longest ago, if it is due."""
        if not self._measured_ns:
            return
        project = min(self._measured_ns, key=lambda name: self._measured_ns[name])
        if now_ns - self._measured_ns[project] < _MEASURED_EVERY_NS:
            return
        self._measured_ns[project] = now_ns
        for measure in _MEASURES:
            try:
                measured = measure(self._reader, project, now_ns)
            except CollectorError as error:  # the other series are computed anyway
                _logger.warning("Some series of a project were not computed: %s", error)
                continue
            for name, rows in measured.items():
                self._series.put(name, project, [row for row in rows if math.isfinite(row[1])])


def read_alert_series(reader: Reader) -> Mapping[str, Sequence[SeriesRow]]:
    """Read the states of all alerts as Prometheus series with the value 0 or 1.

    A slice is the runs with one value of the rule's `by`, such as client = Remax. Each slice has
    two series: one is 1 while the alert of the slice is firing, the other while it is pending. Each
    rule has one more series, which is 1 while the rule cannot be evaluated.

    Returns:
        The series of each project. The series of firing alerts come first.
    """
    rows: defaultdict[str, list[AlertRow]] = defaultdict(list)
    for row in read_alert_rows(reader):
        rows[row.project].append(row)
    series: dict[str, Sequence[SeriesRow]] = {}
    for project, of_project in rows.items():
        rules = {rule.name: rule for rule in find_rules(reader, project)}
        of_project.sort(key=lambda row: (STATES.index(row.state), row.rule, row.slice))
        series[project] = [
            line
            for row in of_project
            if (rule := rules.get(row.rule)) and row.body.get("digest") == rule.digest
            for line in _add_series(rule, row)
        ]
    return series


def _add_series(rule: AlertRule, row: AlertRow) -> list[SeriesRow]:
    is_whole = row.slice == WHOLE_RULE
    labels = {} if is_whole else SliceKey(row.slice).labels(rule.plan.by)
    name = ", ".join(f"{dimension} = {value}" for dimension, value in labels.items())
    states = ("failed",) if is_whole else ("firing", "pending")
    return [
        ((rule.name, name, rule.severity, state), 1.0 if row.state == state else 0.0)
        for state in states
    ]


# Rows of each kind of measured series, the most important first.
Measured = Mapping[SeriesName, Sequence[SeriesRow]]


def _measure_drift(reader: Reader, project: str, now_ns: int) -> Measured:
    rows: list[SeriesRow] = [
        ((drift.model, field.name), field.distance)
        for drift in judge_models(FieldsQuestion(reader, project, "", now_ns, "24h", THAN))
        for field in drift.drifts
        if field.parts and field.word != "too few"
    ]
    return {"drift_distance": sorted(rows, key=lambda row: -row[1])}


def _measure_slices(reader: Reader, project: str, now_ns: int) -> Measured:
    query = SlicesQuery(project, start_ns=now_ns - DAY_NS, end_ns=now_ns)
    slices = find_slices(reader, query, now_ns).slices
    rows = [((part.model, part.name), part.excess) for part in slices if part.excess > 0]
    return {"slice_excess_runs": rows[:_MOST_SLICES]}


def _measure_targets(reader: Reader, project: str, now_ns: int) -> Measured:
    scores: list[SeriesRow] = []
    coverage: list[SeriesRow] = []
    window = Window(now_ns - _PREDICTED_NS, now_ns)
    for target in list_targets(reader, project).targets[:_MOST_TARGETS]:
        question = QualityQuestion(project, target, window, "", choose_step(window), now_ns)
        quality = find_quality(reader, question)
        scores += [
            ((target.name, figure.name), figure.value.value)
            for figure in quality.figures
            if figure.value is not None
        ]
        if quality.coverage is not None:
            coverage.append(((target.name,), quality.coverage.value))
    return {"actual_score": scores, "actual_coverage": coverage}


def _measure_experiments(reader: Reader, project: str, now_ns: int) -> Measured:
    page = find_experiments(reader, project, now_ns, limit=10, verdicts=True)
    rows: list[SeriesRow] = []
    for experiment in page.experiments:
        if experiment.outcome != "running":
            number = experiment.version
            version = experiment.digest[:_DIGEST_CHARS] if number is None else f"v{number}"
            rows += [
                ((experiment.dataset, experiment.function, version, judge), value)
                for judge, value in experiment.values.items()
            ]
    return {"experiment_score": rows}


MEASURED: Final[Sequence[SeriesName]] = (
    *("drift_distance", "slice_excess_runs", "actual_score", "actual_coverage"),
    "experiment_score",
)
_MEASURES: Final = (_measure_drift, _measure_slices, _measure_targets, _measure_experiments)
