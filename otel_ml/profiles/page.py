"""Writes profiles and comparisons as HTML files: tables of what the shared modules describe."""

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from otel_ml.arguments import check_flag, check_path
from otel_ml.counts import write_number
from otel_ml.notebook import escape, table
from otel_ml.profiles.components import ERROR_SUFFIX, Component
from otel_ml.profiles.scores import ProfileScore
from otel_ml.statistics.field_drift import write_share, write_typical
from otel_ml.statistics.fields import FieldSketch

_UNFIT: Final = re.compile(r"[^\w.@-]+")
_STYLE: Final = ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem}"
_CELLS: Final = "th,td{text-align:left;padding:.3rem .8rem;border-bottom:1px solid #8888}"


def tag_of(document: Mapping[str, Any]) -> str:
    """Return the name of a profile, ``name@version``, from its dictionary."""
    return f"{document['name']}@{document['version']}"


def stem_of(tag: str) -> str:
    """Return the name of the HTML file for a profile, without suffix."""
    return _UNFIT.sub("_", tag)[:100]


def write(text: str, path: str | Path | None, stem: str, *, show: bool) -> Path:
    """Write a page to a file and return its path. See `ModelProfile.view` for the arguments."""
    target = None if path is None else check_path("path", path)
    check_flag("show", show)
    if target is None:
        target = Path(tempfile.mkdtemp(prefix="otel-ml-"))
    if target.is_dir():
        target /= f"{stem}.html"
    target.write_text(text, encoding="utf-8")
    if show:
        import webbrowser  # slow import, needed only here

        webbrowser.open_new_tab(target.resolve().as_uri())
    return target


def profile_page(
    title: str,
    components: Iterable[Component],
    scores: Iterable[ProfileScore],
    marks: Mapping[str, object],
) -> str:
    """Return an HTML page with the typical and the valid values of each component, and the scores.

    Args:
        title: The name of the profile.
        components: Its components.
        scores: Its scores.
        marks: Values and errors of one run, by tag name. If empty, no run is shown.
    """
    columns = ("component", "part", "type", "read from", "typical", "valid", "invalid")
    rows = [
        (
            component.name,
            component.side,
            component.dtype,
            component.extractor_name or component.where,
            _typical(component.sketch),
            _valid(component),
            write_share(component.invalid / component.rows) if component.rows else "",
            *(str(marks.get(f"{component.name}{end}", "")) for end in ("", ERROR_SUFFIX)),
        )
        for component in components
    ]
    results = [
        (score.name, score.kind, ", ".join(score.inputs), _number(score.result)) for score in scores
    ]
    return _page(
        f"Profile {title}",
        _table((*columns, "this run", "error") if marks else columns, rows),
        _table(("score", "kind", "of", "result"), results),
    )


def contrast_page(report: Mapping[str, Any]) -> str:
    """Return an HTML page with the reports of a comparison, and the typical values on both sides.

    Args:
        report: A `Contrast`.
    """
    sides = [report[side] for side in ("reference", "alternativeA")]
    before, after = (
        {
            component["name"]: _typical(FieldSketch.from_dict(component["sketch"]))
            for component in side["components"]
            if "sketch" in component
        }
        for side in sides
    )
    components = [
        (
            name,
            before[name],
            after[name],
            f"{health['drift']['drift']:.3f}" if health["drift"]["valid"] else "too few values",
            health["drift"].get("sentence", ""),
            f"{health['invalids']['invalids']:+.1%}" if health["invalids"]["valid"] else "",
            ", ".join(part for part, of_part in health.items() if of_part["alert"]),
        )
        for name, health in report["health_reports"].items()
    ]
    scores = [
        (name, _number(of.get("before")), _number(of.get("after")), "worse" * of["alert"])
        for name, of in report["score_reports"].items()
    ]
    columns = ("component", "before", "after", "distance", "what changed", "invalid", "alert")
    return _page(
        " vs ".join(map(tag_of, sides)),
        _table(columns, components),
        _table(("score", "before", "after", "alert"), scores),
    )


def _page(title: str, *tables: str) -> str:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}{_CELLS}</style></head>"
        f"<body><h1>{escape(title)}</h1>{''.join(tables)}</body></html>"
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [("", row[: len(columns)]) for row in rows]
    return table(columns, cells) if cells else ""


def _typical(sketch: FieldSketch | None) -> str:
    return "" if sketch is None else write_typical(sketch.of_kind(sketch.kind))


def _valid(component: Component) -> str:
    if component.kind == "number":
        return " to ".join("" if end is None else write_number(end) for end in component.bounds)
    return ", ".join(sorted(component.domain or ()))


def _number(value: float | None) -> str:
    return "" if value is None else write_number(value)
