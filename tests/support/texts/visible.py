"""Reads the text and the links that a reader sees on a page."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

_BLOCKS: Final = frozenset(
    "address article aside blockquote body button caption dd details dialog div dl dt fieldset"  # noqa: SIM905
    " figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr label legend li main nav ol"
    " optgroup option p pre section select summary table tbody textarea tfoot thead title tr"
    " ul".split()
)
_VOID: Final = frozenset({"br", "hr", "img", "input", "link", "meta", "source", "wbr", "col"})
_HIDDEN: Final = frozenset({"script", "style", "head", "template", "svg"})
_CELLS: Final = frozenset({"td", "th"})
_MAIN: Final = "<main"
_SPACE: Final = re.compile(r"\s+")
# Between two elements that the style sheet separates.
_EDGE: Final = "\0"
_EDGES: Final = re.compile(rf"(?<=[\w%…$×]){_EDGE}+(?=[\w$−+])")


@dataclass(slots=True)
class Seen:
    """The content of a page: its blocks of text, its links, and its machine-readable times."""

    blocks: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    times: list[tuple[str, str]] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen = Seen()
        self._text: list[str] = []
        self._hidden = 0
        self._open: list[tuple[str, bool]] = []
        self._time: tuple[str, int] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        is_hidden = tag in _HIDDEN or "hidden" in named
        if tag in _BLOCKS:
            self.end_block()
        if tag in _CELLS and self._has_text():
            self._text.append(" | ")
        self._text.append(" " if tag == "br" else _EDGE)
        if tag not in _VOID:
            self._open.append((tag, is_hidden))
            self._hidden += is_hidden
        if self._hidden:
            return
        if tag == "time":
            self._time = (named.get("datetime") or "", len(self._text))
        if tag == "input" and named.get("type") not in {"hidden", "checkbox", "radio"}:
            self._text.append(f" [{named.get('value') or ''}] ")
        # The address of a link, or of a part that loads later.
        target = named.get("href") if tag == "a" else named.get("hx-get")
        if target and not target.startswith("#"):
            self.seen.links.append(target)

    def _has_text(self) -> bool:
        return any(part.strip(_EDGE) for part in self._text)

    def handle_endtag(self, tag: str) -> None:
        if tag == "time" and self._time is not None:
            stamp, begin = self._time
            self.seen.times.append((stamp, "".join(self._text[begin:]).strip(f" {_EDGE}")))
            self._time = None
        if tag in _BLOCKS:
            self.end_block()
        self._text.append(_EDGE)
        if tag in {name for name, _ in self._open}:
            while True:
                name, is_hidden = self._open.pop()
                self._hidden -= is_hidden
                if name == tag:
                    break

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._text.append(data)

    def end_block(self) -> None:
        text = _EDGES.sub(" ", "".join(self._text)).replace(_EDGE, "")
        text = _SPACE.sub(" ", text).strip(" |")
        self._text.clear()
        if text:
            self.seen.blocks.append(text)


def read_page(page: str, *, has_frame: bool = False) -> Seen:
    """Read a page or a part of one; the frame of a page is left out unless it is asked for."""
    if not has_frame and _MAIN in page:
        page = page[page.index(_MAIN) : page.index("</main>")]
    reader = _Reader()
    reader.feed(page)
    reader.close()
    reader.end_block()
    return reader.seen
