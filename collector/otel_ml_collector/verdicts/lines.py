"""Verdicts as tables: a line for each figure, with its values and a drawing of the interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from otel_ml.statistics.comparison import FAILED_CALLS, FigureKind, Word
from otel_ml.statistics.sentences import FigureText
from otel_ml_collector import wording
from otel_ml_collector.price import write_cost
from otel_ml_collector.verdicts.claims import (
    split_change,
    write_difference,
    write_factor,
    write_note,
)
from otel_ml_collector.verdicts.claims import write_bounds as write_bounds_of
from otel_ml_collector.verdicts.verdicts import (
    ComparedFigure,
    Interval,
    JudgedSides,
)

_SCALE_UP: Final = 1.15
_SAME_SHARE: Final = 0.005  # smaller changes of an amount are shown as 0
_AMOUNT_TITLES: Final = {
    "latency": ("Latency", "Typical latency (geometric mean)"),
    "tokens": ("Cost", "Tokens per run"),
    "cost": ("Cost", "Cost per run"),
}


@dataclass(frozen=True, slots=True)
class IntervalBar:
    """A difference and its confidence interval, drawn as a bar on an axis with 0 in the middle.

    All positions are in per cent of the width of the drawing: a difference of 0 is at 50.

    Attributes:
        band: Start and width of the grey band. Differences in this band are too small to matter.
        low: Position of the start of the interval.
        high: Position of the end of the interval.
        at: Position of the difference.
        style: worse, better or empty.
        text: The difference and its interval as text, such as `+21 pts (14 to 28)`.
    """

    band: tuple[float, float]
    low: float
    high: float
    at: float
    style: str
    text: str


@dataclass(frozen=True, slots=True)
class VerdictLine:
    """A row in the table of a verdict: one figure, such as a judge, failed runs, or cost.

    Attributes:
        word: The verdict on this figure in one word, such as `worse`.
        kind: Quality, Errors, Latency or Cost, if the table is sorted by kind; else empty.
        note: A remark next to `word`: the largest difference that is still possible, or what is
            missing for a verdict.
        on_request: Whether the judge scored requests, and these scores count for the runs inside.
    """

    name: str
    version: int | None
    before: str
    now: str
    change: str
    interval: str
    word: str
    text: FigureText
    bar: IntervalBar | None
    reasons: Sequence[str] = ()
    kind: str = ""
    title: str = ""
    note: str = ""
    on_request: bool = False


def versus_lines(sides: JudgedSides, missing: ComparedFigure | None) -> list[VerdictLine]:
    """Write all figures of two sides in the order quality, errors, latency, cost."""
    lines = [
        replace(
            line,
            kind="Quality",
            name="" if judge.target else line.name,
            title=_title_judge(judge),
            change=_write_points(judge.difference) if judge.is_rate else line.change,
            interval=_add_unit(line.interval, "pts") if judge.is_rate else line.interval,
        )
        for line, judge in zip(judge_lines(sides.judges), sides.judges, strict=True)
    ]
    for title, change in (("Failed runs", sides.failures), ("Runs without output", missing)):
        lines += [
            replace(
                line,
                name="",
                kind="Errors",
                title=title,
                change=_write_points(change.difference if change else None),
                interval=_add_unit(line.interval, "pts"),
            )
            for line in failure_lines(change)
        ]
    for line, amount in zip(amount_lines(sides.amounts), sides.amounts, strict=True):
        kind, title = _AMOUNT_TITLES[amount.name]
        lines.append(
            replace(
                line,
                name="",
                kind=kind,
                title=title,
                before=_write_amount(amount.name, amount.baseline),
                now=_write_amount(amount.name, amount.candidate),
                change=_write_change(amount),
                interval=_write_ratios(amount),
            )
        )
    return lines


def _title_judge(judge: ComparedFigure) -> str:
    if judge.target:
        return f"{judge.target}: {'correct predictions' if judge.is_rate else 'mean'}"
    return "pass rate" if judge.is_rate else "mean score"


def _write_points(change: Interval | None) -> str:
    if change is None:
        return "–"
    points = wording.signed(100 * change.value)
    return points if points == "0" else _add_unit(points, "pts")


def _write_amount(name: str, interval: Interval | None) -> str:
    if interval is None:
        return "–"
    match name:
        case "latency":
            return wording.duration(interval.value)
        case "cost":
            return write_cost(interval.value)
    return wording.number(round(interval.value))


def _write_change(amount: ComparedFigure) -> str:
    if amount.baseline is None or amount.candidate is None:
        ratio = amount.difference.value if amount.difference else 1.0
        return write_factor(ratio) or _add_unit(wording.signed(100 * (ratio - 1)), "%")
    change = amount.candidate.value - amount.baseline.value
    if abs(change) < _SAME_SHARE * amount.baseline.value:
        return "0"
    size = amount.baseline.model_copy(update={"value": abs(change)})
    return f"{'−' if change < 0 else '+'}{_write_amount(amount.name, size)}"


def _write_ratios(amount: ComparedFigure) -> str:
    """Write the interval of a relative change, in per cent or as factors."""
    bounds = _span(amount.difference, "amount")
    return bounds if "×" in bounds else _add_unit(bounds, "%")


def _add_unit(number: str, unit: str) -> str:
    return number if number == "–" else f"{number}{wording.THIN}{unit}"


def judge_lines(
    judges: Sequence[ComparedFigure], versions: Mapping[str, int | None] | None = None
) -> list[VerdictLine]:
    """Make one row of the verdict table for each judge.

    The bars of all pass rates have the same scale. Each mean score has a scale of its own.

    Args:
        judges: The change of the scores of each judge.
        versions: Version numbers of judges, by name. Used if a change has no version number.
    """
    widest = max((_reach(judge) for judge in judges if judge.is_rate), default=1.0)
    lines = []
    for judge in judges:
        change, scale = judge.difference, widest if judge.is_rate else _reach(judge)
        kind: FigureKind = "rate" if judge.is_rate else "score"
        lines.append(
            VerdictLine(
                name=judge.name,
                version=judge.judge_number or (versions or {}).get(judge.name),
                before=write_value(judge.baseline if change else None, is_rate=judge.is_rate),
                now=write_value(judge.candidate if change else None, is_rate=judge.is_rate),
                change=_signed(change, kind),
                interval=_span(change, kind),
                word=judge.word,
                text=judge.text,
                bar=_bar(change, judge.margin, scale, judge.word, kind),
                reasons=judge.reasons,
                note=write_note(judge),
                on_request=judge.on_request,
            )
        )
    return lines


def failure_lines(failures: ComparedFigure | None) -> list[VerdictLine]:
    """Write the line of failed calls. No line if no call failed."""
    if failures is None:
        return []
    change = failures.difference
    return [
        VerdictLine(
            name=FAILED_CALLS,
            version=None,
            before=write_value(failures.baseline, is_rate=True),
            now=write_value(failures.candidate, is_rate=True),
            change=_signed(change, "rate"),
            interval=_span(change, "rate"),
            word=failures.word,
            text=failures.text,
            bar=_bar(
                change, failures.margin, _most(change, failures.margin), failures.word, "rate"
            ),
            reasons=failures.reasons,
            note=write_note(failures),
        )
    ]


def amount_lines(amounts: Sequence[ComparedFigure]) -> list[VerdictLine]:
    """Write one line for latency, tokens and cost each, as changes in per cent."""
    changes = [_read_change(amount.difference) for amount in amounts]
    widest = max((_most(change, 0.0) for change in changes), default=1.0)
    return [
        VerdictLine(
            name=amount.name,
            version=None,
            before=_write_amount(amount.name, amount.baseline) if amount.baseline else "",
            now=_write_amount(amount.name, amount.candidate) if amount.candidate else "",
            change=_signed(amount.difference, "amount"),
            interval=_span(amount.difference, "amount"),
            word=amount.word,
            text=amount.text,
            bar=_bar(amount.difference, amount.margin, widest, amount.word, "amount"),
            reasons=amount.reasons,
            note=write_note(amount),
        )
        for amount in amounts
    ]


def draw_differences(
    differences: Sequence[tuple[Interval | None, float, str]], kind: FigureKind
) -> list[IntervalBar | None]:
    """Draw the differences of one figure, each with its interval, on a common scale.

    A difference without an interval is not drawn; the result has None in its place.

    Args:
        differences: For each row, the difference, the margin below which a difference does not
            matter, and the verdict in one word, such as `worse`.
        kind: `rate` for a share, `score` for a mean score, `amount` for latency, tokens or cost,
            where the difference is a ratio: 1.2 is 20 % more.
    """
    widest = max(
        (
            _most(_read_change(difference) if kind == "amount" else difference, margin)
            for difference, margin, _ in differences
        ),
        default=1.0,
    )
    return [
        _bar(difference, margin, widest, word, kind) for difference, margin, word in differences
    ]


def _read_change(ratio: Interval | None) -> Interval | None:
    """Return a ratio as a change: 1.1 is an increase of 0.1."""
    if ratio is None:
        return None
    return Interval(
        value=ratio.value - 1,
        low=None if ratio.low is None else ratio.low - 1,
        high=None if ratio.high is None else ratio.high - 1,
        n=ratio.n,
        clusters=ratio.clusters,
    )


def _reach(judge_change: ComparedFigure) -> float:
    return _most(judge_change.difference, judge_change.margin)


def _most(change: Interval | None, margin: float) -> float:
    """Return the largest distance from 0 that a drawing must show."""
    bounds = [margin]
    if change is not None:
        bounds += [
            abs(part) for part in (change.low, change.high, change.value) if part is not None
        ]
    return max(bounds) * _SCALE_UP or 1.0


def _bar(
    difference: Interval | None, margin: float, scale: float, word: str, kind: FigureKind
) -> IntervalBar | None:
    change = _read_change(difference) if kind == "amount" else difference
    if change is None or change.low is None or change.high is None:
        return None

    def at(value: float) -> float:
        return round(min(max(50 + 50 * value / scale, 0), 100), 1)

    band = at(-margin)
    style = word if word in (Word.WORSE, Word.BETTER) else ""
    text = write_difference(difference, kind)
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
    return (
        f"{100 * interval.value:.1f}{wording.THIN}%"
        if is_rate
        else wording.number(interval.value, 4)
    )


def _signed(difference: Interval | None, kind: FigureKind) -> str:
    """Write a difference as in a sentence, but without its unit, which the column has."""
    number, _ = split_change(difference, kind)
    return number or "–"


def _span(difference: Interval | None, kind: FigureKind) -> str:
    return write_bounds_of(difference, kind) or "–"


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
    return f"{value * of:.1f}" if of > 1 else wording.number(value, 4)
