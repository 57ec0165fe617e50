"""Raymon's slices, ``client==Remax && app==v1.0.0``, in the filter language of the collector."""

import math
import re
from typing import Final

from otel_ml.compat.raymon.tag import normalize

_CONDITION: Final = re.compile(r"([^=!<>]*)(==|!=|<=|>=|<|>)(.*)", re.DOTALL)
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_QUOTES: Final = ("''", '""')


def to_filter(slicestr: str | None) -> str:
    """Translate a slice; none is no filter.

    Names and values become literals of the filter, so that no text of a slice is ever more than
    a name or a value.

    Args:
        slicestr: Conditions ``tag==value`` that all hold, joined by ``&&``. Also ``!=``, and with
            numbers ``<``, ``<=``, ``>`` and ``>=``. A value may stand in quotes.

    Raises:
        ValueError: A part of it is no condition.
    """
    if slicestr is None or not slicestr.strip():
        return ""
    return " and ".join(_condition(part) for part in slicestr.split("&&"))


def _condition(part: str) -> str:
    found = _CONDITION.fullmatch(part.strip())
    if found is None or "||" in part:
        raise ValueError(
            f"Invalid slice {part.strip()!r}: expected conditions such as client==Remax, "
            "joined by &&"
        )
    name, operator, value = normalize(found[1].strip()), found[2], _unquoted(found[3].strip())
    literal = repr(value) if operator in {"==", "!="} else _number(value)
    return f"tags[{name!r}] {operator} {literal}"


def _unquoted(value: str) -> str:
    return value[1:-1] if value[:1] + value[-1:] in _QUOTES and len(value) > 1 else value


def _number(value: str) -> str:
    number = float(value) if _NUMBER.fullmatch(value) else math.nan
    if not math.isfinite(number):
        raise ValueError(f"Invalid slice value {value!r}: expected a number after < and >")
    return repr(number)
