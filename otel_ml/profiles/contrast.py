"""Compares two profiles: which components drifted, have more invalid values or worse scores."""

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_ml.arguments import check_mapping, check_number
from otel_ml.profiles import page
from otel_ml.profiles.components import Component
from otel_ml.profiles.scores import THRESHOLD, ProfileScore
from otel_ml.statistics.distances import (
    MARGIN,
    Comparison,
    compare,
    correct_together,
    distance,
    quantile,
)
from otel_ml.statistics.intervals import difference, wilson
from otel_ml.statistics.sketches import Sketch

INVALIDS: Final = 0.01
_NOT_VALID: Final = {"drift": -1, "drift_idx": -1, "alert": False, "valid": False}
_STEPS: Final = 100
_THRESHOLDS: Final = "a mapping with components and scores"
_PARTS: Final = ("components", "scores")
_CONTRASTED: Final = ("drift", "invalids")


@dataclass(frozen=True, slots=True)
class Side:
    """The parts of a profile that `contrast` compares: its components and its scores."""

    components: Mapping[str, Component]
    scores: Mapping[str, ProfileScore]


class Contrast(dict[str, Any]):
    """The result of comparing two profiles, as a dictionary. `view` writes it as an HTML page.

    * ``health_reports``: two reports for each component, such as an input. ``drift`` compares the
      values, ``invalids`` the share of invalid values.
    * ``score_reports``: one report for each score.

    In each report, ``alert`` is True if the change matters. ``valid`` is False if there was not
    enough data to decide.
    """

    @property
    def alerts(self) -> list[str]:
        """Names of the components and scores with an alert, in the order of the reports."""
        named = [
            name
            for name, report in self["health_reports"].items()
            if any(part["alert"] for part in report.values())
        ]
        return [
            *named,
            *(
                name
                for name, score_report in self["score_reports"].items()
                if score_report["alert"]
            ),
        ]

    def view(self, path: str | Path | None = None, *, show: bool = False) -> Path:
        """Write the report to a self-contained HTML file and return its path.

        Args:
            path: The file, or a directory to create it in. Default: a new temporary directory.
            show: Whether to open the file in the browser.
        """
        before, after = (self[side] for side in ("reference", "alternativeA"))
        stem = f"{page.stem_of(before)}-{page.stem_of(after)}"
        return page.write(page.contrast_page(self), path, stem, show=show)


def contrast(
    reference: Side, other: Side, thresholds: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare the components and scores that two profiles have in common.

    Args:
        reference: The reference profile.
        other: The profile to compare with it.
        thresholds: Changes that are tolerated, in the format of `ModelProfile.contrast`, such as
            ``{"components": {name: {"drift": 0.3, "invalids": 0.05}}, "scores": {name: 0.1}}``.

    Returns:
        The reports by component, and the reports by score.

    Raises:
        ValueError: The thresholds are invalid, or use a name that neither profile has.
    """
    by_component, by_score = _read_thresholds(thresholds)
    _refuse_unknown(by_component, {*reference.components, *other.components}, "component")
    _refuse_unknown(by_score, {*reference.scores, *other.scores}, "score")
    pairs = {
        name: (component, other.components[name])
        for name, component in reference.components.items()
        if name in other.components
    }
    margins = {name: by_component.get(name, {}).get("drift", MARGIN) for name in pairs}
    comparisons = _compare_all(pairs, margins)
    health = {
        name: {
            "drift": _report_drift(*pair, comparisons.get(name)),
            "invalids": _report_invalids(
                *pair, by_component.get(name, {}).get("invalids", INVALIDS)
            ),
        }
        for name, pair in pairs.items()
        if pair[0].is_built() and pair[1].is_built()
    }
    scores = {
        name: score.contrast(
            other.scores[name], reference.components, by_score.get(name, THRESHOLD)
        )
        for name, score in reference.scores.items()
        if name in other.scores
    }
    return health, scores


def _compare_all(
    pairs: Mapping[str, tuple[Component, Component]], margins: Mapping[str, float]
) -> dict[str, Comparison]:
    """Compare all pairs of sketches of the same kind, and correct the p-values together."""
    alike = {
        name: (before.sketch, after.sketch)
        for name, (before, after) in pairs.items()
        if before.sketch and after.sketch and before.kind == after.kind
    }
    items = [
        compare(before, after, margin=margins[name]) for name, (before, after) in alike.items()
    ]
    return dict(zip(alike, correct_together(items), strict=True))


def _report_drift(
    before: Component, after: Component, comparison: Comparison | None
) -> dict[str, Any]:
    if comparison is None or before.sketch is None or after.sketch is None:
        return dict(_NOT_VALID)
    place = widest_place(before.sketch, after.sketch)
    return {
        "drift": float(comparison.distance),
        "drift_xvalue" if before.kind == "number" else "drift_idx": place,
        "alert": comparison.word == "drift",
        "valid": comparison.word != "too few",
        "margin": comparison.margin,
        "chance": comparison.chance,
        "sentence": describe_change(before.sketch, after.sketch),
    }


def _report_invalids(before: Component, after: Component, threshold: float) -> dict[str, Any]:
    if not before.rows or not after.rows:
        return {"invalids": "_", "alert": False, "valid": False}
    gap = difference(
        wilson(min(before.invalid, before.rows), before.rows),
        wilson(min(after.invalid, after.rows), after.rows),
    )
    return {
        "invalids": float(gap.value),
        "alert": bool(gap.value > threshold and gap.low > 0),
        "valid": True,
        "low": gap.low,
        "high": gap.high,
    }


def _read_thresholds(
    thresholds: object,
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    limits = check_mapping("thresholds", thresholds, _THRESHOLDS)
    _refuse_unknown(limits, _PARTS, "part")
    components = {
        str(name): {
            str(figure): check_number("thresholds", number, 0)
            for figure, number in check_mapping("thresholds", figures, _THRESHOLDS).items()
        }
        for name, figures in check_mapping(
            "thresholds", limits.get("components", {}), _THRESHOLDS
        ).items()
    }
    for figures in components.values():
        _refuse_unknown(figures, _CONTRASTED, "figure")
    scores = {
        str(name): check_number("thresholds", number, 0)
        for name, number in check_mapping(
            "thresholds", limits.get("scores", {}), _THRESHOLDS
        ).items()
    }
    return components, scores


def _refuse_unknown(names: Iterable[object], known: Collection[str], noun: str) -> None:
    """Raise an error for thresholds with unknown names. A misspelt one would have no effect.

    Raises:
        ValueError: A name is unknown.
    """
    for name in names:
        if name not in known:
            expected = ", ".join(sorted(known)) or f"no {noun}"
            raise ValueError(f"Invalid {noun} {name!r} in thresholds: expected {expected}")


def widest_place(before: Sketch, after: Sketch) -> float | str | None:
    """Return where two distributions differ most: a number, a category's value or a text's part."""
    if not before.n or not after.n:
        return None
    if before.kind == "number":
        places = [quantiles(sketch) for sketch in (before, after)]
        return max(
            places[0],
            key=lambda at: abs(bisect_right(places[1], at) - bisect_right(places[0], at)),
        )
    if before.kind == "category":
        return max(
            sorted({*before.values, *after.values}),
            key=lambda value: abs(share_of(after, value) - share_of(before, value)),
            default=None,
        )
    shared = [name for name in before.parts if name in after.parts]
    return max(
        shared, key=lambda name: distance(before.parts[name], after.parts[name]), default=None
    )


def quantiles(sketch: Sketch) -> list[float]:
    """Return the quantiles of a sketch at 0 %, 1 %, …, 100 %."""
    return [quantile(sketch, step / _STEPS) for step in range(_STEPS + 1)]


def share_of(sketch: Sketch, value: str) -> float:
    """Return the share of runs that have one value of a category."""
    return sketch.values.get(value, 0) / sketch.n if sketch.n else 0.0


def describe_change(before: Sketch, after: Sketch) -> str:
    """Describe how the values changed, such as ``median 12 → 31; missing 0 % → 14 %``."""
    words = []
    if before.kind == "number" and before.n and after.n:
        words.append(f"median {_number(quantile(before, 0.5))} → {_number(quantile(after, 0.5))}")
    if before.kind == "category" and before.n and after.n:
        new = [value for value in after.values if value not in before.values]
        place = widest_place(before, after)
        if new and not before.rest:
            words.append(f"new value {new[0]}: {share_of(after, new[0]):.1%}")
        elif isinstance(place, str):
            words.append(f"{place} {share_of(before, place):.1%} → {share_of(after, place):.1%}")
    if before.kind == "text":
        words += [
            f"{part}: {describe_change(before.parts[part], after.parts[part])}"
            for part in ("words", "scripts")
            if part in before.parts and part in after.parts
        ]
    missing = [_missing(sketch) for sketch in (before, after)]
    if missing[0] != missing[1]:
        words.append(f"missing {missing[0]:.1%} → {missing[1]:.1%}")
    return "; ".join(words)


def _missing(sketch: Sketch) -> float:
    rows = sketch.n + sketch.missing
    return sketch.missing / rows if rows else 0.0


def _number(value: float) -> str:
    return "?" if math.isnan(value) else f"{value:,.4g}"
