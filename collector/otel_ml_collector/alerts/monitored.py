"""Figures of rules that monitoring computes: drift of a field, the worst slice, a worse version."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from otel_ml_collector.alerts.conditions import model_of
from otel_ml_collector.alerts.sentences import describe_value
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.figures import Figure
from otel_ml_collector.filter.grammar import conjuncts
from otel_ml_collector.findings.drift import FieldsPast, FieldsQuestion, find_drift
from otel_ml_collector.findings.releases import VersionWord, VersionWords
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.slices import find_slices
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS
from otel_ml_collector.windows import Window

_PAST_OF_NS: dict[int, FieldsPast] = {HOUR_NS: "1h", DAY_NS: "24h", 7 * DAY_NS: "7d"}


@dataclass(frozen=True, slots=True)
class MonitoredValue:
    """The value of a figure in a window.

    Attributes:
        value: NaN if the field has too few runs to measure drift, or if `excess` counts failures
            according to a judge and this judge scored no run in the window.
        runs: Number of runs in the window.
        text: What the value means, in words. Empty if the number says it all.
    """

    value: float
    runs: int
    text: str = ""


def measure_monitored(
    reader: Reader, project: str, where: str, figure: Figure, window: Window
) -> MonitoredValue:
    """Measure `drift` or `excess` for the runs in a window.

    `drift` measures how much a field has changed compared with an earlier time. `excess` counts
    extra failures in the worst slice. A slice is the runs with one value of a field or tag, such as
    client = Remax. Its extra failures are those that it would not have at the failure rate of all
    other runs.

    Raises:
        BadInput: The filter is invalid, or the earlier time that drift is compared with is invalid.
    """
    start_ns, end_ns = window.start_ns, window.end_ns
    if figure.name == "drift":
        return _measure_drift(reader, project, where, figure, window)
    # The figure is the number of extra failures of the worst slice.
    query = SlicesQuery(project, where, figure.of, start_ns=start_ns, end_ns=end_ns)
    try:
        slices = find_slices(reader, query, end_ns)
    except BadInput as error:
        if error.field == "figure":  # the judge scored no run in this window
            return MonitoredValue(math.nan, 0)
        raise
    most = max((part.excess for part in slices.slices), default=0.0)
    return MonitoredValue(most, slices.runs)


def measure_version(
    words: VersionWords, where: str, figure: Figure, ends_ns: Sequence[int]
) -> dict[int, VersionWord]:
    """Find out whether a model's newest version is worse than its baseline, at several times.

    For each of the times, only the runs before that time are compared.

    Args:
        words: Object that compares each version of one model with its baseline.
        where: The filter of the rule, which names the model.
        figure: The figure `worse`. It contains the name of what is compared: a judge, ``errors``,
            or an amount such as ``latency``.
        ends_ns: The times, which are the ends of the rule's windows, in ascending order.

    Returns:
        The answer for each time. A time is left out in three cases: the newest version was more
        than 14 days old at that time, it had no baseline, or the judge had scored only one of the
        two versions.
    """
    return words.find(figure.of, where if len(conjuncts(where)) > 1 else "", ends_ns)


def _measure_drift(
    reader: Reader, project: str, where: str, figure: Figure, window: Window
) -> MonitoredValue:
    """Return the drift score of a field and what changed; 0 without drift.

    As on the page of the field, the newest complete hour, day or week of the window is compared.
    """
    question = FieldsQuestion(
        reader,
        project,
        model_of(where) or "",
        window.end_ns,
        last=_PAST_OF_NS[window.end_ns - window.start_ns],
        than=figure.than,
        where=where if len(conjuncts(where)) > 1 else "",
    )
    answer = find_drift(question)
    drift = next((drift for drift in answer.drifts if drift.name == figure.of), None)
    if drift is None or drift.word == "too few":
        return MonitoredValue(math.nan, answer.runs)
    if drift.word != "drift":
        return MonitoredValue(0.0, answer.runs)
    text = f"{describe_value(figure, drift.distance)}: {drift.sentence}"
    return MonitoredValue(drift.distance, answer.runs, text)
