"""Raymon's tags: a name, a value, a type and a group."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from otel_ml.profiles.components import DataException
from otel_ml.tags import Tag as OwnTag

AnyTag = OwnTag | Mapping[str, Any]

_REFUSED: Final = re.compile(r"[^a-z0-9_\-@./]")


class Tag(OwnTag):
    """A tag as in raymon: a name and a value, with a type and a group.

    Args:
        name: Name of the tag. Upper case becomes lower case, and spaces become ``_``. Characters
            other than ASCII letters, digits and ``_-@./`` are removed.
        value: A text, number or bool. A text such as ``"3.5"`` can be compared with numbers.
        type: Any text. raymon uses ``label``, ``metric``, ``vector`` and ``error``. For values of a
            profile it uses ``profile-input``, ``profile-output``, ``profile-actual`` and
            ``profile-score``, and for their errors ``profile-input-error`` and so on.
        group: Any text that groups tags, such as the name of the profile that created them.

    Raises:
        ValueError: The name is not text, or no characters of it are left.
    """

    __slots__ = ()

    def __init__(
        self, name: str, value: object, type: str | None = None, group: str | None = None
    ) -> None:
        super().__init__(normalize(name), value, type, group)

    def to_jcr(self) -> dict[str, Any]:
        """Return the tag as a dictionary for a JSON file."""
        return {"type": self.type, "name": self.name, "value": self.value, "group": self.group}

    @classmethod
    def from_jcr(cls, jcr: Mapping[str, Any]) -> "Tag":
        """Create a tag from what `to_jcr` returned."""
        return cls(**jcr)


def normalize(name: str) -> str:
    """Convert a tag name to lower case, and remove characters that tag names cannot contain.

    For the allowed characters, see `Tag`.

    Raises:
        ValueError: The name is not text, or contains no allowed character.
    """
    if not isinstance(name, str):
        raise DataException(f"Invalid tag name {name!r}: expected text")
    kept = _REFUSED.sub("", name.replace(" ", "_").lower()).rstrip("_")
    if not kept:
        raise ValueError(f"Invalid tag name {name!r}: expected a letter, digit or one of -@./")
    return kept


def read_tags(tags: Iterable[AnyTag]) -> list[Tag]:
    """Convert a mix of `Tag` objects and dictionaries to tags.

    Raises:
        DataException: An element is neither a `Tag` nor the dict of a tag.
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
