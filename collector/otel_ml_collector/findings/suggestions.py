"""Suggests alert rules: the content of the form for a slice, a field or a version.

The condition of a rule is ``surely(...)`` for every measure that ``surely`` supports. The form also
shows whether the rule would have fired on past runs.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from otel_ml.statistics.comparison import Word
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.releases import name_condition
from otel_ml_collector.findings.slice_truths import TRUTH
from otel_ml_collector.findings.slices import RunSlice, SlicesFigure
from otel_ml_collector.verdicts.claims import measure_of
from otel_ml_collector.wording import shorten

# Fields of the rule form, by name.
Suggestion = Mapping[str, str]
# For each period, a window that is several times shorter.
_WINDOWS: Final[Mapping[str, str]] = {"1h": "15m", "24h": "6h", "7d": "1d", "30d": "7d"}
_FIELD_WINDOWS: Final[Mapping[str, str]] = {"1h": "1h", "24h": "1d", "7d": "7d"}
_PLAIN_TAG: Final[Mapping[str, str]] = {
    "errors": "error_share",
    "latency": "p50(latency_ms)",
    "cost": "mean(cost)",
}
_LEAST_RUNS: Final = 5
_USUAL_RUNS: Final = 30
_LIMIT_SHARE: Final = 1 / 8
_NAME_CHARS: Final = 64


def suggest_for_slice(
    known: RunSlice, figures: Sequence[SlicesFigure], last: str
) -> Suggestion | None:
    """Suggest an alert rule that fires while a slice is worse than all other runs of its model.

    A slice is a group of runs, such as those with ``client = Remax``. The rule fires if the value
    of the slice is beyond a limit. The limit is only a little worse than the value of all other
    runs, by one eighth of the difference. (For latency and cost, the difference of the logarithms
    is used.) For example, if 17 % of the slice's runs fail and 9 % of all other runs, the limit is
    10 %. The rule still rarely fires by chance: its condition ``surely(...)`` is true only if the
    slice is beyond the limit with statistical certainty.

    Returns:
        The fields of the rule. None if the slice is not worse. Also None if the slice is worst in
        something other than errors, latency, cost or the scores of a judge.
    """
    by_name = {figure.name: figure for figure in figures}
    worse = [cell for cell in known.cells if cell.word == Word.WORSE]
    worst = max(worse, key=lambda cell: (cell.excess or 0.0, cell.strength), default=None)
    if worst is None or worst.value is None or worst.rest is None:
        return None
    figure = by_name[worst.figure]
    written = _PLAIN_TAG.get(figure.name, "")
    if figure.judge:
        name = "pass_rate" if figure.kind == "rate" else "mean_score"
        written = f"{name}({quoted(figure.judge)})"
    if not written:
        return None
    beyond = worst.rest + (worst.value - worst.rest) * _LIMIT_SHARE
    if figure.kind == "amount":
        beyond = worst.rest * (worst.value / worst.rest) ** _LIMIT_SHARE if worst.rest else 0.0
    sign = ">" if worst.value > worst.rest else "<"
    limit = float(f"{beyond:.3g}")
    return {
        "name": _name(f"{known.name}: {f'judge {figure.judge}' if figure.judge else figure.name}"),
        "where": known.where,
        "when": f"surely({written} {sign} {limit!r})",
        "window": _WINDOWS[last],
        "min_runs": str(max(min(worst.n // 8, _USUAL_RUNS), _LEAST_RUNS)),
    }


def suggest_for_field(model: str, field: str, last: str) -> Suggestion:
    """Suggest a rule that fires while a field drifts from the days before."""
    window = _FIELD_WINDOWS[last]
    return {
        "name": _name(f"{field} of {model}"),
        "where": f"model == {quoted(model)}",
        "when": f"drift({field}) > 0",
        "window": window,
        "every": window,
        "hold": "1 of 1",
    }


def suggest_for_error(error: str, where: str) -> Suggestion:
    """Suggest a rule that fires if an error occurs again.

    Args:
        error: Type of the error; may be empty.
        where: Filter that selects the runs with this error.
    """
    return {
        "name": _name(f"error {error}" if error else "error without a type"),
        "where": where,
        "when": "runs > 0",
        "window": "1h",
        "hold": "1 of 1",
        "min_runs": "1",
    }


def suggest_for_crash() -> Suggestion:
    """Suggest a rule that fires when a process stops while one of its runs has not ended."""
    return {
        "name": "crashed runs",
        "when": "crashed > 0",
        "window": "1h",
        "hold": "1 of 1",
    }


def suggest_for_judge(judge: str) -> Suggestion:
    """Suggest a rule that fires while a judge fails on most runs."""
    return {
        "name": _name(f"judge {judge} fails"),
        "when": f"judge_errors({quoted(judge)}) > 0.5",
        "window": "1h",
    }


def suggest_for_level(model: str, figure: str, limit: float, last: str) -> Suggestion:
    """Suggest a rule that fires while a function fails more often, or costs more, than before.

    Args:
        model: Name of the function.
        figure: `errors`, `cost` (per run) or `spending` (in an hour).
        limit: The share, or the amount in dollars.
        last: The period in which it is high.
    """
    rounded = float(f"{limit:.3g}")
    if figure == "spending":
        when, window = f"cost > {rounded!r}", "1h"
    else:
        when, window = f"surely({_PLAIN_TAG[figure]} > {rounded!r})", _WINDOWS[last]
    return {
        "name": _name(f"{model}: {figure}"),
        "where": f"model == {quoted(model)}",
        "when": when,
        "window": window,
        "min_runs": str(_LEAST_RUNS),
    }


def suggest_for_curve(name: str, when: str, where: str = "", window: str = "1h") -> Suggestion:
    """Suggest a rule for a curve that a page shows, such as a tile of the overview.

    Args:
        name: What is drawn, such as `Latency p95`.
        when: The condition, with a limit near the values that are drawn.
        where: Filter of the runs; empty for all runs.
        window: Length of a window.
    """
    return {"name": _name(name), "where": where, "when": when, "window": window}


def suggest_for_release(model: str, figure: str, condition: str = "") -> Suggestion:
    """Suggest a rule that fires while the newest version is worse than the one before.

    Args:
        model: Name of the model.
        figure: Name of the figure, or of the judge.
        condition: The slice for which the version is worse, as a filter; empty for all runs.
    """
    cause = figure
    if figure.startswith(TRUTH):
        cause = f"ground truth {figure.removeprefix(TRUTH)}"
    elif measure_of(figure) == "quality":
        cause = f"judge {figure}"
    whom = f" for {name_condition(condition)}" if condition else ""
    return {
        "name": _name(f"new version of {model} is worse{whom}: {cause}"),
        "where": narrow(f"model == {quoted(model)}", condition),
        "when": f"worse({quoted(figure)})",
        "window": "1h",
        "every": "1h",
        "hold": "1 of 1",
    }


def _name(text: str) -> str:
    """Make the name of a rule: short, on one line, without slashes."""
    return shorten(re.sub(r"[/\x00-\x1f\x7f]+", " ", text).strip(), _NAME_CHARS)
