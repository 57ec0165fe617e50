"""Rules of alerts to begin with: what the form is filled in with for a slice, a field, a version.

Each would have fired in the time that the page shows. They are fields of the form, as texts.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from otel_ml_collector.monitor.fields import FieldReport
from otel_ml_collector.monitor.slices import RunSlice, SlicesFigure
from otel_ml_collector.web import view

# Fields of the form, by name.
Suggestion = Mapping[str, str]
# For the last so long, a window of which several are in it.
_WINDOWS: Final[Mapping[str, str]] = {"1h": "15m", "24h": "6h", "7d": "1d", "30d": "7d"}
_FIELD_WINDOWS: Final[Mapping[str, str]] = {"1h": "1h", "24h": "1d", "7d": "7d"}
_PLAIN_TAG: Final[Mapping[str, str]] = {
    "errors": "error_share",
    "latency": "p50(latency_ms)",
    "cost": "mean(cost)",
}
_LEAST_RUNS: Final = 5
_USUAL_RUNS: Final = 30
_NAME_CHARS: Final = 64


def suggest_for_slice(
    known: RunSlice, figures: Sequence[SlicesFigure], last: str
) -> Suggestion | None:
    """Suggest a rule that fires while a slice does as much worse; None where it does not.

    Its limit lies in the middle between the slice and the rest.
    """
    by_name = {figure.name: figure for figure in figures}
    worse = [cell for cell in known.cells if cell.word == "worse"]
    worst = max(worse, key=lambda cell: (cell.excess or 0.0, cell.strength), default=None)
    if worst is None or worst.value is None or worst.rest is None:
        return None
    figure = by_name[worst.figure]
    written = _PLAIN_TAG.get(figure.name, "")
    if figure.judge:
        name = "pass_rate" if figure.kind == "rate" else "mean_score"
        written = f"{name}({view.quoted(figure.judge)})"
    if not written:
        return None
    middle = (worst.value + worst.rest) / 2
    if figure.kind == "amount":
        middle = math.sqrt(max(worst.value * worst.rest, 0.0))
    sign = ">" if worst.value > worst.rest else "<"
    return {
        "name": _name(f"{known.name}: {figure.name}"),
        "where": known.where,
        "when": f"{written} {sign} {float(f'{middle:.3g}')!r}",
        "window": _WINDOWS[last],
        "hold": "1 of 1",
        "min_runs": str(max(min(worst.n // 8, _USUAL_RUNS), _LEAST_RUNS)),
    }


def suggest_for_field(report: FieldReport, last: str) -> Suggestion:
    """Suggest a rule that fires while a field drifts from the days before."""
    window = _FIELD_WINDOWS[last]
    return {
        "name": _name(f"{report.field} of {report.model}"),
        "where": f"model == {view.quoted(report.model)}",
        "when": f"drift({report.field}) > 0",
        "window": window,
        "every": window,
        "hold": "1 of 1",
    }


def suggest_for_release(model: str, figure: str) -> Suggestion:
    """Suggest a rule that fires while the newest version is worse than the one before."""
    return {
        "name": _name(f"new version of {model}: {figure}"),
        "where": f"model == {view.quoted(model)}",
        "when": f"worse({view.quoted(figure)})",
        "window": "1h",
        "every": "1h",
        "hold": "1 of 1",
    }


def _name(text: str) -> str:
    """Make the name of a rule: short, on one line, without slashes."""
    return re.sub(r"[/\x00-\x1f\x7f]+", " ", text).strip()[:_NAME_CHARS].strip()
