"""Finds functions that fail often, fail more often than before, or cost more than before.

The base rate is the function's own: its runs in the seven days before the checked period (30 days
before, if the period is 30 days). Hours are the independent observations, so a single noisy hour
changes the interval as much as the mean, and raises nothing. See docs/design/072-levels.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml.counts import write_count
from otel_ml.statistics.comparison import LEAST_CLUSTERS, RATE_MARGIN, FigureKind, Word
from otel_ml.statistics.intervals import (
    CONFIDENCE,
    cluster_mean,
    cluster_rate,
    difference,
)
from otel_ml.statistics.slices import (
    FALSE_DISCOVERIES,
    LEAST_SLICE,
    ClusterMoments,
    RestVerdict,
    SliceFigure,
    judge_slices,
)
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.findings import Finding, FindingsQuestion
from otel_ml_collector.margins import Margins
from otel_ml_collector.price import write_cost
from otel_ml_collector.stats import StatsBucket, StatsGroup, StatsQuery, find_stats
from otel_ml_collector.times import DAY_NS, HOUR_NS
from otel_ml_collector.verdicts.claims import (
    join_evidence,
    name_measured,
    write_amounts,
    write_difference,
    write_factor,
    write_shares,
)
from otel_ml_collector.verdicts.verdicts import Interval
from otel_ml_collector.windows import Buckets, Window

# A function that certainly fails in a larger share of its runs is a problem, even if it always did.
_HIGH_SHARE: Final = 0.1
# Cost per run varies with the inputs, and cost per hour with the day of the week. Smaller increases
# are not a problem without a new version.
_COST_JUMP: Final = 0.25
_SPENDING_JUMP: Final = 0.5
# Spending that rises by less than a dollar a day, in dollars per hour.
_LEAST_SPENDING: Final = 1 / 24
# An alert fires halfway between the time before and now.
_LIMIT_PART: Final = 0.5
_MOST_FUNCTIONS: Final = 40
_WEEK_NS: Final = 7 * DAY_NS
# Period that is checked, and the length of an interval that counts as one observation.
_STEPS_NS: Final = ((2 * DAY_NS, HOUR_NS), (8 * DAY_NS, 6 * HOUR_NS))


@dataclass(frozen=True, slots=True)
class FunctionPeriods:
    """The runs of a function by the hour: in the checked period, and in the time before.

    Attributes:
        before_name: The time before, as a sentence names it: `the 7 days before`.
    """

    model: str
    now: Sequence[StatsBucket]
    before: Sequence[StatsBucket]
    window: Window
    over: Buckets
    before_name: str

    def count_runs(self) -> tuple[int, int]:
        """Return the number of runs in the period, and before."""
        return sum(item.runs for item in self.now), sum(item.runs for item in self.before)

    def sum_costs(self) -> tuple[float, float]:
        """Return the cost of the period, and of the time before."""
        now, before = (sum(item.cost or 0.0 for item in of) for of in (self.now, self.before))
        return now, before

    def describe_runs(self) -> str:
        """Write the number of runs: `1,204 runs, 8,031 in the 7 days before`."""
        now, before = self.count_runs()
        return f"{write_count(now, 'run')}, {before:,} in {self.before_name}"


def contribute(question: FindingsQuestion) -> list[Finding]:
    """Find functions that fail often, or whose failures or cost rose."""
    window = question.window
    length_ns = window.end_ns - window.start_ns
    if length_ns < LEAST_CLUSTERS * HOUR_NS:  # too short for a rate by the hour
        return []
    step_ns = next((step for most, step in _STEPS_NS if length_ns <= most), DAY_NS)
    start_ns = max(window.start_ns - max(_WEEK_NS, length_ns), 0)
    whole = Window(start_ns, window.end_ns, window.zone)
    query = StatsQuery(question.project, "", "model", whole, step_ns, _MOST_FUNCTIONS)
    over = whole.cut(step_ns)
    days = round(max(_WEEK_NS, length_ns) / DAY_NS)
    functions = [
        _split(group, window, over, f"the {days} days before")
        for group in find_stats(question.reader, query).groups
        if group.group
    ]
    return [*find_failing(functions), *_find_costly(functions, question.reader.margins)]


def _split(group: StatsGroup, window: Window, over: Buckets, before_name: str) -> FunctionPeriods:
    """Split the runs of a function at the start of the period.

    The interval in which the period starts belongs to the time before.
    """
    return FunctionPeriods(
        model=group.group,
        now=[item for item in group.buckets if item.start_ns >= window.start_ns],
        before=[item for item in group.buckets if item.start_ns < window.start_ns],
        window=window,
        over=over,
        before_name=before_name,
    )


def find_failing(functions: Sequence[FunctionPeriods]) -> list[Finding]:
    """Find functions whose share of failures rose, or is high."""
    shares = [(_sum_errors(its.now), _sum_errors([*its.now, *its.before])) for its in functions]
    verdicts = judge_slices(
        [
            SliceFigure("rate", lower_is_better=True, of_slice=own, of_all=both, margin=RATE_MARGIN)
            for own, both in shares
        ]
    )
    findings = []
    for its, verdict in zip(functions, verdicts, strict=True):
        is_high = _is_high(its.now)
        if verdict.word != Word.WORSE and not is_high:
            continue
        runs, runs_before = its.count_runs()
        errors, errors_before = (sum(item.errors for item in of) for of in (its.now, its.before))
        now = errors / runs
        text = ""
        written, _ = write_shares(now, now)
        if runs_before:
            written, before = write_shares(now, errors_before / runs_before)
            text = f", {before} in {its.before_name}"
        is_old = verdict.word != Word.WORSE and _is_high(its.before)
        findings.append(
            _make_finding(
                its,
                figure="errors",
                title=f"{its.model} fails in {written} of runs",
                text=text,
                evidence=_write_evidence(its, verdict, "rate"),
                size=max(errors - runs * (verdict.rest or 0.0), 1.0),
                limit=_HIGH_SHARE
                if verdict.rest is None or is_old
                else verdict.rest + (now - verdict.rest) * _LIMIT_PART,
                since_ns=next((item.start_ns for item in its.before if item.errors), None)
                if is_old
                else None,
            )
        )
    return findings


def _is_high(of: Sequence[StatsBucket]) -> bool:
    """Whether the share of failures is certainly above the limit."""
    if len(of) < LEAST_CLUSTERS or sum(item.runs for item in of) < LEAST_SLICE:
        return False
    return cluster_rate([(float(item.errors), item.runs) for item in of]).low >= _HIGH_SHARE


def _find_costly(functions: Sequence[FunctionPeriods], margins: Margins) -> list[Finding]:
    """Find functions that cost more per run; of all others, those that cost more per hour."""
    figures = []
    for its in functions:
        runs_before = its.count_runs()[1]
        mean = its.sum_costs()[1] / runs_before if runs_before else 0.0
        figures.append(
            SliceFigure(
                "amount",
                lower_is_better=True,
                of_slice=_sum_costs(its.now),
                of_all=_sum_costs([*its.now, *its.before]),
                margin=margins.find_ratio("cost", mean, _COST_JUMP, 0.0),
            )
        )
    findings = []
    for its, verdict in zip(functions, judge_slices(figures), strict=True):
        if verdict.word == Word.WORSE:
            runs = its.count_runs()
            now, before = (
                cost / max(count, 1) for cost, count in zip(its.sum_costs(), runs, strict=True)
            )
            evidence = _write_evidence(its, verdict, "amount")
            findings.append(_claim_cost(its, (now, before), "run", evidence))
        elif (rise := _find_rise(its, len(functions))) is not None:
            findings.append(rise)
    return findings


def _find_rise(its: FunctionPeriods, compared: int) -> Finding | None:
    """Compare what a function costs per hour with the time before; None without a jump.

    Hours without a run cost nothing. Hours before the first run, and the unfinished hour, are left
    out.
    """
    first_ns = min((item.start_ns for item in its.before), default=its.window.start_ns)
    costs: Mapping[int, float] = {
        item.start_ns: item.cost or 0.0 for item in (*its.before, *its.now)
    }
    starts_ns = [start for start in its.over.starts_ns[1:-1] if start >= first_ns]
    hourly = [
        (start >= its.window.start_ns, costs.get(start, 0.0) * HOUR_NS / its.over.step_ns)
        for start in starts_ns
    ]
    rates = [[rate for is_now, rate in hourly if is_now == wanted] for wanted in (False, True)]
    if min(map(len, rates)) < LEAST_CLUSTERS or not (sum(rates[0]) and sum(rates[1])):
        return None
    # Each function is one test, so the level of each interval is higher (Bonferroni).
    level = max(1 - FALSE_DISCOVERIES / max(compared, 1), CONFIDENCE)
    before, now = (cluster_mean([(rate, 1) for rate in of], confidence=level) for of in rates)
    more = difference(before, now)
    is_jump = now.value >= (1 + _SPENDING_JUMP) * before.value and more.value >= _LEAST_SPENDING
    if more.low <= 0 or not is_jump:
        return None
    evidence = join_evidence(
        its.describe_runs(),
        f"Difference in cost per hour: {write_cost(more.value)} "
        f"({100 * level:.4g} % interval: {write_cost(more.low)} to {write_cost(more.high)})",
    )
    return _claim_cost(its, (now.value, before.value), "hour", evidence)


def _claim_cost(
    its: FunctionPeriods, costs: tuple[float, float], per: str, evidence: str
) -> Finding:
    first, second = write_amounts("cost", *costs)
    times = write_factor(costs[0] / costs[1]) if costs[1] else ""
    return _make_finding(
        its,
        figure="cost" if per == "run" else "spending",
        title=f"{its.model} costs {first} per {per}",
        text=f", {second} in {its.before_name}{f' ({times})' if times else ''}",
        evidence=evidence,
        size=float(its.count_runs()[0]),
        limit=costs[1] + (costs[0] - costs[1]) * _LIMIT_PART,
    )


def _make_finding(
    its: FunctionPeriods,
    *,
    figure: str,
    title: str,
    text: str,
    evidence: str,
    size: float,
    limit: float,
    since_ns: int | None = None,
) -> Finding:
    where = f"model == {quoted(its.model)}"
    is_about_errors = figure == "errors"
    return Finding(
        kind="level",
        sentence=f"{title}{text}",
        model=its.model,
        where=narrow(where, 'outcome == "error"') if is_about_errors else where,
        start_ns=its.window.start_ns,
        end_ns=its.window.end_ns,
        size=size,
        title=title,
        evidence=evidence,
        measure="errors" if is_about_errors else "cost",
        measured=figure,
        weak_since_ns=since_ns,
        limit=limit,
    )


def _write_evidence(its: FunctionPeriods, verdict: RestVerdict, kind: FigureKind) -> str:
    """Write the number of runs and the difference; without a comparison, the limit."""
    if verdict.word != Word.WORSE or verdict.difference is None:
        return join_evidence(
            its.describe_runs(), f"Above {100 * _HIGH_SHARE:.0f} % of runs is a problem"
        )
    name = name_measured("errors" if kind == "rate" else "cost", kind)
    change = Interval.model_validate(verdict.difference)
    return join_evidence(its.describe_runs(), write_difference(change, kind, of=name))


def _sum_errors(of: Sequence[StatsBucket]) -> ClusterMoments:
    """Sum the failures by the hour. Each hour is one observation."""
    return _sum_up([(float(item.errors), item.runs) for item in of], of_rates=True)


def _sum_costs(of: Sequence[StatsBucket]) -> ClusterMoments:
    """Sum the logarithm of the mean cost of hours, weighted by their runs."""
    return _sum_up(
        [(item.runs * math.log(item.cost / item.runs), item.runs) for item in of if item.cost]
    )


def _sum_up(pairs: Sequence[tuple[float, int]], *, of_rates: bool = False) -> ClusterMoments:
    """Make the sums that `judge_slices` needs. Each pair is a sum of values and their number.

    All runs of an hour are in the same period, so sums over all its runs equal those over its own.
    """
    nn = math.fsum(n * n for _, n in pairs)
    tn = math.fsum(t * n for t, n in pairs)
    tt = math.fsum(t * t for t, _ in pairs)
    total = math.fsum(t for t, _ in pairs)
    with_event = sum(t > 0 for t, _ in pairs) if of_rates else 0
    without_event = sum(t < n for t, n in pairs) if of_rates else 0
    return ClusterMoments(
        clusters=len(pairs),
        whole=len(pairs),
        n=sum(n for _, n in pairs),
        t=total,
        nn=nn,
        tn=tn,
        tt=tt,
        n_of_all=nn,
        t_of_all=tn,
        n_to_all=tn,
        t_to_all=tt,
        squares=total if of_rates else math.fsum(t * t / n for t, n in pairs),
        with_event=with_event,
        without_event=without_event,
        all_events=with_event,
        all_others=without_event,
    )
