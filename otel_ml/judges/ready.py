"""Judges that need no model. Pass these functions in ``judges=``."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from otel_ml.arguments import InvalidArgumentError, check_callable, check_number, invalid
from otel_ml.judges.judge import Judge

__all__ = ["close", "contains", "exact", "f1_words", "is_json", "matches"]

_WORD: Final = re.compile(r"\w+")
_DESCRIPTION_CHARS: Final = 65_536


def exact(outputs: object, expected: object) -> bool:
    """Pass outputs that equal the expected value; a tuple equals a list."""
    return bool(_plain(outputs) == _plain(_require(expected)))


def contains(outputs: Any, expected: Any) -> bool:
    """Pass outputs that contain the expected value. If it is a list, all elements are required."""
    wanted = _require(expected)
    return all(
        evaluation in outputs for evaluation in (wanted if isinstance(wanted, list) else [wanted])
    )


def matches(outputs: str, expected: str) -> bool:
    """Pass outputs in which the expected regular expression matches."""
    return re.search(_require(expected), outputs) is not None


def is_json(outputs: object) -> bool:
    """Pass text that is valid JSON, and other values that can be written as JSON."""
    try:
        json.loads(outputs) if isinstance(outputs, str | bytes) else json.dumps(outputs)
    except (TypeError, ValueError):
        return False
    return True


def f1_words(outputs: str, expected: Any) -> float:
    """Score the words that outputs and expected text share: F1, from 0 to 1.

    If there are several expected texts, the best match counts.
    """
    wanted = _require(expected)
    return max(
        _f1(outputs, evaluation)
        for evaluation in (wanted if isinstance(wanted, list) else [wanted])
    )


def close(rel: float = 1e-9, abs: float = 0.0) -> Callable[..., bool]:
    """Create a judge that passes numbers near the expected value, also in lists and dicts.

    It passes a number if the difference is within `rel` or within `abs`.

    Args:
        rel: Allowed difference, as a share of the larger of the two numbers.
        abs: Allowed difference as a number. Use it for values near 0.

    Raises:
        ValueError: A tolerance is not a number of at least 0.
    """
    relative, absolute = check_number("rel", rel, 0, 1), check_number("abs", abs, 0)

    def close(outputs: object, expected: object) -> bool:
        """Pass numbers near the expected value."""
        return _is_close(outputs, _require(expected), relative, absolute)

    return close


def as_judge(given: Any) -> Judge:
    """Return the argument if it is a judge. Convert a function to a judge of the same name.

    Raises:
        ValueError: The argument is neither.
    """
    if issubclass(type(given), Judge):
        judge: Judge = given
        return judge
    check_callable("judges", given, "judges or functions")
    name = getattr(given, "__name__", None) or type(given).__name__
    described = (getattr(given, "__doc__", None) or "").strip().partition("\n")[0]
    try:
        return Judge(name, described[:_DESCRIPTION_CHARS], given)
    except InvalidArgumentError as error:
        expected = "a judge, or a function whose parameters can be passed by name"
        raise invalid("judge", given, expected) from error


def _require(expected: Any) -> Any:
    if expected is None:
        raise ValueError("the item has no expected value")
    return expected


def _plain(value: Any) -> Any:
    """Return arrays and tuples as lists, so that they can be compared with JSON values."""
    if hasattr(type(value), "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(value) for key, value in value.items()}
    return value


def _is_close(value: Any, wanted: Any, rel: float, abs_: float) -> bool:
    value, wanted = _plain(value), _plain(wanted)
    if isinstance(wanted, list):
        return (
            isinstance(value, list)
            and len(value) == len(wanted)
            and all(_is_close(a, b, rel, abs_) for a, b in zip(value, wanted, strict=True))
        )
    if isinstance(wanted, Mapping):
        return (
            isinstance(value, Mapping)
            and value.keys() == wanted.keys()
            and all(_is_close(value[key], wanted[key], rel, abs_) for key in wanted)
        )
    return math.isclose(value, wanted, rel_tol=rel, abs_tol=abs_)


def _f1(body: str, wanted: str) -> float:
    words, theirs = (Counter(_WORD.findall(text.lower())) for text in (body, str(wanted)))
    if not words or not theirs:
        return float(words == theirs)
    shared = (words & theirs).total()
    return 2 * shared / (words.total() + theirs.total())
