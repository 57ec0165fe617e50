"""How values are written on pages: times, numbers, ids, links, parts of long lists."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import urlencode

from markupsafe import Markup, escape
from starlette.requests import Request

from otel_ml.addresses import write_segment
from otel_ml_collector.errors import BadInput
from otel_ml_collector.wording import THIN, bound, visible

_SPARK_POINTS: Final = 100
_SPARK_HEIGHT: Final = 20
_MOST_CHARS: Final = 10_000
_SHORT_CHARS: Final = 200
_UNITS: Final = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))
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
        heights = [  # if all values are equal, in the middle
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
    """Return an SVG path that draws counts as bars, from left to right, one every 10 units.

    A count of 0 leaves a gap. All sizes are in units of the drawing.

    Args:
        counts: The counts to draw.
        scale: Height of a bar for a count of 1.
        ground: Distance from the top of the drawing to the bottom of the bars.
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


def elapsed_ms(start_ns: int, now_ns: int | None = None) -> float:
    """Return how long ago something began, in milliseconds."""
    return max((now_ns or time.time_ns()) - start_ns, 0) / 1e6


_TAG_TEST: Final = re.compile(r'tags\["([^"]+)"\] == "([^"]*)"')


def split_tag_test(where: str) -> tuple[str, str]:
    """Return tag and value of a filter on one tag value; empty texts for any other filter."""
    match = _TAG_TEST.fullmatch(where)
    return ("", "") if match is None else (match[1], match[2])


def size(value: int) -> str:
    """Write a number of bytes."""
    for unit, name in _UNITS:
        if value >= unit:
            return f"{value / unit:,.1f} {name}"
    return f"{value} bytes"


_BEFORE_UNIT: Final = re.compile(r"(?<=\d) (?=(?:%|ms|s|min|pts)(?!\w))|(?<=\$) (?=\d)")


_PART_ENDS: Final = re.compile(r"(?<=[\]_])(?=\w)|(?=[.\[])|(?<=/)(?=.)")


def breakable(text: str) -> Markup:
    """Let a name such as `inputs.measurements["mean area"]` break only between its parts."""
    parts = (escape(show(part)) for part in _PART_ENDS.split(text))
    return Markup("<wbr>").join(Markup('<span class="nb">{}</span>').format(part) for part in parts)


def spaced(text: str) -> str:
    """Put a narrow no-break space between each number and its unit."""
    return _BEFORE_UNIT.sub(THIN, text)


def cut_id(run_id: str) -> str:
    """Shorten an id in the middle."""
    return f"{run_id[:8]}…{run_id[-16:]}"


def moment(rfc3339: str) -> str:
    """Write an absolute time to the millisecond, UTC."""
    return f"{rfc3339[:23].replace('T', ' ')} UTC"


def link_to(*parts: str, **parameters: object) -> str:
    """Return the link to a page, a file or an API call.

    Args:
        parts: The names between the slashes, in plain text; none for the first page.
        parameters: The query; empty values are left out.
    """
    return Exact(f"{BASE_PATH.get()}{path_of(*parts, **parameters)}")


def path_of(*parts: str, **parameters: object) -> str:
    """Return a link without the base path, to append to the setting ``public_url``."""
    return Exact(f"/{'/'.join(map(write_segment, parts))}{query(parameters)}")


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
