"""Lists among the values of a question that are longer than a server takes one parameter."""

import re
from collections.abc import Mapping
from typing import Any, Final

# A server's http_max_field_value_size is 128 KiB of text, with quotes, commas and escapes.
_MOST_CHARS: Final = 100_000
_QUOTES: Final = 3
_PLAIN: Final = re.compile(r"[\w-]*", re.ASCII)


def split_long_values(sql: str, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Ask with several parameters in place of each long list; others stay as they are.

    Args:
        sql: With ``{name:Array(Type)}`` for a list.
        values: By name.

    Returns:
        SQL and values that mean the same.
    """
    split = dict(values)
    for name, value in values.items():
        parts = _parts(value) if isinstance(value, list) else []
        _, found, after = sql.partition(f"{{{name}:")
        kind = after.partition("}")[0]
        if not found or len(parts) <= 1:
            continue
        del split[name]
        names = [f"{name}_part_{number}" for number in range(len(parts))]
        split |= dict(zip(names, parts, strict=True))
        joined = ", ".join(f"{{{part}:{kind}}}" for part in names)
        sql = sql.replace(f"{{{name}:{kind}}}", f"arrayConcat({joined})")
    return sql, split


def _parts(value: list[Any]) -> list[list[Any]]:
    """Cut a list where its text would grow too long."""
    parts: list[list[Any]] = [[]]
    size = 0
    for item in value:
        chars = _chars(item)
        if parts[-1] and size + chars > _MOST_CHARS:
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += chars
    return parts


def _chars(item: object) -> int:
    """Count the bytes of an item at most: each may be escaped."""
    text = str(item)
    return (len(text) if _PLAIN.fullmatch(text) else 4 * len(text)) + _QUOTES
