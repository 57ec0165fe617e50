"""Rewrites a rendered page so that it works in a file of its own, without a server.

The file has what the pages' own templates write, so it changes with them. Only the elements and
attributes below are kept, every text is escaped again, and every address is checked. So nothing
that was recorded can add an element, even if a template had a fault.
"""

import base64
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from typing import Final

from otel_ml_collector.web.images import MEDIA_TYPES, read_head
from otel_ml_collector.web.media import read_picture

_VOID: Final = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
_SVG: Final = frozenset(
    {"circle", "g", "line", "path", "polyline", "rect", "svg", "symbol", "text", "title", "use"}
)
_KEPT_ELEMENTS: Final = frozenset(
    {
        *("a", "article", "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd"),
        *("del", "details", "div", "dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3"),
        *("hr", "i", "img", "ins", "kbd", "li", "nav", "ol", "p", "pre", "s", "section", "small"),
        *("span", "strong", "summary", "table", "tbody", "td", "th", "thead", "time", "tr", "ul"),
        *("wbr", *_SVG),
    }
)
# SVG has names with capitals, which the parser of the standard library writes in lower case.
_CAPITALS: Final = {"viewbox": "viewBox", "preserveaspectratio": "preserveAspectRatio"}
_KEPT_ATTRIBUTES: Final = frozenset(
    {
        *("alt", "class", "colspan", "cx", "cy", "d", "datetime", "fill-opacity", "height", "id"),
        *("open", "points"),
        *("preserveaspectratio", "r", "role", "rowspan", "rx", "scope", "start", "tabindex"),
        *("text-anchor", "title", "transform", "viewbox", "width", "x", "x1", "x2", "y", "y1"),
        *("y2", "data-key", "data-level", "data-panel", "data-run", "data-tab"),
        *("aria-current", "aria-expanded", "aria-hidden", "aria-label", "aria-sort"),
    }
)
# Classes of elements that only a server can serve.
_SERVED: Final = frozenset({"acts", "btn", "cp", "pick", "switch", "views"})
_WEBSITES: Final = ("http://", "https://", "mailto:")
_PICTURE: Final = "data:image/"
_ICON: Final = "#i-"


@dataclass(slots=True)
class PartLimits:
    """What is written of a part of a file, and what was left out.

    Attributes:
        rows: Maximum number of rows of a table of values; None for all.
        images: Whether images are written.
        chars: Maximum length of the part.
        left_rows, left_images: Number of table rows and images that were left out.
        is_cut: Whether the end was left out.
    """

    rows: int | None = None
    images: bool = True
    chars: int = 5_000_000
    left_rows: int = 0
    left_images: int = 0
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class FileLinks:
    """Where the links of a page lead in the file.

    Attributes:
        base: Start of the addresses of the server's pages, such as `/otel-ml/projects/`.
        server: Address of the server, for links back; empty for a file without links to it.
        runs: IDs of the runs that are in the file.
        read_image: Reads an image of the server by its address; None if there is none.
    """

    base: str
    server: str = ""
    runs: Collection[str] = ()
    read_image: Callable[[str], bytes | None] = lambda _: None

    def find(self, address: str) -> str:
        """Return where a link leads; empty for nowhere."""
        if address.startswith(self.base):
            path = address.partition("?")[0].partition("#")[0]
            run_id = path.rpartition("/")[2]
            if run_id in self.runs and path.endswith(f"/runs/{run_id}"):
                return f"#{run_id}"
            return f"{self.server}{address}" if self.server else ""
        return address if address.lower().startswith(_WEBSITES) else ""


def make_portable(
    html: str, places: FileLinks, limits: PartLimits | None = None, *, has_ids: bool = True
) -> str:
    """Return rendered HTML with everything removed that needs a server, or may not be in a file.

    Args:
        html: What a template has written.
        places: Where links lead.
        limits: What to leave out; it notes what was left out.
        has_ids: Whether elements keep their IDs. They do not in parts that occur several times.
    """
    writer = _Writer(places, limits or PartLimits(), has_ids=has_ids)
    writer.feed(html)
    writer.close()
    return writer.finish()


@dataclass(slots=True)
class _Open:
    """An element that is open: its name, the end that is written, and whether it is left out."""

    tag: str
    end: str
    is_dropped: bool = False
    is_values: bool = False
    rows: int = 0


class _Writer(HTMLParser):
    def __init__(self, places: FileLinks, limits: PartLimits, *, has_ids: bool) -> None:
        super().__init__(convert_charrefs=True)
        self._places, self._limits, self._has_ids = places, limits, has_ids
        self._open: list[_Open] = []
        self._parts: list[str] = []
        self._chars = 0
        self._pane = ""  # ID of the run whose pane is written
        self._skipped = 0  # number of open elements that are left out

    def finish(self) -> str:
        """Return what was written."""
        self._parts += [element.end for element in reversed(self._open)]
        return "".join(self._parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Write the start of an element, or leave the element out."""
        self._start(tag, {name: value or "" for name, value in attrs}, is_closed=tag in _VOID)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Write an element without content."""
        self._start(tag, {name: value or "" for name, value in attrs}, is_closed=True)

    def handle_endtag(self, tag: str) -> None:
        """Write the end of an element."""
        if not any(element.tag == tag for element in self._open):
            return
        while True:
            element = self._open.pop()
            self._skipped -= element.is_dropped
            self._write(element.end)
            if element.tag == tag:
                return

    def handle_data(self, data: str) -> None:
        """Write a text."""
        if self._skipped:
            return
        room = self._limits.chars - self._chars
        if len(data) > room:
            self._limits.is_cut = True
            data = data[: max(room, 0)]
        self._write(escape(data, quote=False))

    def _write(self, text: str) -> None:
        self._parts.append(text)
        self._chars += len(text)

    def _start(self, tag: str, given: Mapping[str, str], *, is_closed: bool) -> None:
        classes = frozenset(given.get("class", "").split())
        if self._skipped or self._is_dropped(tag, given, classes) or self._is_full():
            if not is_closed:
                self._skip(tag)
            return
        written, attributes = self._address(tag, given, classes)
        if not written:
            return
        for name, value in given.items():
            if name in _KEPT_ATTRIBUTES and name not in attributes:
                if name == "id" and not self._has_ids:
                    continue
                attributes[name] = value
        if "rpane" in classes:  # the target of links to this run
            self._pane = attributes["id"] = given.get("data-run", "")
        text = "".join(
            f' {_CAPITALS.get(name, name)}="{escape(value)}"' for name, value in attributes.items()
        )
        self._write(f"<{written}{text}{'/' if is_closed and tag in _SVG else ''}>")
        if is_closed:
            return
        self._open.append(
            _Open(tag, f"</{written}>", is_values=tag == "table" and "grid" in classes)
        )
        if tag == "time" and "data-ago" in given:  # "3 min ago" would soon be wrong
            self._write(escape(f"{given.get('datetime', '')[:19].replace('T', ' ')} UTC"))
            self._skip("ago")

    def _skip(self, tag: str) -> None:
        """Leave out everything up to the end of an element."""
        self._open.append(_Open(tag, "", is_dropped=True))
        self._skipped += 1

    def _is_full(self) -> bool:
        is_full = self._chars > self._limits.chars
        self._limits.is_cut |= is_full
        return is_full

    def _is_dropped(self, tag: str, given: Mapping[str, str], classes: Collection[str]) -> bool:
        if tag not in _KEPT_ELEMENTS or "hx-get" in given or "data-live" in given:
            return True
        if tag == "nav":
            return not {"tabs", "pager"}.intersection(classes)
        if tag == "tr" and self._limits.rows is not None:
            return self._is_cut_row(self._limits.rows)
        return not _SERVED.isdisjoint(classes)

    def _is_cut_row(self, most: int) -> bool:
        """Return whether a row of a table of values is one too many."""
        values = next((element for element in reversed(self._open) if element.is_values), None)
        if values is None:
            return False
        values.rows += 1
        is_cut = values.rows > most + 1  # the first row has the names of the columns
        self._limits.left_rows += is_cut
        return is_cut

    def _address(
        self, tag: str, given: Mapping[str, str], classes: Collection[str]
    ) -> tuple[str, dict[str, str]]:
        """Return the element to write, and its address; an empty text to write nothing."""
        if tag == "use":
            icon = given.get("href", "")
            return ("use", {"href": icon}) if icon.startswith(_ICON) else ("", {})
        if tag == "img":
            return self._image(given.get("src", ""))
        if tag != "a":
            return tag, {}
        if "twist" in classes:
            return "a", {"tabindex": "0"}
        if "data-tab" in given:  # leads to the same span; the script shows the tab
            return "a", {"href": f"#{self._pane}"}
        place = self._places.find(given.get("href", ""))
        if not place:
            return "span", {}
        if place.startswith("#"):
            return "a", {"href": place}
        return "a", {"href": place, "rel": "noopener noreferrer", "target": "_blank"}

    def _image(self, source: str) -> tuple[str, dict[str, str]]:
        if not source.startswith(_PICTURE):
            content = self._places.read_image(source)
            head = read_head(content) if content else None
            if content is None or head is None or head.why or head.media_type not in MEDIA_TYPES:
                return "", {}
            source = f"data:{head.media_type};base64,{base64.b64encode(content).decode()}"
        elif (picture := read_picture(source)) is None or picture.address is None:
            return "", {}
        if not self._limits.images:
            self._limits.left_images += 1
            return "", {}
        self._chars -= len(source)  # images have a limit of their own
        return "img", {"src": source}
