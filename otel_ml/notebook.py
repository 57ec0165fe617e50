"""How clients, runs and lists look in a notebook: one line, a link or a table.

All text is escaped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml.addresses import write_segment

_JOINERS: Final = "\u200c\u200d"  # parts of words and of emoji
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SCHEMES: Final = ("http://", "https://")
_TEXT_CHARS: Final = 80
_NOTE_CHARS: Final = 1_000
# The frame's color-scheme decides between the light and the dark theme of the file. Dark are
# JupyterLab and nbconvert, VS Code, and Colab.
_FRAME_STYLE: Final = (
    ".otel-ml-file>div{display:none}"
    ".otel-ml-file>iframe{box-sizing:border-box;width:100%;height:480px;"
    "border:1px solid #8888;color-scheme:light}"
    ":is([data-jp-theme-light=false],.vscode-dark,[theme=dark]) .otel-ml-file>iframe"
    "{color-scheme:dark}"
)
_SANDBOX: Final = "allow-scripts allow-popups allow-popups-to-escape-sandbox"
_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
)


@dataclass(frozen=True, slots=True)
class Card:
    """A one-line summary of an object for notebooks, with a link to the object's page.

    Attributes:
        kind: Type of the object, such as ``Run``.
        name: Name of the object. HTML in it is escaped.
        facts: Further details. HTML is escaped, and empty texts are left out.
        page: URL of the object's page. Shown only if it starts with http or https.
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
    """Base class for objects that are shown as one line: text in a console, HTML in a notebook."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the object as one line, with the URL of its page."""
        return self._card.text

    def _repr_html_(self) -> str:
        return self._card.html

    @property
    def _card(self) -> Card:
        raise NotImplementedError


def link(text: str, page: str) -> str:
    """Return an HTML link, or only the text if the URL does not start with http or https."""
    if not page.startswith(_SCHEMES):
        return _escaped(text)
    return (
        f'<a href="{escape(page)}" target="_blank" rel="noopener noreferrer">{_escaped(text)}</a>'
    )


def note(text: str) -> str:
    """Return a line of plain text as HTML."""
    return f"<div>{escape(show_unseen(text[:_NOTE_CHARS]))}</div>"


def table(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return an HTML table.

    Args:
        columns: Names of the columns.
        rows: For each row, a URL and the texts of the cells. The first cell links to the URL.
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr><td>{link(first, page)}</td>{''.join(f'<td>{_escaped(cell)}</td>' for cell in rest)}"
        "</tr>"
        for page, (first, *rest) in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def write_frame(file: str, plain: str, title: str) -> str:
    """Return HTML that shows a file in a frame of its own, in the theme of the notebook.

    The frame can load nothing from the notebook's page, and the file requests nothing. Front ends
    that remove frames remove the style too, and show the plain HTML instead.

    Args:
        file: The file, a whole HTML document.
        plain: HTML without frames.
        title: Name of the frame.
    """
    return (
        f'<div class="otel-ml-file"><style>{_FRAME_STYLE}</style><div>{plain}</div>'
        f'<iframe title="{_escaped(title)}" sandbox="{_SANDBOX}" srcdoc="{escape(file)}"></iframe>'
        "</div>"
    )


def page_address(base: str, *parts: str, **asked: str | None) -> str:
    """Return the URL of a page in the collector's web interface.

    Args:
        base: Base URL of the collector.
        parts: Path segments after ``/projects``, not yet percent-encoded.
        asked: Query parameters of the URL. Empty ones are left out.

    Returns:
        The URL. Empty if `base` does not start with http or https.
    """
    if not base.startswith(_SCHEMES):
        return ""
    from urllib.parse import urlencode  # slow to import, and not needed to record

    path = "/".join(map(write_segment, parts))
    query = urlencode({name: text for name, text in asked.items() if text}, errors="replace")
    return f"{base}/projects/{path}{f'?{query}' if query else ''}"


def shorten(text: str) -> str:
    """Return the first 80 characters of a text, with control characters escaped."""
    more = "…" if len(text) > _TEXT_CHARS else ""
    return show_unseen(text[:_TEXT_CHARS]) + more


def show_unseen(text: str) -> str:
    """Escape the control characters in a text, so that a terminal only displays it."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if _is_unseen(char) else char for char in text
    )


def escape(text: str) -> str:
    """Escape a text for HTML. Unlike `html.escape`, this loads no table of names."""
    return text.translate(_ESCAPES)


def _escaped(text: str) -> str:
    return escape(shorten(text))


def _is_unseen(char: str) -> bool:
    import unicodedata  # slow to import, and not needed to record

    return unicodedata.category(char) in _UNSEEN and char not in _JOINERS
