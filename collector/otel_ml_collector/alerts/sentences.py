"""Sentences about figures of alert rules, shared by pages, messages and the overview."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from otel_ml.counts import write_count
from otel_ml_collector.alerts.conditions import OF_BUDGET, QUANTILES, AlertCondition
from otel_ml_collector.filter.figures import Figure
from otel_ml_collector.findings.slice_truths import TRUTH
from otel_ml_collector.price import write_cost
from otel_ml_collector.times import HOUR_NS
from otel_ml_collector.wording import THIN, duration, number

# Figures from 0 to 1, written in per cent.
_PER_CENT: Final = frozenset(
    {"error_share", "missing", "share", "pass_rate", "judge_errors", "budget_used"}
    | {"accuracy", "recall", "precision"}
)
_WHOLE_NUMBERS: Final = frozenset({"runs", "tokens", "excess", "crashed"})
_MILLISECONDS: Final = "latency_ms"
# Figures that `worse` can name, in addition to judges.
VERDICT_FIGURES: Final = frozenset({"errors", "missing outputs", "latency", "tokens", "cost"})
# From 10 % to 90 %, shares are written without decimals.
_WHOLE_FROM, _WHOLE_TO = 10, 90
_WINDOW_UNITS: Final[Mapping[str, str]] = {"s": "s", "m": "min", "h": "h", "d": "d"}
_WINDOW_LENGTH: Final = re.compile(r"(\d+)([smhd])", re.ASCII)
_NO_VALUE: Final = "\u2013"
# Shorter periods are written in hours.
_HOURS_WRITTEN: Final = 48
_FIGURE_NAMES: Final[Mapping[str, str]] = {
    "error_share": "share of failed runs",
    "missing": "share of runs without {of}",
    "share": "share of runs with {of}",
    "drift": "drift score of {of}",
    "excess": 'extra failures by "{of}"',
    "pass_rate": 'pass rate by judge "{of}"',
    "mean_score": 'mean score by judge "{of}"',
    "budget_used": 'used budget of judge "{of}"',
    "crashed": "crashed runs",
    "judge_errors": 'share of runs that judge "{of}" failed to score',
}
_DESCRIBED: Final[Mapping[str, str]] = {
    "error_share": "{value} failed",
    "pass_rate": '{value} pass judge "{of}"',
    "budget_used": 'judge "{of}" has used {value} of its daily budget',
    "judge_errors": 'judge "{of}" failed to score {value} of runs',
    "missing": "{of} is missing in {value}",
    "share": "{value} have {of}",
    "runs": "{value} runs",
    "crashed": "{value} crashed",
    "tokens": "{value} tokens",
    "cost": "cost {value}",
    "mean_score": 'mean score by judge "{of}" {value}',
    "drift": "drift score of {of} {value}",
    "excess": '{value} extra failures by "{of}"',
}


def write_value(figure: Figure, value: float | None) -> str:
    """Write the value of a figure with its unit, such as ``61 %`` or ``3.10 s``."""
    if value is None:
        return _NO_VALUE
    if figure.name in _PER_CENT:
        per_cent = 100 * value
        decimals = 0 if _WHOLE_FROM <= abs(per_cent) <= _WHOLE_TO else 1
        return f"{per_cent:.{decimals}f}".removesuffix(".0") + f"{THIN}%"
    if figure.name == "worse":
        return "worse" if value > 0 else "not worse"
    if figure.of == _MILLISECONDS:
        return duration(value)
    if figure.name == "cost" or figure.of == "cost":
        return write_cost(value)
    if figure.name in _WHOLE_NUMBERS:
        return f"{value:,.0f}"
    return number(value, 4)


def write_limit(condition: AlertCondition) -> str:
    """Write the number that the first figure is compared with; empty if there is none."""
    figure, limit = condition.main, condition.limit
    if limit is None or figure.name in {"drift", "worse"}:
        return ""
    if figure.name in _PER_CENT:
        return f"{round(100 * limit, 6):g}{THIN}%"
    return write_value(figure, limit)


def describe_value(figure: Figure, value: float | None, text: str = "") -> str:
    """Write what a value means, such as ``61 % failed`` or ``p95 latency 3.10 s``.

    Args:
        figure: The figure.
        value: Its value; None without a value.
        text: What the value means, if that is known already: the `text` of a `SliceState`.
    """
    if text:
        return text
    if value is None:
        return "no value"
    written = write_value(figure, value)
    if figure.name == "worse":
        return f"the newest version is {written} {_name_verdict(figure)}"
    if figure.name in _DESCRIBED:
        return _DESCRIBED[figure.name].format(value=written, of=figure.of)
    return f"{name_figure(figure)} {written}"


def _name_verdict(figure: Figure) -> str:
    """Write by which figure a version is worse, such as ``according to judge "grounded"``."""
    if figure.of in VERDICT_FIGURES:
        return f"in {figure.of}"
    if figure.of.startswith(TRUTH):
        return f'according to ground truth "{figure.of.removeprefix(TRUTH)}"'
    return f'according to judge "{figure.of}"'


def name_figure(figure: Figure) -> str:
    """Name a figure, such as ``pass rate by judge "grounded"`` or ``p95 latency``."""
    if figure.name == "worse":
        return f"newest version is worse {_name_verdict(figure)}"
    if figure.name in _FIGURE_NAMES:
        return _FIGURE_NAMES[figure.name].format(of=figure.of)
    name = figure.name.replace("_", " ")
    if not figure.of:
        return name
    if figure.of == _MILLISECONDS:
        return f"{name} latency"
    if figure.name in QUANTILES:
        return f"{name} {figure.of}"
    return f"{name} of {figure.of}"


def explain_condition(condition: AlertCondition) -> str:
    """Write a rule's condition in words, such as ``Pass rate by judge "grounded" below 90 %``.

    Returns:
        The text. Empty if the first figure of the condition is not compared with a fixed number, as
        in ``cost > 2 * previous("7d")``, or if it is `drift` or `worse`.
    """
    limit = write_limit(condition)
    if not limit:
        return ""
    side = "above" if condition.is_bad_above else "below"
    chance = (
        f" (only if the difference from {limit} is statistically significant)"
        if condition.sure
        else ""
    )
    name = name_figure(condition.main)
    if condition.main.name not in QUANTILES:
        name = f"{name[0].upper()}{name[1:]}"
    return f"{name} {side} {limit}{chance}"


def describe_slice(
    condition: AlertCondition,
    labels: Mapping[str, str],
    value: float | None,
    window: str,
    *,
    text: str = "",
) -> str:
    """Write what is wrong with a slice: ``Kessler: 61 % failed in 5 min (limit 25 %)``.

    Args:
        condition: The condition of the rule.
        labels: The values by which the rule groups runs, by name.
        value: Value of the first figure; None without a value.
        window: Length of the rule's window, as the user wrote it.
        text: What the value means, if that is known already: the `text` of a `SliceState`.
    """
    names = ", ".join(filter(None, labels.values()))
    if text:
        return f"{names}: {text}" if names else text
    limit = write_limit(condition)
    text = describe_value(condition.main, value)
    if condition.main.name not in OF_BUDGET:
        text += f" in {write_window(window)}"
    if limit:
        text += f" (limit {limit})"
    return f"{names}: {text}" if names else f"{text[0].upper()}{text[1:]}"


def write_window(window: str) -> str:
    """Write the length of a window for readers: ``5 min`` for ``5m``."""
    match = _WINDOW_LENGTH.fullmatch(window)
    return f"{match[1]}{THIN}{_WINDOW_UNITS[match[2]]}" if match else window


def write_past(fired: int, days: int, length_ns: int, *, is_complete: bool) -> str:
    """Write how often a rule would have fired, such as "fired 26 times on 6 of the last 7 days".

    Args:
        fired: How often the rule would have fired.
        days: Number of days on which it would have fired.
        length_ns: Length of the checked period, in nanoseconds.
        is_complete: Whether the whole requested period was checked.
    """
    hours = max(round(length_ns / HOUR_NS), 1)
    whole = round(hours / 24)
    period = "hour" if hours == 1 else f"{hours} hours"
    if hours >= _HOURS_WRITTEN:
        period = f"{whole} days"
    text = f"The rule would not have fired in the last {period}"
    if fired:
        times = "once" if fired == 1 else f"{fired:,} times"
        is_counted = fired > 1 and hours >= _HOURS_WRITTEN
        on = f"on {min(days, whole)} of" if is_counted else "in"
        text = f"The rule would have fired {times} {on} the last {period}"
    if not is_complete:
        text += ". Earlier runs were not checked, because that takes too long"
    return f"{text}."


def explain_unjudged(
    windows: int, min_runs: int, *, most_runs: int, main: Figure, unknown: Sequence[str]
) -> str:
    """Write why a rule could not be tested on past windows, and what to change.

    Args:
        windows: Number of windows that were checked.
        min_runs: Number of runs that a window needs (`min_runs` of the rule).
        most_runs: Largest number of runs in any of the windows.
        main: The first figure in the rule's condition, such as ``p95(latency_ms)``.
        unknown: A sentence for each judge, score or tag in the rule that the project does not have.
    """
    if unknown:
        return " ".join(["The rule could not be tested.", *unknown])
    if most_runs >= min_runs:
        return (
            f"The rule could not be tested: none of the {windows:,} windows has a "
            f"{name_figure(main)} from at least {write_count(min_runs, 'run')}."
        )
    if not most_runs:
        return (
            f"The rule could not be tested: no run matches it in the {windows:,} finished windows. "
            "Check its filter, or test it again when the current window is over."
        )
    return (
        f"The rule could not be tested: each of the {windows:,} windows has fewer than "
        f"{write_count(min_runs, 'run')}. Lower min_runs, or make the window longer."
    )
