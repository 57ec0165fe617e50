"""Clients, runs and lists as a notebook shows them: lines, links and tables, every text escaped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_JOINERS: Final = "\u200c\u200d"  # parts of words and of emoji
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SCHEMES: Final = ("http://", "https://")
_TEXT_CHARS: Final = 80
_NOTE_CHARS: Final = 1_000
_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
)


@dataclass(frozen=True, slots=True)
class Card:
    """A thing in a line, with a link to its page.

    Attributes:
        kind: Its kind, such as ``Run``.
        name: Anybody's text, as the next.
        facts: Further facts; empty facts are left out.
        page: The address of its page; shown only when it is of http or https.
    """

    kind: str
    name: str
    facts: Sequence[str] = ()
    page: str = ""

    @property
    def text(self) -> str:
        """The line as plain text, for `repr`."""
        page = self.page if self.page.startswith(_SCHEMES) else ""
        words = (self.kind, shorten(self.name), *map(shorten, self.facts), page)
        return f"<{' '.join(filter(None, words))}>"

    @property
    def html(self) -> str:
        """The line as HTML, for a notebook."""
        facts = "".join(f" · {_escaped(fact)}" for fact in self.facts if fact)
        return f"<div>{escape(self.kind)} {link(self.name, self.page)}{facts}</div>"


class HasCard:
    """A base for values shown in a line: as text, and as HTML in a notebook."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Describe it in a line, with the address of its page."""
        return self._card.text

    def _repr_html_(self) -> str:
        return self._card.html

    @property
    def _card(self) -> Card:
        raise NotImplementedError


def link(text: str, page: str) -> str:
    """Write a link to a page, or the text alone where the address is none of http or https."""
    if not page.startswith(_SCHEMES):
        return _escaped(text)
    return (
        f'<a href="{escape(page)}" target="_blank" rel="noopener noreferrer">{_escaped(text)}</a>'
    )


def note(text: str) -> str:
    """Write a line of plain text."""
    return f"<div>{escape(show_unseen(text[:_NOTE_CHARS]))}</div>"


def table(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Write a table.

    Args:
        columns: Their names.
        rows: The page of each row, which its first cell leads to, and its cells.
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr><td>{link(first, page)}</td>{''.join(f'<td>{_escaped(cell)}</td>' for cell in rest)}"
        "</tr>"
        for page, (first, *rest) in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def page_address(base: str, *parts: str, **asked: str | None) -> str:
    """Write the address of a page of a collector below ``/projects``.

    Args:
        base: The collector's base address; the page has none where this is none of http or https.
        parts: Of the path, not quoted.
        asked: Parameters of the query; those that are empty are left out.
    """
    if not base.startswith(_SCHEMES):
        return ""
    from urllib.parse import quote, urlencode  # who records only never comes here

    path = "/".join(quote(part, safe="", errors="replace") for part in parts)
    query = urlencode({name: text for name, text in asked.items() if text}, errors="replace")
    return f"{base}/projects/{path}{f'?{query}' if query else ''}"


def shorten(text: str) -> str:
    """Write the beginning of any text in a line, its control characters escaped."""
    more = "…" if len(text) > _TEXT_CHARS else ""
    return show_unseen(text[:_TEXT_CHARS]) + more


def show_unseen(text: str) -> str:
    """Write a text of anybody's so that a terminal does nothing with it but show it."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if _is_unseen(char) else char for char in text
    )


def escape(text: str) -> str:
    """Escape a text for HTML; `html.escape` without the table of names that it loads."""
    return text.translate(_ESCAPES)


def _escaped(text: str) -> str:
    return escape(shorten(text))


def _is_unseen(char: str) -> bool:
    import unicodedata  # as above

    return unicodedata.category(char) in _UNSEEN and char not in _JOINERS
