"""Writes comparisons in words: what is better or worse, by how much, and what that rests on.

A sentence has a claim with at most three numbers, then its evidence in parentheses. The SDK, the
command line, the API, pages and assistants all show these sentences.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from otel_ml.counts import write_count, write_number
from otel_ml.statistics.comparison import (
    AMOUNT_MARGIN,
    LEAST_ITEMS,
    Caveat,
    CaveatKind,
    FigureComparison,
    FigureSide,
    Method,
    Unit,
    Word,
)
from otel_ml.statistics.exact import least_units
from otel_ml.statistics.intervals import Estimate
from otel_ml.statistics.judge_change import JudgeVersionChange
from otel_ml.statistics.scored_runs import SOURCE_CLUSTERS
from otel_ml.statistics.verdict import Verdict

_FEW_POINTS: Final = 0.1  # smaller differences are shown with a decimal
_CLOSE_RATES: Final = 0.05  # rates that differ by less are shown with a decimal
_EXTREME_RATE: Final = 0.01  # rates closer to 0 or 1 are shown with a decimal
_MANY_TIMES: Final = 3  # from this factor on, a ratio is written as such (12×)
# If a verdict needs more than this many times the runs of a version, sentences say what its runs
# can show so far. A newcomer with 186 runs cannot use "about 240,000 more".
_FAR_AWAY: Final = 20
# Verbs for sentences about a rate, and their past tense.
_VERBS: Final = {
    Unit.PASSES: ("pass", "passed"),
    Unit.ERROR_SHARE: ("fail", "failed"),
    Unit.MISSING_SHARE: ("have no output", "had no output"),
    Unit.ACCURACY: ("are right", "were right"),
}
_NOUNS: Final = {
    Unit.SCORE: "mean",
    Unit.MEAN_ERROR: "mean error",
    Unit.AGREEMENT: "two runs of one input agree in",
}
_SIZE_WORDS: Final = {Unit.LATENCY: ("longer", "shorter", "long")}
_INTERVAL: Final = "95 % interval"
_CHANGE_UNITS: Final = {"rate": " points", "score": "", "amount": " %"}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence as a claim and the evidence for it, which pages show smaller.

    Attributes:
        claim: The claim, with at most three numbers.
        evidence: What the claim rests on. Empty if there is nothing more to say.
    """

    claim: str
    evidence: str = ""

    def __str__(self) -> str:
        return f"{self.claim} ({self.evidence})" if self.evidence else self.claim


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureText:
    """The parts of a sentence about a comparison. Pages show some of them apart from it.

    Attributes:
        open_word: The verdict, if it is `no difference` or `not enough data` and the sentence
            begins with it. None if the sentence begins with `figures`.
        note: After `open_word`, the largest difference that is still possible, or what is missing
            for a verdict.
        figures: The values of both sides, such as `69 % pass, 94 % before`.
        size: How much better or worse it is, such as `26 pts worse`. Empty for amounts.
        interval: The interval of the difference. Empty if it has no bounds.
        details: What follows the interval: a margin, and the sample size.
    """

    open_word: Word | None = None
    note: str = ""
    figures: str = ""
    size: str = ""
    interval: str = ""
    details: Sequence[str] = ()

    @property
    def claim(self) -> str:
        """The claim, with at most three numbers.

        Without enough data, it says why, or about how many more items or runs suffice.
        """
        match self.open_word:
            case Word.NO_DIFFERENCE:
                note = f" ({self.note})" if self.note else ""
                return f"{self.open_word}{note}: {self.figures}"
            case Word.NOT_ENOUGH_DATA:
                return ": ".join(filter(None, [self.open_word, self.note]))
        return ": ".join(filter(None, [self.figures, self.size]))

    @property
    def evidence(self) -> str:
        """The interval and the sample size. Empty if nothing was compared."""
        return self.write_evidence(self.interval)

    @property
    def begins_with_interval(self) -> bool:
        """Whether the evidence begins with the interval."""
        return bool(self.interval) and self.open_word is not Word.NOT_ENOUGH_DATA

    def write_evidence(self, interval: str) -> str:
        """Write the evidence with another text in place of the interval."""
        figures = self.figures if self.open_word is Word.NOT_ENOUGH_DATA else ""
        return "; ".join(filter(None, [figures, interval, *self.details]))

    def __str__(self) -> str:
        return str(Sentence(self.claim, self.evidence))


def write_comparison(of: FigureComparison) -> FigureText:
    """Describe a comparison in words."""
    if of.has(CaveatKind.NO_INTERVAL):
        return FigureText(figures=_write_counts(of))
    for caveat in of.basis.caveats:
        if not caveat.kind.is_reason:
            return FigureText(figures=write_caveat(of, caveat))
    if of.difference is None:
        note = "; ".join(list_reasons(of) or _write_missing(of))
        return FigureText(open_word=Word.NOT_ENOUGH_DATA, note=note)
    if of.word.is_decided:
        note = ""
    elif of.word == Word.NO_DIFFERENCE:
        note = write_most(of)
    else:
        note = "; ".join(list_reasons(of) or _write_missing(of))
    return FigureText(
        open_word=None if of.word.is_decided else of.word,
        note=note,
        figures=_write_comparisons(of),
        size=_write_difference(of),
        interval=write_interval(of),
        details=[*filter(None, [_write_absolute_margin(of), write_sample(of)])],
    )


def write_sentence(of: FigureComparison) -> str:
    """Write a comparison: the claim, then the evidence in parentheses."""
    return str(write_comparison(of))


def list_reasons(of: FigureComparison) -> list[str]:
    """Write why there is not enough data, apart from the width of the interval."""
    return [write_caveat(of, caveat) for caveat in of.reasons]


def list_verdict_reasons(verdict: Verdict) -> list[str]:
    """Write why a whole comparison of experiments has not enough data."""
    if not verdict.caveats or verdict.shared is None:
        return []
    common, new, gone, changed = counts = verdict.shared.counts
    return [
        f"{common} of {sum(counts)} items are shared ({new} new, {gone} removed, {changed} "
        "changed), 90 % are needed"
    ]


def write_caveat(of: FigureComparison, caveat: Caveat) -> str:
    """Write a caveat of a comparison."""
    side, numbers = caveat.side or 0, caveat.numbers
    match caveat.kind:
        case CaveatKind.OTHER_VERSION:
            return _write_versions(*caveat.versions)
        case CaveatKind.FEW_UNITS:
            return _write_few_units(of)
        case CaveatKind.LITTLE_TRUTH:
            return _write_little_truth(of, numbers)
        case CaveatKind.ALL_CALLS_FAIL:
            calls, failed_before, calls_before = numbers
            before = f"{failed_before:,} of {calls_before:,}" if failed_before else "none"
            return f"all {calls:,} calls fail, {before} {_name_side(of, 0)}"
    return _CAVEATS[caveat.kind].format(
        *numbers, side=("baseline", "candidate")[side], name=_name_side(of, side)
    )


_CAVEATS: Final = {
    CaveatKind.FEW_SHARED_ITEMS: "too few shared items",
    CaveatKind.NO_SHARED_ITEMS: "no shared items",
    CaveatKind.NOT_SCORED: "the judge has not scored the {side} yet",
    CaveatKind.NOT_SCORED_BOTH: "the judge has not scored both yet",
    CaveatKind.ALL_FAILED: "every call of the {side} failed",
    CaveatKind.MISSING_SCORES: "the judge scored {:.0f} % of the {side}'s runs, 95 % are needed",
    CaveatKind.FEW_INPUTS: "{:,} of {} repeated inputs",
    CaveatKind.FEW_RUNS: "{:,} of {} runs {name}",
    CaveatKind.FEW_SESSIONS: "{:,} of {} sessions or traces {name}",
    CaveatKind.NO_INTERVAL: "{:,} of {} runs",
    CaveatKind.REPAIRED: "{:,} of {:,} failures pass now",
}


def _write_versions(before: Iterable[str], after: Iterable[str]) -> str:
    """Write which versions of a judge scored both sides, if no version scored both."""
    names = [", ".join(item[:12] or "none" for item in sorted(side)) for side in (before, after)]
    return (
        f"no version of the judge scored both: {names[0]} scored the baseline, {names[1]} the "
        "candidate"
    )


def _write_few_units(of: FigureComparison) -> str:
    """Write which change so few items or clusters can show."""
    difference, least = of.difference, of.least
    if difference is None:
        return ""
    units = _write_clusters(difference, of.basis.cluster)
    if difference.clusters == difference.n:
        units = f"{difference.n:,} item{'' if difference.n == 1 else 's'}"
    if least is None:
        needed = least_units(of.basis.confidence)
        return f"{units} cannot show any change, at least {needed} are needed"
    if not least:  # all items changed by the same amount
        return f"{difference.n} of {LEAST_ITEMS} items"
    unit = _CHANGE_UNITS[of.kind]
    size = f"{100 * least:.0f}" if unit else write_number(least, 2)
    return f"{units} can show a change of {size}{unit} or more"


def _write_clusters(of: Estimate, cluster: str | None) -> str:
    """Write a number of clusters, such as `34 sessions` or `40 clusters by tags["client"]`."""
    end = "" if of.clusters == 1 else "s"
    if cluster is not None and cluster in SOURCE_CLUSTERS:
        return f"{of.clusters:,} {SOURCE_CLUSTERS[cluster]}{end}"
    return f"{of.clusters:,} cluster{end}{f' by {cluster}' if cluster else ''}"


def _write_little_truth(of: FigureComparison, shares: Sequence[float]) -> str:
    """Write that ground truth is missing, by its share on both sides."""
    before, now = (f"{100 * share:.0f} %" for share in shares)
    if of.baseline.name:
        before = f"{before} of runs with {of.baseline.name}"
    if of.candidate.name:
        now = f"{now} with {of.candidate.name}"
    return f"ground truth for {before} and {now}; a comparison needs about as much for both"


def _name_side(of: FigureComparison, side: int) -> str:
    """Name a side in a sentence: `before`, or `with v1`."""
    name = of.sides[side].name
    return f"with {name}" if name else ("before", "now")[side]


def _write_difference(of: FigureComparison) -> str:
    """Write by how much a rate or score is better or worse. Empty for amounts, and if it is not."""
    if of.kind == "amount" or not of.word.is_decided:
        return ""
    size = f"{100 * of.size:.{_find_digits(of)}f}" if of.is_rate else write_number(of.size)
    return f"{size}{_write_points(of)} {of.named_word}"


def _write_comparisons(of: FigureComparison) -> str:
    """Write the values of both sides, such as `69 % pass, 94 % before`, or `12 % longer`."""
    if of.kind == "amount":
        return _write_ratio(of)
    now, before = (_write_value(of, side) for side in (of.candidate, of.baseline))
    mean = f"{_NOUNS[of.unit]} " if of.unit in _NOUNS else ""
    if now == before:
        return f"{mean}{now} both"
    verb = f" {_VERBS[of.unit][0]}" if of.unit in _VERBS else ""
    return f"{mean}{now}{verb}, {before} {_name_side(of, 0)}"


def _write_ratio(of: FigureComparison) -> str:
    more, less, much = _SIZE_WORDS.get(of.unit, ("more", "less", "much"))
    ratio = 1.0 if of.difference is None else of.difference.value
    if ratio >= _MANY_TIMES:
        return f"{write_number(ratio)}× as {much}"
    return f"{write_decimals(100 * abs(ratio - 1), 0)} % {less if ratio < 1 else more}"


def _write_value(of: FigureComparison, side: FigureSide) -> str:
    if side.estimate is None:
        return "–"
    value = side.estimate.value
    if not of.is_rate:
        return write_number(value, 4).replace("-", "−")
    return f"{100 * value:.{0 if value in {0, 1} else _find_digits(of)}f} %"


def _write_points(of: FigureComparison) -> str:
    return " pts" if of.is_rate else ""


def _find_digits(of: FigureComparison) -> int:
    """Return the number of decimal places of the two rates, in per cent."""
    return count_digits([side.value for side in of.sides if side.estimate is not None])


def count_digits(rates: Sequence[float]) -> int:
    """Return how many decimals rates in per cent need, so that different rates look different.

    Args:
        rates: Rates in one sentence, from 0 to 1.
    """
    is_extreme = any(0 < rate < _EXTREME_RATE or 0 < 1 - rate < _EXTREME_RATE for rate in rates)
    shown_as_equal = 0.0005
    is_close = shown_as_equal <= max(rates) - min(rates) < _CLOSE_RATES
    return 1 if is_extreme or is_close else 0


def write_bounds(*numbers: float, is_rate: bool) -> list[str]:
    """Write bounds of a difference: of rates in percentage points, with the same decimals."""
    if not is_rate:
        return [write_number(number).replace("-", "−") for number in numbers]
    few = max(max(numbers) - min(numbers), *map(abs, numbers)) < _FEW_POINTS
    return [write_decimals(100 * number, 1 if few else 0) for number in numbers]


def write_interval(of: FigureComparison) -> str:
    """Write the interval of the difference. Empty if it has no bounds."""
    difference = of.difference
    if difference is None or not math.isfinite(difference.high - difference.low):
        return ""
    low, high = difference.low, difference.high
    if of.kind == "amount":
        if difference.value >= _MANY_TIMES:
            return f"{write_number(low)}× to {write_number(high)}×"
        low, high = 100 * (low - 1), 100 * (high - 1)
        if of.word.is_decided and difference.value < 1:
            low, high = -high, -low
        return f"{write_decimals(low, 0)} to {write_decimals(high, 0)} %"
    if of.word.is_decided:
        low, high = (-high, -low) if difference.value < 0 else (low, high)
    elif _write_value(of, of.baseline) == _write_value(of, of.candidate):
        return f"± {write_bounds((high - low) / 2, is_rate=of.is_rate)[0]}{_write_points(of)}"
    ends = write_bounds(low, high, is_rate=of.is_rate)
    return f"{ends[0]} to {ends[1]}{_write_points(of)}"


def write_most(of: FigureComparison) -> str:
    """Write the largest difference that the interval allows, as in `at most 1.8 pts`.

    For an amount, it is an amount as in `at most 9 ms`, if a change of this many per cent may be
    small.
    """
    change = of.change
    if change is None or not math.isfinite(change.high - change.low):
        return ""
    most = max(-change.low, change.high)
    if not most:
        return ""
    if of.kind != "amount":
        return f"at most {write_bounds(most, is_rate=of.is_rate)[0]}{_write_points(of)}"
    low, high = 1 + change.low, 1 + change.high
    if of.margin > AMOUNT_MARGIN and low > 0 and of.baseline.estimate is not None:
        # The same amount if baseline and candidate are swapped.
        means = of.baseline.value * of.candidate.value
        amount = _write_amount(of.unit, (max(1 / low, high) - 1) * math.sqrt(means))
        if amount:
            return f"at most {amount}"
    return f"at most {write_decimals(100 * most, 0 if most >= _EXTREME_RATE else 1)} %"


def _write_amount(unit: Unit, size: float) -> str:
    match unit:
        case Unit.LATENCY:
            return f"{write_number(size, 2)} ms"
        case Unit.COST:
            return f"$ {write_number(size, 2)}"
    return ""


def _write_absolute_margin(of: FigureComparison) -> str:
    """Write the absolute margin of an amount, if a certain change decides nothing because of it."""
    is_small = AMOUNT_MARGIN <= of.size < of.margin and of.baseline.estimate is not None
    if of.kind != "amount" or of.word != Word.NOT_ENOUGH_DATA or not (is_small and of.is_sure):
        return ""
    amount = _write_amount(of.unit, of.margin * of.baseline.value)
    return amount and f"changes below {amount} do not count"


def write_sample(of: FigureComparison) -> str:
    """Write the sample size, such as `150 items in 34 sessions` or `948 runs before, 577 now`."""
    if of.basis.method is not Method.PAIRED:
        counts = [f"{side.count:,}" for side in of.sides]
        before, now = (_name_side(of, side) for side in (0, 1))
        return f"{counts[0]} {of.basis.counted} {before}, {counts[1]} {now}"
    difference = of.difference
    if difference is None:
        return ""
    items = write_count(difference.n, of.basis.counted.removesuffix("s"))
    if of.basis.cluster is None:
        return items
    return f"{items} in {_write_clusters(difference, of.basis.cluster)}"


def round_count(count: int) -> int:
    """Round a number of runs to two significant digits. Numbers below 1,000 are not rounded."""
    return round(count, 2 - len(str(count))) if count >= 1_000 else count  # noqa: PLR2004


def count_missing(n: int, needed: int | None, noun: str) -> list[str]:
    """Write how many more items or runs are needed, such as `about 420 more items`.

    Empty if no number is known, or if there are as many already.
    """
    more = (needed or 0) - n
    if more <= 0:
        return []
    return [f"about {round_count(more):,} more {noun.removesuffix('s') if more == 1 else noun}"]


def _write_missing(of: FigureComparison) -> list[str]:
    """Write about how many more items or runs suffice, or what the runs can show.

    The second form is used if no number of runs suffices, because the other side has too few, or
    if more than 20 times as many are needed. Empty if there are enough: then the difference is
    close to the margin.
    """
    side, needed, shown = of.basis.waits_for, of.basis.needed, of.detectable
    if side is None:
        return count_missing(of.runs, needed, of.basis.counted)
    if needed is not None and shown is not None:
        if needed <= _FAR_AWAY * of.runs:
            more = count_missing(of.runs, needed, "runs")
            return [f"{text} {_name_side(of, side)}" for text in more]
        runs = f"{write_count(of.runs, 'run')} {_name_side(of, side)}"
        if of.is_rate and shown >= 1:
            return [f"{runs} cannot show any change yet"]
        return [f"{runs} can show a change of {_write_size(of, shown)} or more"]
    if of.basis.smallest is None:
        return []
    size = _write_size(of, of.basis.smallest)
    return [f"the runs {_name_side(of, 1 - side)} can show a change of {size} or more"]


def _write_size(of: FigureComparison, size: float) -> str:
    match of.kind:
        case "rate":
            return f"{100 * size:.0f} pts"
        case "amount":
            return f"{100 * size:,.0f} %"
    return write_number(size)


def _write_counts(of: FigureComparison) -> str:
    """Write a rate of few runs as counts: `12 of 12 runs failed; v1: 2 of 500`."""
    (had, runs_before), (has, runs) = (
        (round(side.value * side.count), side.count) for side in of.sides
    )
    before = _name_side(of, 0).removeprefix("with ")
    did = _VERBS[of.unit][1]
    return f"{has:,} of {write_count(runs, 'run')} {did}; {before}: {had:,} of {runs_before:,}"


def write_judge_change(change: JudgeVersionChange, new: str, old: str) -> Sentence:
    """Write how two versions of a judge differ.

    Args:
        change: The comparison of both versions.
        new: Name of the newer version, such as `v2`.
        old: Name of the older version.
    """
    of = change.comparison
    of = replace(of, baseline=replace(of.baseline, name=old))
    of = replace(of, candidate=replace(of.candidate, name=new))
    text = write_comparison(of)
    claim = f"{new} is {change.word}: {text.figures}" if text.size else text.claim
    if change.agreement is None:
        interval = f"{_INTERVAL}: {text.interval}" if text.begins_with_interval else text.interval
        return Sentence(claim, text.write_evidence(interval))
    return Sentence(f"{claim}. {_write_flips(change)}", _write_strictness(of, change.kappa))


def _write_flips(change: JudgeVersionChange) -> str:
    n = sum(change.table.values())
    if not change.to_fail + change.to_pass:
        return f"Both give {'the' if n == 1 else 'all'} {write_count(n, 'run')} the same result"
    flips = [(change.to_fail, "fail"), (change.to_pass, "pass")]
    flips.sort(reverse=True)
    (most, to), (few, back) = flips
    verb = "flips" if most == 1 else "flip"
    less = f"{few:,}" if few else "none"
    return f"{most:,} of {write_count(n, 'run')} {verb} to {to}, {less} to {back}"


def _write_strictness(of: FigureComparison, kappa: Estimate | None) -> str:
    """Write the change of the pass rate, its interval, the clusters and kappa."""
    difference, interval = of.difference, write_interval(of)
    parts = []
    if difference is not None and difference.value:
        parts.append(_write_pass_rate(difference.value, is_decided=of.word.is_decided))
    if interval:
        parts.append(f"{_INTERVAL}: {interval}")
    if difference is not None and of.basis.cluster is not None:
        parts.append(_write_clusters(difference, of.basis.cluster))
    if kappa is not None and kappa.value == kappa.value:
        parts.append(f"κ {kappa.value:.2f}")
    return "; ".join(parts)


def _write_pass_rate(change: float, *, is_decided: bool) -> str:
    """Write the change of a pass rate with a sign, unless its interval is written without one."""
    points = f"{100 * abs(change):.{count_digits([0, abs(change)])}f} pts"
    if is_decided:
        return f"pass rate {points} {'lower' if change < 0 else 'higher'}"
    return f"difference in the pass rate: {'−' if change < 0 else '+'}{points}"


def write_decimals(number: float, digits: int) -> str:
    """Write a number with a minus, and no sign if it is rounded to 0."""
    text = f"{number:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "")
