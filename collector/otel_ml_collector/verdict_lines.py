"""The table of a verdict on a page: a line for each judge, and for latency, tokens and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml.statistics.verdict import FAILED_CALLS
from otel_ml_collector.verdicts import AmountChange, FailureChange, Interval, JudgeChange
from otel_ml_collector.web import view

_SCALE_UP: Final = 1.15


@dataclass(frozen=True, slots=True)
class IntervalBar:
    """A difference beside 0 and its margin, in per cent of the width of the drawing.

    Attributes:
        band: Where the margin begins, and how wide it is on both sides.
        low, high, at: The interval and the difference.
        style: worse, better or nothing.
        text: The same in words.
    """

    band: tuple[float, float]
    low: float
    high: float
    at: float
    style: str
    text: str


@dataclass(frozen=True, slots=True)
class VerdictLine:
    """A judge, or latency, tokens or cost, in the table of a verdict."""

    name: str
    version: int | None
    before: str
    now: str
    change: str
    interval: str
    word: str
    sentence: str
    bar: IntervalBar | None
    reasons: Sequence[str] = ()


def judge_lines(
    judges: Sequence[JudgeChange], versions: Mapping[str, int | None] | None = None
) -> list[VerdictLine]:
    """Write the verdict lines of judges on two sides; rates share a scale.

    Args:
        judges: Their changes.
        versions: By judge, the number that is shown where the verdict has none.
    """
    widest = max((_reach(judge) for judge in judges if judge.is_rate), default=1.0)
    lines = []
    for judge in judges:
        change, scale = judge.difference, widest if judge.is_rate else _reach(judge)
        of = 100.0 if judge.is_rate else 1.0
        lines.append(
            VerdictLine(
                name=judge.judge,
                version=judge.version or (versions or {}).get(judge.judge),
                before=write_value(judge.baseline if change else None, is_rate=judge.is_rate),
                now=write_value(judge.candidate if change else None, is_rate=judge.is_rate),
                change=_signed(change.value * of) if change else "–",
                interval=_span(change, of),
                word=judge.word,
                sentence=judge.sentence,
                bar=_bar(change, judge.margin, scale, judge.word, of),
                reasons=judge.reasons,
            )
        )
    return lines


def failure_lines(failures: FailureChange | None) -> list[VerdictLine]:
    """Write the line of the share of failed calls; no line if no call failed."""
    if failures is None:
        return []
    change = failures.difference
    return [
        VerdictLine(
            name=FAILED_CALLS,
            version=None,
            before=write_value(failures.baseline, is_rate=True),
            now=write_value(failures.candidate, is_rate=True),
            change=_signed(100 * change.value) if change else "–",
            interval=_span(change, 100),
            word=failures.word,
            sentence=failures.sentence,
            bar=_bar(change, failures.margin, _most(change, failures.margin), failures.word, 100),
            reasons=failures.reasons,
        )
    ]


def amount_lines(amounts: Sequence[AmountChange]) -> list[VerdictLine]:
    """Write ratios as changes in per cent."""
    changes = {
        amount.name: Interval(
            value=amount.ratio.value - 1,
            low=None if amount.ratio.low is None else amount.ratio.low - 1,
            high=None if amount.ratio.high is None else amount.ratio.high - 1,
            n=amount.ratio.n,
            clusters=amount.ratio.clusters,
        )
        for amount in amounts
    }
    widest = max((_most(of, 0.0) for of in changes.values()), default=1.0)
    return [
        VerdictLine(
            name=amount.name,
            version=None,
            before="",
            now="",
            change=_signed(100 * changes[amount.name].value),
            interval=_span(changes[amount.name], 100),
            word=amount.word,
            sentence=amount.sentence,
            bar=_bar(changes[amount.name], amount.margin, widest, amount.word, 100),
            reasons=amount.reasons,
        )
        for amount in amounts
    ]


def _reach(judge_change: JudgeChange) -> float:
    return _most(judge_change.difference, judge_change.margin)


def _most(change: Interval | None, margin: float) -> float:
    """Return how far from 0 a drawing must reach."""
    bounds = [margin]
    if change is not None:
        bounds += [
            abs(part) for part in (change.low, change.high, change.value) if part is not None
        ]
    return max(bounds) * _SCALE_UP or 1.0


def _bar(
    change: Interval | None, margin: float, scale: float, word: str, of: float
) -> IntervalBar | None:
    if change is None or change.low is None or change.high is None:
        return None

    def at(value: float) -> float:
        return round(min(max(50 + 50 * value / scale, 0), 100), 1)

    band = at(-margin)
    style = word if word in {"worse", "better"} else ""
    text = f"{_signed(change.value * of)} ({_span(change, of)})"
    return IntervalBar(
        (band, round(100 - 2 * band, 1)),
        at(change.low),
        at(change.high),
        at(change.value),
        style,
        text,
    )


def write_value(interval: Interval | None, *, is_rate: bool) -> str:
    """Write a rate in per cent, or a score."""
    if interval is None:
        return "–"
    return f"{100 * interval.value:.1f}{view.THIN}%" if is_rate else f"{interval.value:.4g}"


def _signed(value: float) -> str:
    text = f"{value:+.1f}" if abs(value) >= 1 else f"{value:+.3g}"
    return text.replace("-", "−") if float(text) else text[1:]


def _span(interval: Interval | None, of: float) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return "–"
    return f"{_signed(interval.low * of)} to {_signed(interval.high * of)}"


def write_bounds(interval: Interval | None, *, is_rate: bool) -> str:
    """Write the interval of a rate, in per cent, or of a score."""
    if interval is None:
        return "–"
    low, high = (
        _bound(bound, 100.0 if is_rate else 1.0) for bound in (interval.low, interval.high)
    )
    return f"{low} to {high}"


def _bound(value: float | None, of: float) -> str:
    if value is None:
        return "∞"
    return f"{value * of:.1f}" if of > 1 else f"{value:.4g}"
