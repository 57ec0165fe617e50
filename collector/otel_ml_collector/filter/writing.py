"""Writes filters: values, conditions that are added, and the filter of a group."""

import re
from functools import lru_cache
from typing import Any, Final

from otel_ml_collector.filter.grammar import conjuncts
from otel_ml_collector.wording import visible

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}
_SPECIAL: Final = re.compile(r'["\\]|[^ -~]')


def narrow(where: str, condition: str) -> str:
    """Add a condition to a valid filter. Both may be empty."""
    return f"{_before(where)}{condition}" if condition else where


def where_of_group(by: str, label: str) -> str:
    """Write the filter of the runs in a group of statistics."""
    if by.startswith("tags[") and not label:
        return f"not ({by.removeprefix('tags[').removesuffix(']')} in tags)"
    if by == "version":
        model, colon, version = label.rpartition(":v")
        if colon and version.isdecimal():
            return f"model == {quoted(model)} and version == {version}"
        by = "model"
    return f"{by} == {quoted(label)}"


@lru_cache(maxsize=64)
def _before(where: str) -> str:
    """Return a filter to which a condition can be added. Cached for the cells of a page."""
    parts = conjuncts(where)
    if len(parts) == 1 and " or " in parts[0]:
        parts = [f"({parts[0]})"]
    return "".join(f"{part} and " for part in parts)


def quoted(value: Any) -> str:
    """Return a value as the filter language writes it."""
    if isinstance(value, str):
        return f'"{_SPECIAL.sub(lambda match: _escape(match[0]), value)}"'
    return str(value)


def _escape(char: str) -> str:
    """Write one character of a text, escaped if it is special or invisible."""
    if char in _ESCAPES:
        return _ESCAPES[char]
    return char if visible(char) == char else char.encode("unicode_escape").decode()


def write_judge_field(judge: str, version: int | None, digest: str, field: str) -> str:
    """Write the field of a filter for a single version of a judge."""
    step = quoted(digest) if version is None else str(version)
    return f"{field}[{quoted(judge)}][{step}]"
