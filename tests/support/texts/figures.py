"""Finds the figures and the names of a text that are not in the answers of the API."""

import json
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # noqa: SIM905
_DAY: Final = re.compile(r"\b(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d))?")
_DATE: Final = re.compile(rf"\b(\d{{1,2}}) ({'|'.join(_MONTHS)})(?: (\d\d:\d\d))?")
_HOUR: Final = re.compile(r"\b(\d\d:\d\d)\b")
# A name with digits, such as `gpt-4o`; not `v2`, which is a number with a letter.
_NAME: Final = re.compile(r"(?!v\d+\b)[A-Za-z_][\w-]*\d[\w-]*|\d+[A-Za-z_-][\w-]*\w")
_UNITS: Final = r"%|pts|ms|s|min|h|days?|d|weeks?|k|M|kB|MB|GB|B"
_UNIT_NAMES: Final = {"days": "d", "day": "d", "weeks": "week"}
_FIGURE: Final = re.compile(
    rf"(?<![\w.])v?([−-]?)(\d[\d,]*(?:\.\d+)?)(?:\s?({_UNITS})(?!\w)|(?!\w))"
)
_SECONDS: Final = {"ms": 0.001, "s": 1, "min": 60, "h": 3_600, "d": 86_400, "week": 604_800}
_DIGITS: Final = 3
# A number above it is a time.
_LEAST_NS: Final = 10**18
_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d")
_SCALES: Final = {
    "%": (0.01, 1.0),
    "pts": (0.01, 1.0),
    "k": (1e3,),
    "M": (1e6,),
    "kB": (1e3,),
    "MB": (1e6,),
    "GB": (1e9,),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number as a text shows it."""

    value: float
    unit: str
    step: float  # the difference to the next number with as many digits

    def change(self) -> "Figure":
        """Return this figure if it were a tenth larger, and at least by one step."""
        added = max(round(abs(self.value) / 10 / self.step), 1) * self.step
        return Figure(self.value + added, self.unit, self.step)


@dataclass(slots=True)
class Known:
    """All numbers and texts of some answers, and what is computed from them.

    Attributes:
        text: The answers as JSON, and the days and hours of times that they give in nanoseconds.
        numbers: Their numbers, also those in their texts, and the lengths of their lists.
        ages_s: How long ago the times of the answers are, in seconds.
        written: The numbers with a unit in their texts.
    """

    text: str = ""
    numbers: list[float] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    written: set[tuple[float, str]] = field(default_factory=set)

    def has_figure(self, figure: Figure) -> bool:
        """Return whether a number of the answers is written as this figure."""
        if (figure.value, figure.unit) in self.written:
            return True
        if figure.unit in _SECONDS:
            value, step = (part * _SECONDS[figure.unit] for part in (figure.value, figure.step))
            # An age is rounded or cut off, depending on its unit.
            return (
                _has(self.ages_s, value, step)
                or _has(self.ages_s, value + step / 2, step)
                or any(_has(self.numbers, value * scale, step * scale) for scale in (1, 1e3, 1e9))
            )
        return any(
            _has(self.numbers, figure.value * scale, figure.step * scale)
            for scale in _SCALES.get(figure.unit, (1.0,))
        )

    def has_name(self, name: "Name") -> bool:
        """Return whether an answer contains a name as a page or as the API writes it."""
        return name.written in self.text or name.stored in self.text


class Name(NamedTuple):
    """A name with digits, or a time.

    Attributes:
        written: As the page writes it.
        stored: As the API writes it; of a time, the beginning.
    """

    written: str
    stored: str


# Computes further numbers from an object in an answer.
Rule = Callable[[Mapping[str, Any]], Iterable[float]]


def add_tokens(item: Mapping[str, Any]) -> Iterable[float]:
    """Add up input and output tokens, which tables also show in thousands."""
    parts = (item.get("input"), item.get("output"))
    if all(map(is_number, parts)):
        total = sum(part for part in parts if part is not None)
        yield from (total, total / 1_000)


def divide(item: Mapping[str, Any]) -> Iterable[float]:
    """Divide failed or passed runs by all of them."""
    for part, whole in (("errors", "runs"), ("passed", "judged")):
        if is_number(item.get(part)) and is_number(item.get(whole)) and item[whole]:
            yield item[part] / item[whole]


def is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _has(numbers: Sequence[float], value: float, step: float) -> bool:
    """Return whether one of the sorted numbers is written as this value, with any sign."""
    half = step / 2 * (1 + 1e-9)
    for wanted in (value, -value):
        place = bisect_left(numbers, wanted - half)
        if place < len(numbers) and numbers[place] <= wanted + half:
            return True
    return False


def read_answers(answers: Sequence[Any], now_ns: int, rules: Iterable[Rule] = ()) -> Known:
    """Collect the numbers and texts of answers, and what rules compute from their objects."""
    known = Known()
    rules, times = (add_tokens, divide, *rules), []
    for value in _walk([*answers]):
        if isinstance(value, list):
            known.numbers.append(len(value))
        elif isinstance(value, dict):
            known.numbers += [number for rule in rules for number in rule(value)]
        elif isinstance(value, str):
            if _TIME.match(value):
                at = datetime.fromisoformat(value[:19]).replace(tzinfo=UTC)
                known.ages_s.append(now_ns / 1e9 - at.timestamp())
            figures = find_figures(value)
            known.numbers += [figure.value for figure in figures]
            known.written |= {(figure.value, figure.unit) for figure in figures if figure.unit}
        elif is_number(value):
            known.numbers.append(float(value))
            if value > _LEAST_NS:
                times.append(datetime.fromtimestamp(value / 1e9, UTC).isoformat())
    known.numbers.sort()
    known.ages_s.sort()
    known.text = json.dumps([answers, times], ensure_ascii=False)
    return known


def _walk(value: Any) -> Iterator[Any]:
    """Yield a value, and all keys, values and items in it."""
    yield value
    if isinstance(value, dict):
        value = [*value, *value.values()]
        for item in value:
            yield from _walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item)


def find_figures(text: str) -> list[Figure]:
    """Return the numbers of a text that are not part of a time or of a name."""
    for pattern in (_DAY, _DATE, _HOUR, _NAME):
        text = pattern.sub(" ", text)
    figures = []
    for sign, digits, unit in _FIGURE.findall(text):
        whole, _, decimals = digits.replace(",", "").partition(".")
        step = 10.0 ** -len(decimals)
        if not decimals and len(whole) > _DIGITS:  # three digits are written, then zeros
            step = 10.0 ** (len(whole) - max(len(whole.rstrip("0")), _DIGITS))
        value = float(f"{whole}.{decimals or 0}")
        figures.append(Figure(-value if sign else value, _UNIT_NAMES.get(unit, unit), step))
    return figures


def find_names(text: str) -> list[Name]:
    """Return the names with digits, the days and the hours of a text."""
    names = []
    for found in _DAY.finditer(text):
        day, hour = found.groups()
        names.append(Name(found[0], f"{day}T{hour}" if hour else day))
    text = _DAY.sub(" ", text)
    for found in _DATE.finditer(text):
        day, month, hour = found.groups()
        date = f"-{_MONTHS.index(month) + 1:02}-{int(day):02}"
        names.append(Name(found[0], f"{date}T{hour}" if hour else date))
    text = _DATE.sub(" ", text)
    names += [Name(hour, f"T{hour}") for hour in _HOUR.findall(text)]
    return names + [Name(name, name) for name in _NAME.findall(_HOUR.sub(" ", text))]


_LITERAL: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|(?<![\w.])(\d+(?:\.\d+)?)')


def find_values(link: str, choices: Container[str]) -> Iterator[str]:
    """Return the names and numbers in a link: of its path, its filters and its parameters.

    Args:
        link: An address, percent-encoded.
        choices: Parameters whose values are words of the program, such as an order.
    """
    parts = urlsplit(link)
    yield from (unquote(segment) for segment in parts.path.split("/")[1:])
    for name, value in parse_qsl(parts.query):
        if name in choices:
            continue
        if name in {"where", "when"}:
            yield from (text or number for text, number in _LITERAL.findall(value))
        else:
            yield value
