"""Raymon's tags: a name of few characters, a value, a type and a group."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from otel_ml.profiles.components import DataException
from otel_ml.tags import Tag as OwnTag

AnyTag = OwnTag | Mapping[str, Any]

_REFUSED: Final = re.compile(r"[^a-z0-9_\-@./]")


class Tag(OwnTag):
    """A tag whose name is normalised.

    Args:
        name: In lower case, blanks as ``_``; characters other than letters of ASCII, digits and
            ``_-@./`` are left out.
        value: A text, number or bool. Text that is a number can be compared with numbers.
        type: Any text. Raymon knows label, metric, vector, error, and profile-input, -output,
            -actual and -score with their errors, such as profile-input-error.
        group: The group of the tag.

    Raises:
        ValueError: The name is no text, or nothing is left of it.
    """

    __slots__ = ()

    def __init__(
        self, name: str, value: object, type: str | None = None, group: str | None = None
    ) -> None:
        super().__init__(normalize(name), value, type, group)

    def to_jcr(self) -> dict[str, Any]:
        """Return the tag as a dict that JSON has a form for."""
        return {"type": self.type, "name": self.name, "value": self.value, "group": self.group}

    @classmethod
    def from_jcr(cls, jcr: Mapping[str, Any]) -> "Tag":
        """Read the dict that `to_jcr` returns."""
        return cls(**jcr)


def normalize(name: str) -> str:
    """Return the name under which a tag is stored.

    Raises:
        ValueError: It is no text, or nothing is left of it.
    """
    if not isinstance(name, str):
        raise DataException(f"Invalid tag name {name!r}: expected text")
    kept = _REFUSED.sub("", name.replace(" ", "_").lower()).rstrip("_")
    if not kept:
        raise ValueError(f"Invalid tag name {name!r}: expected a letter, digit or one of -@./")
    return kept


def read_tags(tags: Iterable[AnyTag]) -> list[Tag]:
    """Read tags of both forms.

    Raises:
        DataException: An item is neither a `Tag` nor the dict of a tag.
    """
    return [_read(tag) for tag in tags]


def _read(tag: object) -> Tag:
    if isinstance(tag, OwnTag):
        return Tag(tag.name, tag.value, tag.type, tag.group)
    if not isinstance(tag, Mapping):
        raise DataException(f"Invalid tag of type {type(tag).__name__}: expected a Tag or a dict")
    try:
        return Tag.from_jcr(tag)
    except TypeError as error:
        raise DataException(
            f"Invalid tag with keys {sorted(map(str, tag))}: expected name, value, type and group"
        ) from error
