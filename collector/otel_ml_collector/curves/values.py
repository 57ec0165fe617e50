"""Metrics and params as text, and in the order in which pages show them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from otel_ml import counts
from otel_ml_collector import wording
from otel_ml_collector.store.reader import JsonValue

_SETTINGS: Final = 200
_LEVELS: Final = 4


# Words in a metric's name that mean that lower is better, and words for the data that it measures.
_LOWER: Final = re.compile(
    r"(?<![a-z])(m?log_?loss|loss|m?error|err|mae|mse|rmse|rmsle|mape|smape|mphe|deviance|entropy"
    r"|perplexity|ppl|nll|nloglik|brier|wer|cer|fid|latency|duration|seconds|ms)(?![a-z])",
    re.IGNORECASE,
)


_HOLD_OUT: Final = re.compile(
    r"(?<![a-z])(val|valid|validation|test|eval|holdout|held_?out|oob)(?![a-z])", re.IGNORECASE
)


def flatten(params: object) -> dict[str, Any]:
    """Flatten nested params to dotted names.

    Keeps the first 200 params. Values nested below four levels are not flattened.
    """
    entries: dict[str, Any] = {}

    def add(name: str, value: object, level: int) -> None:
        if isinstance(value, dict) and value and level < _LEVELS:
            for key, inner in value.items():
                add(f"{name}.{key}" if name else str(key), inner, level + 1)
        elif name and len(entries) < _SETTINGS:
            entries[name] = value

    add("", params, 0)
    return entries


def rank_metric(name: str, counts: Mapping[str, int]) -> tuple[int, bool, bool, str]:
    """Return the sort key of a metric: frequent metrics first, then held-out data, then losses."""
    return -counts[name], _HOLD_OUT.search(name) is None, not is_lower(name), name


def is_lower(name: str) -> bool:
    """Return whether lower values of a metric are better, judging by its name."""
    return _LOWER.search(name) is not None


def join_words(words: Sequence[str]) -> str:
    """Join words for a sentence: "A, B and C"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def write_value(json_value: JsonValue) -> str:
    """Write a value so that different values have different texts, as `write_param` does."""
    value = _whole_numbers(json_value)
    if isinstance(value, list | dict):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return wording.tag_value(value)


def _whole_numbers(value: JsonValue) -> JsonValue:
    """Convert 1.0 to 1, also inside lists and dicts."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {name: _whole_numbers(item) for name, item in value.items()}
    return value


def write_number(value: float | str | None, digits: int = 4) -> str:
    """Write a metric with at most four significant digits, but whole numbers in full."""
    if isinstance(value, float) and value.is_integer():
        return counts.write_number(value, digits).replace("-", "−")
    return wording.number(value, digits).replace("-", "−")
