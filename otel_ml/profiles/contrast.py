"""Compares two profiles: which components drifted, have more invalid values or worse scores."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_ml.arguments import check_mapping, check_number
from otel_ml.profiles import page
from otel_ml.profiles.components import Component
from otel_ml.profiles.scores import THRESHOLD, ProfileScore
from otel_ml.statistics.field_drift import (
    FieldDrift,
    Reference,
    compare_fields,
    gained_side,
    gained_value,
)
from otel_ml.statistics.intervals import difference, wilson

INVALIDS: Final = 0.01
_THRESHOLDS: Final = "a mapping with components and scores"


@dataclass(frozen=True, slots=True)
class Side:
    """The parts of a profile that `contrast` compares: its components and its scores."""

    components: Mapping[str, Component]
    scores: Mapping[str, ProfileScore]


class Contrast(dict[str, Any]):
    """The result of comparing two profiles, as a dictionary. `view` writes it as an HTML page.

    * ``health_reports``: two reports for each component, such as an input. ``drift`` compares the
      values, their types and the share of missing values; ``invalids`` compares the share of
      invalid values.
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
        names = (page.stem_of(page.tag_of(self[side])) for side in ("reference", "alternativeA"))
        return page.write(page.contrast_page(self), path, "-".join(names), show=show)


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
    drifts = _compare_all(
        pairs, {name: limits["drift"] for name, limits in by_component.items() if "drift" in limits}
    )
    health = {
        name: {
            "drift": _report_drift(drifts[name])
            if name in drifts
            else {"drift": -1, "drift_idx": -1, "alert": False, "valid": False},
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
) -> dict[str, FieldDrift]:
    """Compare all pairs of components of the same kind."""
    alike = {
        name: (before.sketch, after.sketch)
        for name, (before, after) in pairs.items()
        if before.sketch and after.sketch and before.kind == after.kind
    }
    reference = Reference("", {name: before for name, (before, _) in alike.items()})
    window = {name: after for name, (_, after) in alike.items()}
    return {drift.name: drift for drift in compare_fields(window, reference, margins=margins)}


def _report_drift(drift: FieldDrift) -> dict[str, Any]:
    comparison = drift.parts[0].comparison
    return {
        "drift": float(drift.distance),
        "drift_xvalue" if drift.kind == "number" else "drift_idx": _find_place(drift),
        "alert": drift.word == "drift",
        "valid": drift.word != "too few",
        "margin": comparison.margin,
        "chance": comparison.chance,
        "sentence": drift.sentence,
    }


def _find_place(drift: FieldDrift) -> float | str | None:
    """Return where the values differ most: a number, a category's value or a text's part."""
    before, after = (side.of_kind(drift.kind) for side in (drift.reference, drift.window))
    if drift.kind == "number":
        side = gained_side(before, after)
        return None if side is None else side[0]
    return gained_value(before, after) if drift.kind == "category" else drift.parts[0].name


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
    _refuse_unknown(limits, ("components", "scores"), "part")
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
        _refuse_unknown(figures, ("drift", "invalids"), "figure")
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
