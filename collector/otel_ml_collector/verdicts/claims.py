"""Writes claims: what is worse, in a sentence with at most three numbers, and its evidence.

`otel_ml.statistics.sentences` writes the comparison of one figure. This module writes what needs
the collector: versions, slices, and the verdict on top of a page.

The API, pages, alerts, the command line and assistants all show these sentences.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from otel_ml.counts import write_number
from otel_ml.statistics.comparison import Word, decide
from otel_ml.statistics.intervals import Estimate
from otel_ml.statistics.sentences import write_bounds as write_bounds_of
from otel_ml.statistics.sentences import write_decimals
from otel_ml_collector import wording
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.verdicts.verdicts import (
    ComparedFigure,
    Interval,
)

# Subjects of problems, the most important first.
Measure = Literal["data", "quality", "errors", "latency", "cost", "traffic"]
MEASURES: Final[tuple[Measure, ...]] = (
    *("data", "quality", "errors", "latency", "cost", "traffic"),
)
# Changes by this factor or more are written as a factor.
_FACTOR: Final = 3.0
_SMALL_SHARE: Final = 0.01
_LEAST_COST: Final = 0.0001
_FROM_CENTS: Final = 0.1
_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence that says that something is worse or better, and the evidence for it.

    Attributes:
        title: The claim in a few words, such as `classify v2 is worse for client Kessler`.
        text: The rest of the sentence, with its numbers, such as `: 69 % pass, 94 % with v1`. No
            full stop at the end.
        evidence: Number of runs, difference, interval and time, in short sentences.
    """

    title: str
    text: str
    evidence: str = ""

    @property
    def sentence(self) -> str:
        """The whole sentence, without a full stop at the end."""
        return f"{self.title}{self.text}"


def name_slice(name: str, value: str) -> str:
    """Write a value of a tag or label: `client Kessler`, `LLM gpt-4o`."""
    named = {"provider_model": "LLM", "outcome": "outcome"}.get(name, name)
    return f"{named} {value}" if value else f"no {named}"


def name_version(model: str, version: int | None) -> str:
    """Write a version in a sentence: `answer v2`."""
    return model if version is None else f"{model} v{version}"


def write_moment(time_ns: int) -> str:
    """Write a time in UTC: `23 Nov 12:36`, or `23 Nov` at midnight."""
    written = to_rfc3339(time_ns)
    day = f"{int(written[8:10])} {_MONTHS[int(written[5:7]) - 1]}"
    return day if written[11:16] == "00:00" else f"{day} {written[11:16]}"


def write_shares(first: float, second: float) -> tuple[str, str]:
    """Write two shares in per cent, with a decimal only if they need it to differ."""
    whole = [round(100 * share) for share in (first, second)]
    is_close = whole[0] == whole[1] and first != second
    one, other = (
        f"{100 * share:.1f} %"
        if 0 < share < 1 and (is_close or share < _SMALL_SHARE)
        else f"{100 * share:.0f} %"
        for share in (first, second)
    )
    return one, other


def write_ms(value: float, digits: int = 2) -> str:
    """Write a duration in a sentence that the command line prints too: with a plain space."""
    return wording.duration(value, digits).replace(wording.THIN, " ")


def write_cost(value: float, digits: int = 2) -> str:
    """Write an amount in dollars: `$ 0.0068`, `$ 1.20`."""
    if value < _LEAST_COST:
        return f"$ {write_number(value, 2)}" if value >= _LEAST_COST / 100 else "< $ 0.0001"
    if value >= wording.FOUR_DIGITS:
        return f"$ {wording.number(value)}"
    return f"$ {value:,.2f}" if value >= _FROM_CENTS else f"$ {value:.{max(digits, 2) + 2}f}"


def write_amounts(name: str, first: float, second: float) -> tuple[str, str]:
    """Write two latencies (ms), costs ($) or numbers of tokens so that they differ."""
    write: Callable[[float, int], str] = {"latency": write_ms, "cost": write_cost}.get(
        name, wording.number
    )
    for digits in (2, 3, 4):
        pair = write(first, digits), write(second, digits)
        if pair[0] != pair[1]:
            break
    return pair


def write_factor(ratio: float) -> str:
    """Write a ratio of 3 or more as `12×`. Else empty."""
    return f"{wording.number(ratio, 2)}×" if ratio >= _FACTOR else ""


def write_ratio(ratio: float) -> str:
    """Write a ratio as a change: `+53 %`, or `7.6×` from three times on."""
    return "".join(_split_ratio(ratio))


def _split_ratio(ratio: float) -> tuple[str, str]:
    factor = write_factor(ratio)
    return (factor, "") if factor else (wording.signed(100 * (ratio - 1)), " %")


def write_change(difference: Interval | None, kind: Literal["rate", "score", "amount"]) -> str:
    """Write a difference without its interval: `+21 pts`, `+53 %`, `12×`. Empty without one."""
    return "".join(split_change(difference, kind))


def split_change(
    difference: Interval | None, kind: Literal["rate", "score", "amount"]
) -> tuple[str, str]:
    """Write a difference as a number, and its unit after a space: `+21` and ` pts`."""
    if difference is None:
        return "", ""
    if kind == "amount":
        return _split_ratio(difference.value)
    if kind == "rate":
        return wording.signed(100 * difference.value), " pts"
    value = round(difference.value, 9)  # equal scores can differ by 5.6e-15
    size = wording.number(abs(value), 2)
    return f"{'+' if value > 0 else wording.MINUS}{size}" if value else size, ""


def write_bounds(difference: Interval | None, kind: Literal["rate", "score", "amount"]) -> str:
    """Write the interval of a difference, such as `−17 to −12`. Empty without one."""
    if difference is None or difference.low is None or difference.high is None:
        return ""
    ends = difference.low, difference.high
    if kind == "amount" and write_factor(difference.value):
        first, last = (f"{wording.with_minus(write_number(end))}×" for end in ends)
    elif kind == "amount":
        first, last = (write_decimals(100 * (end - 1), 0) for end in ends)
    elif kind == "rate":
        first, last = write_bounds_of(*ends, is_rate=True)
    else:  # rounded, so that a bound of 0 is not written as 5.6e-15
        first, last = (wording.number(round(end, 9) + 0) for end in ends)
    return f"{first} to {last}"


def write_difference(
    difference: Interval | None,
    kind: Literal["rate", "score", "amount"],
    of: str = "",
    *,
    interval: str = wording.INTERVAL,
) -> str:
    """Write a difference with its interval: `+21 pts (14 to 28)`. Empty without a difference.

    Args:
        difference: The difference.
        kind: `rate` for a share, `score` for a mean score, `amount` for latency, tokens or cost.
        of: Name of the figure. If it is given, the result is a sentence:
            `Difference in latency: +53 % (95 % interval: 20 to 90)`.
        interval: What kind of interval it is, in such a sentence.
    """
    change, bounds = write_change(difference, kind), write_bounds(difference, kind)
    if not of:
        return f"{change} ({bounds})" if bounds else change
    within = f" ({interval}: {bounds})" if bounds else ""
    if change and kind == "amount" and difference and write_factor(difference.value):
        return f"{of[:1].upper()}{of[1:]}: {change} as much{within}"
    return f"Difference in {of}: {change}{within}" if change else ""


def name_measured(figure: str, kind: Literal["rate", "score", "amount"], judge: str = "") -> str:
    """Return how a sentence names a figure: `the share of failed runs` for `errors`.

    Args:
        figure: Name of the figure (the measured value), such as `errors`. Not used with `judge`.
        kind: `rate` for a share, `score` for a mean score, `amount` for latency, tokens or cost.
        judge: The judge that scored the runs, with its version, such as `"grounded" v1`. Empty if
            the figure is not from a judge.
    """
    if judge:
        return f"the {'pass rate' if kind == 'rate' else 'mean score'} (judge {judge})"
    return _MEASURED.get(figure, figure)


_MEASURED: Final = {
    "errors": "the share of failed runs",
    "missing inputs": "the share of runs without input",
    "missing outputs": "the share of runs without output",
    "cost": "cost per run",
    "tokens": "tokens per run",
}


def measure_of(figure: str) -> Measure:
    """Return what a figure is about: errors, latency and cost have a name, judges any other."""
    match figure:
        case "errors" | "missing outputs":
            return "errors"
        case "missing inputs":
            return "data"
        case "latency":
            return "latency"
        case "cost" | "tokens":
            return "cost"
    return "quality"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedValues:
    """One figure, such as latency, for two sets of runs that are compared.

    Attributes:
        figure: `errors`, `missing inputs`, `missing outputs`, `latency`, `tokens`, `cost`, or the
            name of a judge or prediction target.
        kind: `rate` for a share from 0 to 1, `score` for a mean score, `amount` for latency, tokens
            or cost.
        now: Value of the runs to judge, such as those of a new version or a slice. Latency is in
            ms, cost in $.
        before: Value of the runs to compare with, such as those of the baseline or all other runs.
        is_target: Whether the figure is a prediction target. The values are then the share of right
            predictions, their mean error, or their mean precision.
        is_error: Whether the values are mean errors of a prediction target.
    """

    figure: str
    kind: Literal["rate", "score", "amount"]
    now: float
    before: float
    is_target: bool = False
    is_error: bool = False


def claim_version(subject: str, values: ComparedValues, baseline: str, part: str = "") -> Claim:
    """Write that a new version is worse than its baseline.

    Args:
        subject: The version, such as `answer v2`.
        values: Values of the version and of its baseline.
        baseline: The name of the baseline, such as `v1`.
        part: The slice that has these values, such as `client Kessler`; empty for all runs.
    """
    now, before, name = values.now, values.before, values.figure
    within = f" for {part}" if part else ""
    if values.kind == "rate":
        first, second = write_shares(now, before)
        match name:
            case "errors":
                if part:
                    text = f" in {first} of runs, {baseline} in {second}"
                    return Claim(f"{subject} fails{within}", text)
                return Claim(f"{subject} fails in {first} of runs", f", {baseline} in {second}")
            case "missing outputs":
                title = f"{subject} returns no output in {first} of runs{within}"
                return Claim(title, f", {baseline} in {second}")
        verb = "are right" if values.is_target else "pass"
        return Claim(f"{subject} is worse{within}", f": {first} {verb}, {second} with {baseline}")
    if values.kind == "score":
        text = f": {_name_score(values)}, {wording.number(before)} with {baseline}"
        return Claim(f"{subject} is worse{within}", text)
    first, second = write_amounts(name, now, before)
    return Claim(
        f"{subject} {_AMOUNT_VERBS[name]} {first}{_PER_RUN[name]}{within}",
        f", {second} with {baseline}{_write_times(now, before)}",
    )


def write_elsewhere(
    change: Interval,
    kind: Literal["rate", "score", "amount"],
    margin: float,
    *,
    lower_is_better: bool,
) -> str:
    """Write how a figure changed in all runs outside of a slice that is worse.

    Args:
        change: The change outside of the slice; for an amount, a ratio.
        kind: `rate` for a share, `score` for a mean score, `amount` for latency, tokens or cost.
        margin: Smallest difference that matters; for an amount, 0.05 is 5 %.
        lower_is_better: Whether lower values are better.

    Returns:
        For example `elsewhere no difference (at most 2 points)`, or `elsewhere at most 4 points
        worse` if that is open.
    """
    base = 1.0 if kind == "amount" else 0.0
    value, low, high = (
        (math.inf if bound is None else bound) - base
        for bound in (change.value, change.low, change.high)
    )
    low = -math.inf if change.low is None else low
    word = decide(
        Estimate(value, low, high, change.n, change.clusters),
        margin,
        lower_is_better=lower_is_better,
    )
    if word == Word.NO_DIFFERENCE:
        return f"elsewhere no difference (at most {_write_size(max(-low, high), kind)})"
    if word != Word.NOT_ENOUGH_DATA:
        return f"elsewhere {word} by {_write_size(abs(value), kind)}"
    bound = high if lower_is_better else -low
    return f"elsewhere at most {_write_size(bound, kind)} worse" if bound > 0 else "not elsewhere"


def _write_size(size: float, kind: Literal["rate", "score", "amount"]) -> str:
    if kind == "score":
        return wording.number(size, 2)
    rounded = f"{100 * size:.0f}" if 100 * size >= 1 else f"{100 * size:.1f}"
    if kind == "amount":
        return f"{rounded} %"
    return f"{rounded} {'point' if rounded == '1' else 'points'}"


_AMOUNT_VERBS: Final = {"latency": "takes", "cost": "costs", "tokens": "uses"}
_PER_RUN: Final = {"latency": "", "cost": " per run", "tokens": " tokens per run"}


def _name_score(values: ComparedValues) -> str:
    """Write a score with what gives it: `mean score 0.61 by judge "closeness"`."""
    if values.is_target:
        noun = "mean error" if values.is_error else "mean precision"
        return f"{noun} of {values.figure} {wording.number(values.now)}"
    return f'mean score {wording.number(values.now)} by judge "{values.figure}"'


def _write_times(now: float, before: float) -> str:
    factor = write_factor(now / before) if before else ""
    return f" ({factor})" if factor else ""


def claim_slice(subject: str, part: str, values: ComparedValues, *, is_worse: bool = True) -> Claim:
    """Write that a model is worse, or better, in one slice of its runs than in all other runs.

    Args:
        subject: The model, such as `triage`, or one version of it, such as `triage v2`.
        part: The slice, such as `client lakeview`. Empty if the slice is all runs of the version in
            `subject`.
        values: Values of the slice and of all other runs.
        is_worse: Whether the slice is worse.
    """
    now, before, name = values.now, values.before, values.figure
    direction = "worse" if is_worse else "better"
    within, others = (f" for {part}", "elsewhere") if part else ("", "other versions")
    if values.kind == "rate":
        first, second = write_shares(now, before)
        rates = f"in {first} of runs, {others} in {second}"
        if name == "errors":
            verb = "fails" if is_worse else "fails less"
            mark = "" if is_worse else ":"
            return Claim(f"{subject} {verb}{within}", f"{mark} {rates}")
        if name == "missing inputs":
            verb = "gets no input" if is_worse else "lacks input less often"
            return Claim(f"{subject} {verb}{within}", f" {rates}")
        verb = "are right" if values.is_target else "pass"
        title = f"{subject} is {direction}{within}"
        return Claim(title, f": {first} {verb}, {others} {second}")
    if values.kind == "score":
        text = f": {_name_score(values)}, {others} {wording.number(before)}"
        return Claim(f"{subject} is {direction}{within}", text)
    first, second = write_amounts(name, now, before)
    verb = {
        ("latency", True): "is slow",
        ("latency", False): "is fast",
        ("cost", True): "costs more",
    }.get((name, is_worse), "costs less")
    unit = "" if name == "latency" else " per run"
    times = _write_times(now, before)
    return Claim(f"{subject} {verb}{within}", f": {first}{unit}, {others} {second}{times}")


def write_extra(extra: int) -> str:
    """Write how many failures a slice has beyond the rate of all other runs; empty for none.

    Args:
        extra: Lower bound of these failures.
    """
    if not extra:
        return ""
    fewer = f"{extra:,} fewer {'failure' if extra == 1 else 'failures'}"
    return f"If this slice failed as rarely as all other runs, it would have at least {fewer}"


def write_margin(figure: str, ratio: float, before: float) -> str:
    """Write the smallest difference that matters in a latency or cost; empty for all else.

    Args:
        figure: `latency`, `cost` or another figure.
        ratio: The smallest relative difference that matters.
        before: Value of the baseline, in ms or $.
    """
    if figure not in ("latency", "cost"):
        return ""
    size = write_ms(ratio * before, 2) if figure == "latency" else write_cost(ratio * before, 2)
    each = "" if figure == "latency" else " per run"
    return f"Differences below {size}{each} are ignored"


def join_evidence(*parts: str) -> str:
    """Join the sentences of an evidence; empty ones are left out."""
    return " ".join(f"{part}." for part in parts if part)


@dataclass(frozen=True, slots=True)
class Banner:
    """The verdict on top of a page.

    Attributes:
        lead: The verdict in a few words, such as `v2 is worse`.
        claim: The values behind the verdict, with at most three numbers.
        evidence: Difference, interval and number of runs.
        judge: The judge whose scores decide the verdict. None if something else decides, such as
            ground truth or latency.
        figure: Name of the figure (the measured value) that decides the verdict.
    """

    word: Word
    figure: str
    lead: str
    claim: str
    evidence: str
    judge: ComparedFigure | None


def make_banner(
    word: Word,
    deciding: ComparedFigure | None,
    names: tuple[str, str],
    *,
    sentence: str = "",
    interval: str = wording.INTERVAL,
) -> Banner:
    """Make the banner on top of a page, which states the verdict of a comparison.

    Args:
        word: The verdict, such as `worse`.
        deciding: The figure that decides, such as a judge's pass rate. None if there is none.
        names: Names of the baseline and of the candidate, such as v1 and v2.
        sentence: Why no figure decides.
        interval: What kind of intervals the comparison has.
    """
    before, now = names
    if deciding is None:
        return Banner(word, "", _write_lead(word, now, before), sentence, "", None)
    text, note, claim = deciding.text, "", deciding.text.claim
    if word.is_decided and deciding.unit.kind == "amount":
        claim = f"{deciding.name} is {claim}"
    elif text.size:
        claim = text.figures
    elif text.open_word == word:
        note, claim = text.note, text.figures
    is_judged = deciding.is_judge or bool(deciding.target)
    lead = _write_lead(word, now, before)
    if word == Word.NOT_ENOUGH_DATA:
        claim = note or claim
    elif word == Word.NO_DIFFERENCE:
        figure = "" if is_judged else f" in {deciding.name}"
        most = f" ({note})" if note else ""
        lead = f"No difference{figure} between {now} and {before}{most}"
        claim = claim if is_judged else "; ".join([claim, "no judge scored both"])
    evidence = _write_evidence(deciding, interval)
    judge = deciding if deciding.is_judge else None
    return Banner(word, deciding.name, lead, claim, evidence, judge)


def _write_lead(word: Word, now: str, before: str) -> str:
    match word:
        case Word.NOT_ENOUGH_DATA:
            return f"Not enough data to say whether {now} is better"
        case Word.NO_DIFFERENCE:
            return f"No difference between {now} and {before}"
    return f"{now} is {word}"


def _write_evidence(figure: ComparedFigure, interval: str) -> str:
    """Write the evidence of a banner, and which figure it is about: `Errors: 0 % both`."""
    text = figure.text
    evidence = wording.name_interval(text, interval)
    if text.size:
        evidence = text.write_evidence(f"{text.size} ({interval}: {text.interval})")
    if figure.target:
        return ". ".join(filter(None, [evidence, f"Ground truth: {figure.target}"]))
    label = name_figure(figure)
    if not (evidence or figure.is_judge):
        return ""
    separator = ", " if text.begins_with_interval and not text.size else ": "
    return separator.join(filter(None, [f"{label[:1].upper()}{label[1:]}", evidence]))


def name_figure(figure: ComparedFigure) -> str:
    """Name a figure in a sentence: `latency`, or `judge "exact", judge version 2`."""
    if not figure.is_judge:
        return figure.name
    version = f", judge version {figure.judge_number}" if figure.judge_number else ""
    return f'judge "{figure.name}"{version}'


def quote_judge(figure: ComparedFigure, text: str) -> str:
    """Write the name of a figure, marked if it is a judge's, and a text about the figure.

    For example, `judge "exact": 67 % pass` or `latency: 20 % more`.
    """
    name = f'judge "{figure.name}"' if figure.is_judge else figure.name
    return f"{name}: {text}"


def write_note(figure: ComparedFigure) -> str:
    """Return the largest difference that is still possible, or what is missing for a verdict."""
    text = figure.text
    if text.open_word is None:
        return "" if figure.is_decided else text.figures
    return f"({text.note})" if text.open_word == Word.NO_DIFFERENCE and text.note else text.note
