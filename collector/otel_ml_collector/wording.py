"""Writes values as text: numbers, shares, durations, names, and texts with invisible characters."""

import math
import re
from collections.abc import Mapping
from typing import Final

import orjson

from otel_ml.counts import write_number
from otel_ml.statistics.sentences import FigureText

_C0: Final = 0x20
_DELETE: Final = 0x7F
_PICTURES: Final = 0x2400  # start of the pictures of control characters
# Invisible characters: controls except tab and line ends, zero-width characters, direction
# overrides, lone surrogates, and tag characters, which can smuggle instructions. Flags, joiners and
# combining marks stay, because whole scripts and emoji need them.
_UNSEEN: Final = re.compile(
    "\U0001f3f4[\U000e0020-\U000e007f]+"
    "|([\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2060-\u2064\ufeff\u202a-\u202e"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f])"
)
_ISOLATES: Final = re.compile("[\u2066-\u2069]")
_POP: Final = "\u2069"
THIN: Final = "\u202f"  # narrow no-break space before a unit
MINUS: Final = "−"
# Units of a duration: the shortest duration in ms that is written with it, its ms, its name.
TIME_UNITS: Final = (
    (3 * 86_400_000, 86_400_000, "d"),
    (3_600_000, 3_600_000, "h"),
    (60_000, 60_000, "min"),
    (1_000, 1_000, "s"),
)
_WHOLE_FROM: Final = 10  # larger changes have no decimals
_LARGE_SCORE: Final = 100
# The smallest number with four digits before the point.
FOUR_DIGITS: Final = 1_000
# Relative error of estimated percentiles. `measures.sums` asks the store for it.
_ERROR: Final = 0.01
_DECIMALS: Final = 6
_NO_NUMBERS: Final[Mapping[str | None, str]] = {"Infinity": "∞", "-Infinity": "−∞"}
# What kind of interval a figure has, unless it is one of recorded runs of two versions.
INTERVAL: Final = "95 % interval"


def shorten(text: str, most: int) -> str:
    """Cut a text without stating its length."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def bound(text: str, most: int) -> str:
    """Cut a text and state how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def visible(text: str) -> str:
    """Replace invisible characters, and those that change the direction of text, by their names.

    Isolates (Unicode characters that start a run of right-to-left text) are kept if the text closes
    each one that it opens. An isolate that is not closed would reorder the text that follows.
    """
    if text.isprintable():
        return text
    sentence = _UNSEEN.sub(_name_char, text)
    return sentence if _is_closed(sentence) else _ISOLATES.sub(_name_char, sentence)


def _is_closed(text: str) -> bool:
    depth = 0
    for match in _ISOLATES.finditer(text):
        depth += -1 if match[0] == _POP else 1
        if depth < 0:
            return False
    return depth == 0


def _name_char(match: re.Match[str]) -> str:
    char = match[0]
    if len(char) > 1:  # a flag
        return char
    code = ord(char)
    if code < _C0:
        return chr(_PICTURES + code)
    return "\N{SYMBOL FOR DELETE}" if code == _DELETE else f"[U+{code:04X}]"


def number(value: float | str | None, digits: int = 3) -> str:
    """Write a measured number, such as a latency; a dash for none.

    All numbers of a column follow one rule, so that lists can load in parts: three significant
    digits, and of large numbers four before the point: 0.089, 1.5, 40, 604, 11,520.

    Args:
        value: The number.
        digits: How many significant digits a number below 1,000 has: 3, or 4 for scores.
    """
    if value is None or isinstance(value, str):
        return _NO_NUMBERS.get(value, "–")
    return with_minus(write_number(four_digits(value), digits))


def with_minus(text: str) -> str:
    """Write the sign of a number as a minus, which is as wide as a plus. Python writes a hyphen."""
    return f"{MINUS}{text[1:]}" if text.startswith("-") else text


def four_digits(value: float) -> float:
    """Round a number from 1,000 on to four significant digits."""
    is_large = abs(value) >= FOUR_DIGITS and math.isfinite(value)
    return float(f"{value:.4g}") if is_large else value


def percentile(value: float | None) -> float | None:
    """Round an estimated percentile to the fewest decimals within its error: 0.995 becomes 1."""
    if value is None or not abs(value) < FOUR_DIGITS:  # has no decimals
        return value
    rounded = (float(round(value, decimals)) for decimals in range(_DECIMALS))
    return next((near for near in rounded if abs(near - value) <= _ERROR * abs(value)), value)


def signed(value: float) -> str:
    """Write a change in per cent or points with its sign: `+21`, `−0.4`; `0` has none."""
    digits = 0 if abs(round(value, 1)) >= _WHOLE_FROM or value == round(value) else 1
    written = round(value, digits)
    return f"{written:+.{digits}f}".replace("-", MINUS) if written else "0"


def duration(value_ms: float, digits: int = 3) -> str:
    """Write a duration with its unit: `0.09 ms`, `3.4 s`, `12 min`.

    Args:
        value_ms: The duration in milliseconds.
        digits: How many significant digits.
    """
    for least_ms, unit_ms, unit in TIME_UNITS:
        if value_ms >= least_ms:
            return f"{number(value_ms / unit_ms, digits)}{THIN}{unit}"
    return f"{number(value_ms, digits)}{THIN}ms"


def count(value: int) -> str:
    """Write a count, thousands grouped."""
    return f"{value:,}"


def percent(part: float, whole: float) -> str:
    """Write a share in per cent; a dash if the whole is 0."""
    if not whole:
        return "–"
    share = 100 * part / whole
    return f"{share:.0f}{THIN}%" if share in {0, 100} else f"{share:.1f}{THIN}%"


def numbered(name: str, version: int | None) -> str:
    """Write a name with its version, such as ``answer:v4``."""
    return name if version is None else f"{name}:v{version}"


def slice_name(name: str) -> str:
    """Write the name of a slice, such as ``client = Remax``, as in a sentence: `client Remax`."""
    return name.replace("provider_model = ", "LLM ").replace(" = ", " ")


def name_interval(text: FigureText, interval: str = INTERVAL) -> str:
    """Write evidence, and what kind of interval it begins with, if it does."""
    if not text.begins_with_interval:
        return text.evidence
    return text.write_evidence(f"{interval}: {text.interval}")


def write_error(error_type: str, message: str) -> str:
    """Write the error of a run in one line; empty without an error."""
    return ": ".join(filter(None, (error_type, message)))


def score(value: float) -> str:
    """Write a score with two decimals. Scores from 100 on have at most four significant digits."""
    return number(value, 4) if abs(value) >= _LARGE_SCORE else with_minus(f"{value:.2f}")


def tag_value(value: object) -> str:
    """Write the value of a tag."""
    if isinstance(value, bool | list | dict | None):
        return orjson.dumps(value).decode()
    return str(value)
