"""Generates reference.md from the SDK's signatures and docstrings, without importing the SDK."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import griffe

from docs.markdown import Page, describe, fill, has_arguments, is_dataclass, signature

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "docs/reference.md"

# Public names that only otel-ml itself calls. The reference omits them.
INTERNAL: Final = (
    "runs.Handle.log_data_metrics",
    *("runs.Run.start_ns", "runs.Run.send_waiting", "runs.Run.announce"),
    *("judges.judge.Judge.definition", "judges.judge.Judge.steps"),
    *(
        f"profiles.components.Component.{member}"
        for member in (
            *("build", "check", "check_type", "kind", "read", "side", "tag_type", "to_dict"),
            *("validate", "where"),
        )
    ),
    *(f"profiles.components.EvalComponent.{member}" for member in ("read", "to_dict", "where")),
    *(
        f"profiles.scores.ProfileScore.{member}"
        for member in ("build", "contrast", "is_rate", "keep", "kind", "takes", "to_dict")
    ),
    *("profiles.scores.MeanScore.build", "profiles.scores.MeanScore.is_rate"),
    *("profiles.scores.PrecisionScore.build", "profiles.scores.PrecisionScore.other"),
    *(
        f"profiles.scores.ClassPrecisionScore.{member}"
        for member in ("build", "chosen", "takes", "to_dict")
    ),
    *("profiles.profile.ModelProfile.learn", "profiles.profile.ModelProfile.validate"),
)
# Classes that users create themselves, or whose subclasses they create, among classes that they
# only receive.
_MADE: Final = frozenset({"otel_ml.reader.reader.Reader", "otel_ml.profiles.components.Component"})
# Prefix of the reader's titles, because it has classes such as `Run` that the SDK also has.
_READER: Final = "reader."
_GOOGLE: Final[griffe.GoogleOptions] = {
    "returns_multiple_items": False,
    "returns_named_value": False,
}
_BEGINNING: Final = """\
# Reference

Every public name, from its docstring; `make docs` writes this page. What the names are for is in
the [tutorial](tutorial.md) and the [how-to pages](how-to/README.md).
"""
_DEFAULT_CLIENT: Final = "_CLIENT."


@dataclass(frozen=True)
class Entry:
    """A heading of the page and what it describes.

    Attributes:
        title: The text of the heading.
        level: The level of the heading.
        thing: The described object; None for a heading without a description.
        is_made: Whether users create it, so that the reference must list its arguments.
        also: Titles of inherited members and classes that are described elsewhere.
        module: The module to import it from, if the chapter does not name it.
    """

    title: str
    level: int
    thing: griffe.Object | None = None
    is_made: bool = True
    also: tuple[str, ...] = ()
    module: str = ""


@dataclass
class Reference:
    """Collects the objects to describe, each of them once.

    Attributes:
        package: The package that is described.
        internal: Paths of objects that users do not call.
        entries: The entries, in the order of the page.
        homes: The title that describes each path of the package.
    """

    package: griffe.Module
    internal: frozenset[str]
    entries: list[Entry] = field(default_factory=list)
    homes: dict[str, str] = field(default_factory=dict)

    def add_public(self) -> None:
        """Add the names in `otel_ml.__all__`."""
        for name in _exports(self.package):
            self._add(name, _target(self.package[name]), 2)

    def add_module(self, name: str, chapter: str = "") -> None:
        """Add new names in `__all__` of a module, with the prefix `chapter` in their titles."""
        module = _target(self.package[name])
        self.entries.append(Entry(module.path, 2, module))
        for exported in _exports(module):
            thing = _target(module[exported])
            if not self.homes.get(thing.path):
                self._add(chapter + exported, thing, 3, is_made=thing.path in _MADE)

    def add_types(self) -> None:
        """Add types that signatures mention and no other entry describes."""
        self.entries.append(Entry("Types", 2))
        done = 0
        while done < len(self.entries):
            for thing, is_given in self._named_by(self.entries[done]):
                if thing.path not in self.homes:
                    self._add(
                        thing.name,
                        thing,
                        3,
                        is_made=thing.path in _MADE or (is_given and is_dataclass(thing)),
                        module=thing.module.path,
                    )
            done += 1

    def _add(
        self,
        title: str,
        thing: griffe.Object,
        level: int,
        *,
        is_made: bool = True,
        module: str = "",
    ) -> None:
        self.homes[thing.path] = title
        if not isinstance(thing, griffe.Class):
            self.entries.append(Entry(title, level, thing, module=module))
            return
        own = [thing, *(base for base in thing.mro() if self._is_new(base))]
        members = [
            member for one in own for member in _members(one) if member.path not in self.internal
        ]
        also = tuple(self._known_of(thing))
        self.entries.append(Entry(title, level, thing, is_made, also, module))
        for base in own[1:]:
            self.homes[base.path] = ""
        for member in members:
            name = f"{title}.{member.name}"
            self.homes[member.path] = name
            self.entries.append(Entry(name, level + 1, member))

    def _is_new(self, base: griffe.Class) -> bool:
        return _is_ours(base.path) and base.path not in self.homes

    def _known_of(self, thing: griffe.Class) -> Iterator[str]:
        """Yield the titles of base classes, or of their members, that are already described."""
        for base in thing.mro():
            if self.homes.get(base.path):
                yield self.homes[base.path]
                return
            for member in base.members.values():
                if member.path in self.homes and base.path in self.homes:
                    yield self.homes[member.path]

    def _named_by(self, entry: Entry) -> Iterator[tuple[griffe.Object, bool]]:
        """Yield the types in a signature, and whether each is a parameter or is returned."""
        for expression, is_given in _expressions(entry):
            for name in expression.iterate(flat=True):
                if isinstance(name, griffe.ExprName) and _is_ours(name.canonical_path):
                    thing = _target(self.package[name.canonical_path.removeprefix("otel_ml.")])
                    if not _is_type_variable(thing):
                        yield thing, is_given


def write(reference: Reference) -> str:
    """Write the page."""
    page = Page([entry.title for entry in reference.entries])
    page.add(_BEGINNING)
    page.add("\n".join(_contents(reference, page)))
    for entry in reference.entries:
        page.chapter = _READER if entry.title.startswith(_READER) else ""
        page.add(f"{'#' * entry.level} {entry.title}")
        thing = entry.thing
        if isinstance(thing, griffe.Attribute) and str(thing.value).startswith(_DEFAULT_CLIENT):
            method = page.link("Client." + str(thing.value).removeprefix(_DEFAULT_CLIENT))
            page.add(f"{method} of a client that the [environment](configuration.md) sets up.")
        elif thing is not None:
            if (shown := signature(thing, entry.title, is_made=entry.is_made)) is not None:
                page.add(f"```python\n{shown}\n```")
            describe(page, thing, entry.title, is_made=entry.is_made)
        if entry.module:
            page.add(f"In `{entry.module}`.")
        if entry.also:
            page.add(fill(f"Inherited: {', '.join(map(page.link, entry.also))}."))
    return page.text


class _OptionTexts(griffe.Extension):
    """Gives each key of a `TypedDict` its description, so that arguments made of them have it."""

    def on_class_members(self, *, cls: griffe.Class, **_event: object) -> None:
        """Copy the descriptions from the section Attributes of the class."""
        if not any(str(base).endswith("TypedDict") for base in cls.bases):
            return
        for section in cls.docstring.parsed if cls.docstring else ():
            if isinstance(section, griffe.DocstringSectionAttributes):
                for one in section.value:
                    cls.members[one.name].docstring = griffe.Docstring(one.description)


def make() -> str:
    """Return the page for the current docstrings."""
    package = griffe.load(
        "otel_ml",
        search_paths=[ROOT],
        docstring_parser="google",
        docstring_options=_GOOGLE,
        extensions=griffe.load_extensions(_OptionTexts, griffe.UnpackTypedDictExtension),
        resolve_aliases=True,
    )
    if not isinstance(package, griffe.Module):
        raise TypeError(f"Found {package!r} as otel_ml: expected a package")
    internal = frozenset(_target(package[name]).path for name in INTERNAL)
    reference = Reference(package, internal)
    reference.add_public()
    reference.add_module("types")
    reference.add_module("profiles")
    reference.add_module("testing")
    reference.add_module("reader", _READER)
    reference.add_types()
    return write(reference)


def _contents(reference: Reference, page: Page) -> Iterator[str]:
    for entry in reference.entries:
        if entry.level == 2:  # noqa: PLR2004 - headings directly below the title
            yield f"* {page.link(entry.title)}"


def _expressions(entry: Entry) -> Iterator[tuple[griffe.Expr, bool]]:
    thing = entry.thing
    given: list[object] = []
    returned: list[object] = []
    if isinstance(thing, griffe.Class) and not (entry.is_made and has_arguments(thing)):
        return
    if isinstance(thing, griffe.Class | griffe.Function):
        for parameter in thing.parameters:
            given += [parameter.annotation, parameter.default]
    if isinstance(thing, griffe.Function):
        returned.append(thing.returns)
    if isinstance(thing, griffe.Attribute):
        is_property = "property" in thing.labels
        (returned if is_property else given).append(
            thing.annotation if is_property else thing.value
        )
    for found, is_given in ((given, True), (returned, False)):
        yield from ((one, is_given) for one in found if isinstance(one, griffe.Expr))


def _members(thing: griffe.Class) -> Iterator[griffe.Object]:
    for member in thing.members.values():
        is_described = isinstance(member, griffe.Function) or "property" in member.labels
        if is_described and not member.name.startswith("_"):
            yield _target(member)


def _target(thing: griffe.Object | griffe.Alias) -> griffe.Object:
    found = thing.final_target if isinstance(thing, griffe.Alias) else thing
    if not isinstance(found, griffe.Object):
        raise TypeError(f"Found {found!r}: expected a part of the package")
    return found


def _exports(module: griffe.Object) -> list[str]:
    return [str(name) for name in module.exports or ()]


def _is_ours(path: str) -> bool:
    return path.startswith("otel_ml.") and "._" not in path


def _is_type_variable(thing: griffe.Object) -> bool:
    value = str(thing.value) if isinstance(thing, griffe.Attribute) else ""
    return value.startswith(("TypeVar(", "ParamSpec("))


if __name__ == "__main__":
    TARGET.write_text(make())
