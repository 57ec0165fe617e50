"""The table of a verdict on a page: a line for each judge, and for latency, tokens and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.verdicts import AmountChange, Interval, JudgeChange
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


def judge_lines(
    judges: Sequence[JudgeChange], versions: Mapping[str, int | None] | None = None
) -> list[VerdictLine]:
    """Write the verdict lines of judges on two sides; rates share a scale.

    Args:
        judges: Their changes.
        versions: By judge, the number that is shown where the verdict has none.
    """
    widest = max((_reach(one) for one in judges if one.is_rate), default=1.0)
    lines = []
    for one in judges:
        change, scale = one.difference, widest if one.is_rate else _reach(one)
        of = 100.0 if one.is_rate else 1.0
        lines.append(
            VerdictLine(
                name=one.judge,
                version=one.version or (versions or {}).get(one.judge),
                before=write_value(one.baseline, is_rate=one.is_rate),
                now=write_value(one.candidate, is_rate=one.is_rate),
                change=_signed(change.value * of) if change else "–",
                interval=_span(change, of),
                word=one.word,
                sentence=one.sentence,
                bar=_bar(change, one.margin, scale, one.word, of),
            )
        )
    return lines


def amount_lines(amounts: Sequence[AmountChange]) -> list[VerdictLine]:
    """Write ratios as changes in per cent."""
    changes = {
        one.name: Interval(
            value=one.ratio.value - 1,
            low=None if one.ratio.low is None else one.ratio.low - 1,
            high=None if one.ratio.high is None else one.ratio.high - 1,
            n=one.ratio.n,
            clusters=one.ratio.clusters,
        )
        for one in amounts
    }
    widest = max((_most(of, 0.0) for of in changes.values()), default=1.0)
    return [
        VerdictLine(
            name=one.name,
            version=None,
            before="",
            now="",
            change=_signed(100 * changes[one.name].value),
            interval=_span(changes[one.name], 100),
            word=one.word,
            sentence=one.sentence,
            bar=_bar(changes[one.name], one.margin, widest, one.word, 100),
        )
        for one in amounts
    ]


def _reach(one: JudgeChange) -> float:
    return _most(one.difference, one.margin)


def _most(change: Interval | None, margin: float) -> float:
    """Return how far from 0 a drawing must reach."""
    bounds = [margin]
    if change is not None:
        bounds += [abs(one) for one in (change.low, change.high, change.value) if one is not None]
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


def write_value(one: Interval | None, *, is_rate: bool) -> str:
    """Write a rate in per cent, or a score."""
    if one is None:
        return "–"
    return f"{100 * one.value:.1f}{view.THIN}%" if is_rate else f"{one.value:.4g}"


def _signed(value: float) -> str:
    text = f"{value:+.1f}" if abs(value) >= 1 else f"{value:+.3g}"
    return text.replace("-", "−") if float(text) else text[1:]


def _span(one: Interval | None, of: float) -> str:
    if one is None or one.low is None or one.high is None:
        return "–"
    return f"{_signed(one.low * of)} to {_signed(one.high * of)}"


def write_bounds(one: Interval | None, *, is_rate: bool) -> str:
    """Write the interval of a rate, in per cent, or of a score."""
    if one is None:
        return "–"
    low, high = (_bound(bound, 100.0 if is_rate else 1.0) for bound in (one.low, one.high))
    return f"{low} to {high}"


def _bound(value: float | None, of: float) -> str:
    if value is None:
        return "∞"
    return f"{value * of:.1f}" if of > 1 else f"{value:.4g}"
