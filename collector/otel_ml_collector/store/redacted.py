"""Applies the redaction rules of judges to everything that a reader returns."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from otel_ml_collector.settings.connections import REMOVED, RedactionRules
from otel_ml_collector.store.reader import Reader, Row

# Columns that identify a record, or are words of ours. Records are found and joined by them.
_OWN_COLUMNS: Final = frozenset(
    {
        *("dialect", "kind", "outcome", "owner", "owners", "project", "sha256", "source"),
        *("span_kind", "structure", "severity"),
    }
)
_OWN_END: Final = re.compile(r"(_id|_ids|_ns|digest|_version|_kind)\Z")


def redact(reader: Reader, rules: RedactionRules) -> Reader:
    """Return a reader that removes what judges must not see: from payloads, texts and names.

    Previews are cut texts without keys. If the rules name keys, previews are therefore left out.
    """
    return reader.cleaned(_make_cleaner(rules))


def _make_cleaner(rules: RedactionRules) -> Callable[[Row], Row]:
    def clean(row: Row) -> Row:
        cleaned = {
            name: value
            if name in _OWN_COLUMNS or _OWN_END.search(name)
            else _clean(rules, name, value)
            for name, value in row.items()
        }
        if "value" in row and str(row.get("name", "")).lower() in rules.keys:
            cleaned["value"] = _hide(row["value"])
        return cleaned

    return clean


def _clean(rules: RedactionRules, name: str, value: Any) -> Any:
    if isinstance(value, str):
        if value and rules.keys and name.endswith("_preview"):
            return REMOVED
        return _clean_text(rules, value)
    if isinstance(value, Mapping):
        return {key: _clean_member(rules, key, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_clean(rules, name, item) for item in value])
    return value


def _clean_member(rules: RedactionRules, key: Any, value: Any) -> Any:
    if isinstance(key, str) and key.lower() in rules.keys:
        return _hide(value)
    return _clean(rules, "", value)


def _hide(value: Any) -> Any:
    """Replace a value. A column with JSON stays JSON."""
    if not isinstance(value, str):
        return None
    return orjson.dumps(REMOVED).decode() if _read_json(value) is not None else REMOVED


def _read_json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _clean_text(rules: RedactionRules, text: str) -> str:
    """Clean a text. If it is JSON, its members are cleaned, and it stays JSON."""
    value = _read_json(text)
    if isinstance(value, dict | list | str):
        return orjson.dumps(rules.remove(value)).decode()
    name, equals, _ = text.partition("=")  # a tag in the column of all tags
    if equals and name.lower() in rules.keys:
        return f"{name}={REMOVED}"
    cleaned = str(rules.remove(text))
    return cleaned if value is None or cleaned == text else orjson.dumps(cleaned).decode()
