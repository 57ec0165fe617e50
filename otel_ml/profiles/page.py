"""Writes profiles and comparisons as self-contained HTML files without scripts or links.

All text of a profile is escaped, because names and values can come from anywhere.
"""

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from otel_ml.arguments import check_flag, check_path
from otel_ml.counts import write_count
from otel_ml.statistics.distances import quantile
from otel_ml.statistics.fields import FieldSketch
from otel_ml.statistics.histograms import ValueCell, make_cells
from otel_ml.statistics.sketches import Sketch

_WIDTH: Final = 240
_HEIGHT: Final = 56
_VALUE_CHARS: Final = 40
_UNFIT: Final = re.compile(r"[^\w.@-]+")
_STYLE: Final = """
:root { color-scheme: light dark; --text: #1b1f24; --soft: #57606a; --line: #d0d7de;
  --ground: #fff; --before: #8c959f; --after: #0969da; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --soft: #9198a1; --line: #3d444d;
  --ground: #0d1117; --before: #6e7681; --after: #4493f8; --bad: #f85149; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem; color: var(--text); background: var(--ground); }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p.note { color: var(--soft); }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .7rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
strong.bad { color: var(--bad); }
svg rect.before { fill: var(--before); } svg rect.after { fill: var(--after); opacity: .7; }
svg line { stroke: var(--bad); stroke-width: 2; }
"""
_TITLES: Final = {
    "input": "Inputs",
    "output": "Outputs",
    "actual": "Ground truth",
    "eval": "Output vs ground truth",
}


def stem_of(document: Mapping[str, Any]) -> str:
    """Return the name of the HTML file for a profile, without suffix."""
    return _UNFIT.sub("_", f"{document['name']}@{document['version']}")[:100]


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


def profile_page(document: Mapping[str, Any], marks: Mapping[str, object]) -> str:
    """Return an HTML page that shows a data profile: distributions, bounds and scores.

    Args:
        document: The profile, as `ModelProfile.to_dict` returns it.
        marks: Values of one run, by name of the input or output. The page marks them in the
            distributions. Empty if there is no run to show.
    """
    parts = []
    for side, title in _TITLES.items():
        rows = [
            (
                escape(component["name"]),
                escape(component["dtype"]),
                escape(str(component.get("field") or component.get("extractor") or "")),
                _facts(component),
                _chart(_sketch(component), None, marks.get(component["name"])),
                _error(marks.get(f"{component['name']}-error")),
            )
            for component in document["components"]
            if component["side"] == side
        ]
        if rows:
            heads = ("component", "type", "read from", "values", "distribution", "this run")
            parts.append(f"<h2>{title}</h2>{_table(heads[: 6 if marks else 5], rows)}")
    scores = [
        (
            escape(score["name"]),
            escape(score["kind"]),
            escape(", ".join(score["inputs"])),
            escape(score["preference"]),
            _number(score.get("result")),
            f"{score.get('n', 0):,}",
        )
        for score in document["scores"]
    ]
    if scores:
        heads = ("score", "kind", "of", "good is", "result", "values")
        parts.append(f"<h2>Scores</h2>{_table(heads, scores)}")
    name = f"{document['name']}@{document['version']}"
    return _page(f"Profile {name}", "", parts)


def contrast_page(report: Mapping[str, Any]) -> str:
    """Return a page (HTML) that shows a comparison of two profiles.

    It has both distributions of each component, what changed, and the scores.
    """
    before, after = (
        {component["name"]: component for component in report[side]["components"]}
        for side in ("reference", "alternativeA")
    )
    rows = [
        (
            escape(name),
            _distance(health_report["drift"]),
            escape(health_report["drift"].get("sentence", "")),
            _share(health_report["invalids"]),
            _chart(_sketch(before[name]), _sketch(after[name]), None),
        )
        for name, health_report in report["health_reports"].items()
    ]
    heads = ("component", "distance", "what changed", "invalid values", "before and after")
    parts = [f"<h2>Components</h2>{_table(heads, rows)}"]
    scores = [
        (
            escape(name),
            _number(score_report.get("before")),
            _number(score_report.get("after")),
            "<strong class='bad'>worse</strong>" if score_report["alert"] else "not worse",
        )
        for name, score_report in report["score_reports"].items()
    ]
    if scores:
        titles = ("score", "before", "after", "verdict")
        parts.append(f"<h2>Scores</h2>{_table(titles, scores)}")
    names = [
        f"{report[side]['name']}@{report[side]['version']}"
        for side in ("reference", "alternativeA")
    ]
    note = "Grey is before, blue is after. A distance is drift where it exceeds its margin and is "
    note += "more than chance gives at these numbers of runs."
    return _page(f"{names[0]} vs {names[1]}", note, parts)


def _page(title: str, note: str, parts: Iterable[str]) -> str:
    note_html = f"<p class='note'>{escape(note)}</p>" if note else ""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{note_html}{''.join(parts)}</body></html>"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row[: len(heads)])}</tr>" for row in rows
    )
    inner = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f"<div class='wide'><table>{inner}</table></div>"


def _sketch(facts: Mapping[str, Any]) -> FieldSketch | None:
    return FieldSketch.from_dict(facts["sketch"]) if "sketch" in facts else None


def _facts(fields: Mapping[str, Any]) -> str:
    sketch = _sketch(fields)
    if sketch is None:
        return "not built"
    rows = sketch.runs
    facts = [write_count(rows, "run")]
    if sketch.number.n:
        low = fields.get("low", sketch.number.low)
        high = fields.get("high", sketch.number.high)
        facts += [
            f"median {_number(quantile(sketch.number, 0.5))}",
            f"valid {_number(low)} to {_number(high)}",
        ]
    if sketch.kind == "category":
        facts.append(f"{len(sketch.category.values):,} values")
    if fields.get("invalid") and rows:
        facts.append(f"<strong class='bad'>{fields['invalid'] / rows:.1%} invalid</strong>")
    return "<br>".join(facts)


def _error(error: object) -> str:
    return f"<strong class='bad'>{escape(str(error))}</strong>" if error is not None else ""


def _distance(facts: Mapping[str, Any]) -> str:
    if not facts["valid"]:
        return "too few values"
    text = f"{facts['drift']:.3f}"
    return f"<strong class='bad'>{text} drift</strong>" if facts["alert"] else text


def _share(facts: Mapping[str, Any]) -> str:
    if not facts["valid"]:
        return ""
    text = f"{facts['invalids']:+.1%}"
    return f"<strong class='bad'>{text}</strong>" if facts["alert"] else text


def _number(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, int | float) else ""


def _chart(before: FieldSketch | None, after: FieldSketch | None, mark: object) -> str:
    """Draw one or two distributions as an SVG picture with a text next to it."""
    fields = [field for field in (before, after) if field is not None and field.n]
    if not fields:
        return ""
    kind = fields[0].kind
    sketches = [field.of_kind(kind) for field in fields]
    if kind == "text":
        sketches = [sketch.parts.get("words", Sketch("number")) for sketch in sketches]
        return f"words: {_draw_cells(sketches, None)}"
    return _draw_cells(sketches, mark)


def _draw_cells(sketches: Sequence[Sketch], mark: object) -> str:
    cells = make_cells(sketches[0], sketches[-1])
    if not cells:
        return ""
    shares = [[cell.reference for cell in cells], [cell.window for cell in cells]]
    bars = _bars(shares[: len(sketches)])
    first, last = cells[0], cells[-1]
    if first.low is None or last.high is None:
        return f"{_svg(bars)}<br>{_list_values(cells, mark)}"
    line = ""
    if isinstance(mark, int | float) and not isinstance(mark, bool):
        at = min(max((mark - first.low) / (last.high - first.low), 0), 1) * _WIDTH
        line = f"<line x1='{at:.1f}' x2='{at:.1f}' y1='0' y2='{_HEIGHT}'/>"
    return f"{_svg(bars + line)}<br>{_number(first.low)} … {_number(last.high)}"


def _list_values(cells: Sequence[ValueCell], mark: object) -> str:
    return ", ".join(
        f"<strong>{_value(cell.label)}</strong>" if cell.label == str(mark) else _value(cell.label)
        for cell in cells
    )


def _value(value: str) -> str:
    return escape(value if len(value) <= _VALUE_CHARS else f"{value[:_VALUE_CHARS]}…")


def _bars(shares: Sequence[Sequence[float]]) -> str:
    most = max((share for row in shares for share in row), default=0) or 1
    room = _WIDTH / max(len(shares[0]), 1)
    bars = []
    for place, row in enumerate(shares):
        kind = "after" if place or len(shares) == 1 else "before"
        for cell, share in enumerate(row):
            height = _HEIGHT * share / most
            bars.append(
                f"<rect class='{kind}' x='{cell * room + 1:.1f}' width='{max(room - 2, 1):.1f}' "
                f"y='{_HEIGHT - height:.1f}' height='{height:.1f}'/>"
            )
    return "".join(bars)


def _svg(inner: str) -> str:
    return (
        f"<svg width='{_WIDTH}' height='{_HEIGHT}' viewBox='0 0 {_WIDTH} {_HEIGHT}' "
        f"role='img' aria-label='distribution'>{inner}</svg>"
    )
