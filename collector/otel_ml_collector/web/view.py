"""How values are written on pages: times, numbers, ids, links, parts of long lists."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, urlencode

import orjson
from markupsafe import Markup, escape
from starlette.requests import Request

from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.grammar import conjuncts

_SPARK_POINTS: Final = 100
_SPARK_HEIGHT: Final = 20
_MOST_CHARS: Final = 10_000
_SHORT_CHARS: Final = 200
_C0: Final = 0x20
_DELETE: Final = 0x7F
_PICTURES: Final = 0x2400  # start of the pictures of control characters
# Characters that nobody sees: controls except tab and line ends, zero-width characters, overrides,
# halves of characters, and letters of the invisible alphabet, which can smuggle instructions.
# Flags, joiners and marks stay: whole scripts and emoji need them.
_UNSEEN: Final = re.compile(
    "\U0001f3f4[\U000e0020-\U000e007f]+"
    "|([\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2060-\u2064\ufeff\u202a-\u202e"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f])"
)
_ISOLATES: Final = re.compile("[\u2066-\u2069]")
_POP: Final = "\u2069"
THIN: Final = "\u202f"  # narrow no-break space before a unit
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\0": "\\0"}
_SPECIAL: Final = re.compile(r'["\\]|[^ -~]')
_UNITS: Final = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))
_SECOND_MS: Final = 1_000
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_DAY_MS: Final = 24 * _HOUR_MS
_DAYS_FROM_MS: Final = 3 * _DAY_MS
# How a number of at least this size is written, with about three digits.
_FORMS: Final = ((1000, "{:,.0f}"), (1, "{:.1f}"), (0.1, "{:.2f}"))
_PLACE_DIGITS: Final = 9
_TEXT_CHARS: Final = 4_000
# The base path of the request that is answered, such as ``/otel-ml``; empty at the root of a host.
# `serve.middleware.BasePath` sets it. Jobs in the background have none: they write absolute links.
BASE_PATH: Final[ContextVar[str]] = ContextVar("base_path", default="")

T = TypeVar("T")


def spark(values: Sequence[float | None]) -> str:
    """Draw numbers in a box of 100 by 20. Missing numbers are skipped."""
    return sparks(values)[0]


def sparks(*curves: Sequence[float | None]) -> list[str]:
    """Draw several curves in one box of 100 by 20, on the same scale."""
    drawn = []
    for values in curves:
        there = [(place, value) for place, value in enumerate(values) if value is not None]
        drawn.append(there[:: max(len(there) // _SPARK_POINTS, 1)])
    low = min((value for there in drawn for _, value in there), default=0.0)
    high = max((value for there in drawn for _, value in there), default=1.0)
    spread = high - low
    points = []
    for values, there in zip(curves, drawn, strict=True):
        width = 100 / max(len(values) - 1, 1)
        heights = [  # in the middle when all are the same
            _SPARK_HEIGHT - 1 - (_SPARK_HEIGHT - 2) * (value - low) / spread
            if spread
            else _SPARK_HEIGHT / 2
            for _, value in there
        ]
        points.append(
            " ".join(
                f"{place * width:.1f},{height:.1f}"
                for (place, _), height in zip(there, heights, strict=True)
            )
        )
    return points


def bars(counts: Iterable[int], scale: float, *, ground: int, least: int, width: int) -> str:
    """Draw counts as bars of an SVG path, 10 apart; a count of 0 has no bar.

    Args:
        counts: A count for each place.
        scale: Height of a count of 1.
        ground: Bottom of the bars, from the top of the box.
        least: Minimum height of a bar.
        width: Width of a bar.
    """
    return "".join(
        f"M{place * 10} {ground}v-{height:.1f}h{width}v{height:.1f}"
        for place, number in enumerate(counts)
        if number
        for height in (max(number * scale, least),)
    )


class Exact(str):
    """A text that a page must not change, such as an address."""

    __slots__ = ()


def show(value: object) -> object:
    """Prepare a value for a template: cut plain text and make it visible."""
    return visible(bound(value, _MOST_CHARS)) if type(value) is str else value


def whole(text: str) -> Exact:
    """Return a whole text with invisible characters shown. The caller limits its length."""
    return Exact(visible(text))


def short(value: object, most: int = _SHORT_CHARS) -> str:
    """Return the first characters of a text for a list."""
    return bound(str(value), most)


def shorten(text: str, most: int) -> str:
    """Cut a text without stating its length."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def bound(text: str, most: int) -> str:
    """Cut a text and state how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def visible(text: str) -> str:
    """Replace invisible characters, and those that reorder other text, by their names.

    Isolates are kept if the text closes each one that it opens. Others would change what follows.
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


def elapsed_ms(start_ns: int, now_ns: int | None = None) -> float:
    """Return how long ago something began, in milliseconds."""
    return max((now_ns or time.time_ns()) - start_ns, 0) / 1e6


_NO_NUMBERS: Final[Mapping[str | None, str]] = {"Infinity": "∞", "-Infinity": "−∞"}


def number(value: float | str | None) -> str:
    """Write a measured number with about three digits; thousands are grouped."""
    if value is None or isinstance(value, str):
        return _NO_NUMBERS.get(value, "–")
    if value == 0:
        return "0.00"
    return next((form for least, form in _FORMS if abs(value) >= least), "{:.3f}").format(value)


def duration(value_ms: float) -> str:
    """Write a time in prose, with its unit."""
    if value_ms >= _DAYS_FROM_MS:
        return f"{value_ms / _DAY_MS:.1f}{THIN}d"
    if value_ms >= _HOUR_MS:
        return f"{value_ms / _HOUR_MS:.1f}{THIN}h"
    if value_ms >= _MINUTE_MS:
        return f"{value_ms / _MINUTE_MS:.1f}{THIN}min"
    if value_ms >= _SECOND_MS:
        return f"{value_ms / _SECOND_MS:.2f}{THIN}s"
    return f"{number(value_ms)}{THIN}ms"


# Words of the API that pages write differently.
_PAGE_WORDS: Final[Mapping[str, str]] = {"no different": "unchanged", "watching": "collecting"}


def page_word(verdict: Any) -> str:
    """Write a verdict as pages say it.

    An inconclusive one is "too early" below the minimum of runs or items: then it has reasons, or
    nothing was compared.

    Args:
        verdict: A comparison, or its word.
    """
    word = str(getattr(verdict, "word", verdict))
    if word != "inconclusive":
        return _PAGE_WORDS.get(word, word)
    failures = getattr(verdict, "failures", None)
    compared = [*getattr(verdict, "judges", ()), *([failures] if failures else ())]
    parts = compared if hasattr(verdict, "judges") else [verdict]
    reasons = [
        reason
        for part in (verdict, *parts)
        if getattr(part, "word", "") == word
        for reason in getattr(part, "reasons", ())
    ]
    return "too early" if reasons or not parts else "no visible difference"


_TAG_TEST: Final = re.compile(r'tags\["([^"]+)"\] == "([^"]*)"')


def split_tag_test(where: str) -> tuple[str, str]:
    """Return tag and value of a filter of one tag value. Empty texts for any other filter."""
    match = _TAG_TEST.fullmatch(where)
    return ("", "") if match is None else (match[1], match[2])


def split_evidence(sentence: str) -> tuple[str, str]:
    """Split a verdict into its claim and its evidence, which is in parentheses at the end.

    Returns:
        Claim and evidence. The evidence is empty if the sentence does not end with parentheses.
    """
    if not sentence.endswith(")"):
        return sentence, ""
    depth = 0
    for place in range(len(sentence) - 1, 0, -1):
        depth += {")": 1, "(": -1}.get(sentence[place], 0)
        if not depth:
            return sentence[:place].rstrip(), sentence[place + 1 : -1]
    return sentence, ""


def count(value: int) -> str:
    """Write a count, thousands grouped."""
    return f"{value:,}"


def size(value: int) -> str:
    """Write a number of bytes."""
    for unit, name in _UNITS:
        if value >= unit:
            return f"{value / unit:,.1f} {name}"
    return f"{value} bytes"


def percent(part: float, whole: float) -> str:
    """Write a share in per cent; a dash if the whole is 0."""
    if not whole:
        return "–"
    share = 100 * part / whole
    return f"{share:.0f}{THIN}%" if share in {0, 100} else f"{share:.1f}{THIN}%"


def numbered(name: str, version: int | None) -> str:
    """Write a name with its version, such as ``answer:v4``."""
    return name if version is None else f"{name}:v{version}"


_BEFORE_UNIT: Final = re.compile(r"(?<=\d) (?=(?:%|ms|s|min|pts)(?!\w))|(?<=\$) (?=\d)")


_PART_ENDS: Final = re.compile(r"(?<=[\]_])(?=\w)|(?=[.\[])|(?<=/)(?=.)")


def breakable(text: str) -> Markup:
    """Let a name such as `inputs.measurements["mean area"]` break only between its parts."""
    parts = (escape(show(part)) for part in _PART_ENDS.split(text))
    return Markup("<wbr>").join(Markup('<span class="nb">{}</span>').format(part) for part in parts)


def slice_name(name: str) -> str:
    """Write the name of a slice, such as ``client = Remax``, as in a sentence: `client Remax`."""
    return name.replace("provider_model = ", "LLM ").replace(" = ", " ")


# An interval at the start of an evidence, such as `6 to 14 pts` or `± 16 pts`.
_INTERVAL: Final = re.compile("± |[\N{MINUS SIGN}\\d.,]+×? to ")


def name_interval(evidence: str) -> str:
    """Name the interval that an evidence starts with; unchanged if it starts with none."""
    return f"95 % interval: {evidence}" if _INTERVAL.match(evidence) else evidence


def spaced(text: str) -> str:
    """Put a narrow no-break space between each number and its unit."""
    return _BEFORE_UNIT.sub(THIN, text)


def write_error(error_type: str, message: str) -> str:
    """Write the error of a run in one line; empty without an error."""
    return ": ".join(filter(None, (error_type, message)))


def score(value: float) -> str:
    """Write a score: two decimals."""
    return f"{value:.2f}"


def cut_id(run_id: str) -> str:
    """Shorten an id in the middle."""
    return f"{run_id[:8]}…{run_id[-16:]}"


def moment(rfc3339: str) -> str:
    """Write an absolute time to the millisecond, UTC."""
    return f"{rfc3339[:23].replace('T', ' ')} UTC"


def tag_value(value: object) -> str:
    """Write the value of a tag."""
    if isinstance(value, bool | list | dict | None):
        return orjson.dumps(value).decode()
    return str(value)


def link_to(*parts: str, **parameters: object) -> str:
    """Return the link to a page, a file or an API call.

    Args:
        parts: The names between the slashes, in plain text; none for the first page.
        parameters: The query; empty values are left out.
    """
    return Exact(f"{BASE_PATH.get()}{path_of(*parts, **parameters)}")


def path_of(*parts: str, **parameters: object) -> str:
    """Return a link without the base path, to put behind the setting ``public_url``."""
    return Exact(f"/{'/'.join(quote(part, safe='') for part in parts)}{query(parameters)}")


def query(parameters: Mapping[str, object]) -> str:
    """Return the query string of parameters; empty ones are left out, a list is repeated."""
    given = {key: value for key, value in parameters.items() if value not in (None, "", [])}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def address(*parts: str, **parameters: object) -> str:
    """Return the link to a page of a project, or to Home without parts."""
    return link_to(*(("projects", *parts) if parts else ()), **parameters)


def api_address(*parts: str, **parameters: object) -> str:
    """Return the link to an API call."""
    return link_to("api", "v1", *parts, **parameters)


def without(parameters: Mapping[str, object], *names: str) -> dict[str, object]:
    """Return parameters without some names."""
    return {key: value for key, value in parameters.items() if key not in names}


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
    """Write a filter to which a condition can be added. Cached, as all cells of a page use it."""
    parts = conjuncts(where)
    if len(parts) == 1 and " or " in parts[0]:
        parts = [f"({parts[0]})"]
    return "".join(f"{part} and " for part in parts)


def quoted(value: Any) -> str:
    """Write a value of the filter language."""
    if isinstance(value, str):
        return f'"{_SPECIAL.sub(lambda match: _escape(match[0]), value)}"'
    return str(value)


def _escape(char: str) -> str:
    """Write one character of a text, escaped if it is special or invisible."""
    if char in _ESCAPES:
        return _ESCAPES[char]
    return char if visible(char) == char else char.encode("unicode_escape").decode()


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """A part of a list.

    Attributes:
        first: Index of the first item.
        total: Length of the whole list.
        size: Maximum length of a part.
    """

    items: Sequence[T]
    first: int
    total: int
    size: int

    @property
    def end(self) -> int:
        """Index after the last item."""
        return self.first + len(self.items)

    @property
    def is_part(self) -> bool:
        """Whether the list has more items."""
        return len(self.items) < self.total

    @property
    def before(self) -> int:
        """Index at which the previous part starts."""
        return max(self.first - self.size, 0)


def cut_slice(items: Sequence[T], first: int, size: int) -> Slice[T]:
    """Return a part of a list. An index after the end gives the last part."""
    if first >= len(items):
        first = max(len(items) - 1, 0) // size * size
    return Slice(items[first : first + size], first, len(items), size)


@dataclass(frozen=True, slots=True)
class State:
    """The parameters of a page. Names that end in ``_from`` are starts of parts of lists."""

    given: Mapping[str, str]

    def text(self, name: str) -> str:
        """Return a parameter; empty if it is missing.

        Raises:
            BadInput: It is too long.
        """
        value = self.given.get(name, "")
        if len(value) > _TEXT_CHARS:
            raise BadInput(f"{name}: expected at most {_TEXT_CHARS} characters", name)
        return value

    def first(self, key: str) -> int:
        """Return the index at which a part starts.

        Raises:
            BadInput: The parameter is not an index.
        """
        name = f"{key}_from"
        value = self.given.get(name, "0")
        if not (value.isascii() and value.isdecimal() and len(value) <= _PLACE_DIGITS):
            raise BadInput(f"{name}: expected a whole number, found {value[:80]!r}", name)
        return int(value)

    def path(self, **changes: object) -> Exact:
        """Write the link to this page in its first state, with some parameters changed."""
        kept = {name: value for name, value in self.given.items() if name == "by"} | changes
        return Exact(f"?{urlencode({name: value for name, value in kept.items() if value})}")

    def link(self, **changes: object) -> Exact:
        """Write the link to this page in a changed state. Empty values and 0 are left out."""
        given = {name: value for name, value in {**self.given, **changes}.items() if value}
        return Exact(f"?{urlencode(given)}")


def read_state(request: Request) -> State:
    """Read the state of the requested page."""
    return State(dict(request.query_params))
