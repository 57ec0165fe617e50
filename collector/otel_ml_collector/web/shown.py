"""What data says as pages show it: bounded, and with the characters seen that hide or reorder text.

Each text that a template writes goes through `show`, so that no field of a record can be forgotten.
"""

import re
from typing import Final

_MOST_CHARS: Final = 10_000
_SHORT_CHARS: Final = 200
_C0: Final = 0x20
_DELETE: Final = 0x7F
_PICTURES: Final = 0x2400  # of each control character its picture
# Controls but for tab and line ends, what has no width, overrides, halves of characters, and
# letters of the invisible alphabet, in which instructions are smuggled, unless they name a flag.
# Joiners and marks stay: whole scripts, and emoji, are written with them.
_UNSEEN: Final = re.compile(
    "\U0001f3f4[\U000e0020-\U000e007f]+"
    "|([\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2060-\u2064\ufeff\u202a-\u202e"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f])"
)
_ISOLATES: Final = re.compile("[\u2066-\u2069]")
_POP: Final = "\u2069"


class Exact(str):
    """A text that a page must not change, such as an address."""

    __slots__ = ()


def show(value: object) -> object:
    """Make a value ready for a template: a plain text bounded and seen, anything else as it is."""
    return visible(bound(value, _MOST_CHARS)) if type(value) is str else value


def whole(text: str) -> Exact:
    """Let a text stand there at its length, which somebody else has bounded."""
    return Exact(visible(text))


def short(value: object, most: int = _SHORT_CHARS) -> str:
    """Cut a text for a place where many stand."""
    return bound(str(value), most)


def bound(text: str, most: int) -> str:
    """Cut a text, and say how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def visible(text: str) -> str:
    """Name the characters that nobody sees, or that reorder the text around them.

    A text that opens and closes its isolates keeps them; where it does not, they would reach
    beyond it.
    """
    if text.isprintable():
        return text
    found = _UNSEEN.sub(_name, text)
    return found if _is_closed(found) else _ISOLATES.sub(_name, found)


def _is_closed(text: str) -> bool:
    depth = 0
    for match in _ISOLATES.finditer(text):
        depth += -1 if match[0] == _POP else 1
        if depth < 0:
            return False
    return depth == 0


def _name(match: re.Match[str]) -> str:
    char = match[0]
    if len(char) > 1:  # a flag
        return char
    code = ord(char)
    if code < _C0:
        return chr(_PICTURES + code)
    return "\N{SYMBOL FOR DELETE}" if code == _DELETE else f"[U+{code:04X}]"
