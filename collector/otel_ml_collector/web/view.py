"""How values are written on pages: times, numbers, ids, and the addresses of pages."""

import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, urlencode

from otel_ml_collector.query.language import conjuncts
from otel_ml_collector.query.times import SECOND_NS
from otel_ml_collector.web.shown import Exact, visible

THIN: Final = "\u202f"  # narrow no-break space before a unit
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\0": "\\0"}
_SPECIAL: Final = re.compile(r'["\\]|[^ -~]')
_UNITS: Final = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))
_STEPS: Final = ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h"))


def ago(start_ns: int, now_ns: int | None = None) -> str:
    """Write how long ago something was, in its largest whole unit."""
    seconds = max(((now_ns or time.time_ns()) - start_ns) // SECOND_NS, 0)
    for below, unit, name in _STEPS:
        if seconds < below:
            return f"{seconds // unit} {name}"
    return f"{seconds // 86_400} d"


def elapsed_ms(start_ns: int, now_ns: int | None = None) -> float:
    """Return how long ago something began, in milliseconds."""
    return max((now_ns or time.time_ns()) - start_ns, 0) / 1e6


def number(value: float | None) -> str:
    """Write a measured number with about three digits; thousands are grouped."""
    if value is None:
        return "–"
    if abs(value) >= 1000:  # noqa: PLR2004 - whole numbers from here on
        return f"{value:,.0f}"
    if abs(value) >= 1:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3f}"  # noqa: PLR2004


def duration(value_ms: float) -> str:
    """Write a time in prose, with its unit."""
    if value_ms >= 60_000:  # noqa: PLR2004 - a minute
        return f"{value_ms / 60_000:.1f}{THIN}min"
    if value_ms >= 1000:  # noqa: PLR2004 - a second
        return f"{value_ms / 1000:.2f}{THIN}s"
    return f"{number(value_ms)}{THIN}ms"


def count(value: int) -> str:
    """Write a count, thousands grouped."""
    return f"{value:,}"


def size(value: int) -> str:
    """Write a number of bytes."""
    for unit, name in _UNITS:
        if value >= unit:
            return f"{value / unit:,.1f} {name}"
    return f"{value} bytes"


def percent(part: int, whole: int) -> str:
    """Write a share; a dash when there is nothing to share."""
    if not whole:
        return "–"
    share = 100 * part / whole
    return f"{share:.0f}{THIN}%" if share in {0, 100} else f"{share:.1f}{THIN}%"


def score(value: float) -> str:
    """Write a score: two decimals."""
    return f"{value:.2f}"


def cut_id(run_id: str) -> str:
    """Cut an id in its middle."""
    return f"{run_id[:8]}…{run_id[-16:]}"


def moment(rfc3339: str) -> str:
    """Write an absolute time for people: to the millisecond, UTC."""
    return f"{rfc3339[:23].replace('T', ' ')} UTC"


def tag_value(value: object) -> str:
    """Write a tag's value as it was given."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def address(*parts: str, **parameters: object) -> str:
    """Write the address of a page below ``/projects``; parameters that are empty are left out."""
    path = "/".join(quote(part, safe="") for part in parts)
    return Exact(f"/projects/{path}{query(parameters)}" if parts else "/")


def api_address(*parts: str, **parameters: object) -> str:
    """Write the address of an API call."""
    path = "/".join(quote(part, safe="") for part in parts)
    return Exact(f"/api/v1/{path}{query(parameters)}")


def query(parameters: Mapping[str, object]) -> str:
    """Write parameters that are not empty as a query string; a list stands there once an item."""
    given = {key: value for key, value in parameters.items() if value not in (None, "", [])}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def without(parameters: Mapping[str, object], *names: str) -> dict[str, object]:
    """Leave parameters out."""
    return {key: value for key, value in parameters.items() if key not in names}


def narrow(where: str, condition: str) -> str:
    """Add a condition to a filter that parses."""
    return f"{_before(where)}{condition}"


@lru_cache(maxsize=64)
def _before(where: str) -> str:
    """Write a filter so that another condition may follow; all cells of a page ask the same."""
    parts = conjuncts(where)
    if len(parts) == 1 and " or " in parts[0]:
        parts = [f"({parts[0]})"]
    return "".join(f"{part} and " for part in parts)


def quoted(value: Any) -> str:
    """Write a value as the filter language does."""
    if isinstance(value, str):
        return f'"{_SPECIAL.sub(lambda match: _escape(match[0]), value)}"'
    return str(value)


def _escape(char: str) -> str:
    """Write a character of a text; one that nobody would see as its number."""
    if char in _ESCAPES:
        return _ESCAPES[char]
    return char if visible(char) == char else char.encode("unicode_escape").decode()
