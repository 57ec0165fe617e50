"""Converts signatures and Google-style docstrings to Markdown."""

import dataclasses
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Final

import griffe

_WIDTH: Final = 100
_CODE: Final = re.compile(r"``(.+?)``|`([^`]+)`", re.DOTALL)
_TYPE: Final = re.compile(r"(?<![\w.'\"])[A-Z]\w*(?![\w.'\"])")
_KIND: Final = griffe.ParameterKind
_STARS: Final = {_KIND.var_positional: "*", _KIND.var_keyword: "**"}


class Page:
    """A Markdown page that links names to its headings.

    Args:
        titles: All headings, in order.
    """

    def __init__(self, titles: Sequence[str]) -> None:
        self.chapter = ""  # prefix of the chapter's titles; links prefer titles with it
        self._parts: list[str] = []
        self._anchors: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for title in titles:
            slug = anchor(title)
            self._anchors[title] = f"{slug}-{counts[slug]}" if counts[slug] else slug
            counts[slug] += 1

    @property
    def text(self) -> str:
        """The Markdown of the page."""
        return "\n\n".join(part.strip("\n") for part in self._parts) + "\n"

    def add(self, part: str) -> None:
        """Add a block of Markdown."""
        if part:
            self._parts.append(part)

    def add_text(self, text: str, title: str) -> None:
        """Add the paragraphs of the docstring below the heading `title`."""
        for paragraph in text.split("\n\n"):
            self.add(fill(self._linked(paragraph, title)))

    def add_items(self, items: Iterable[tuple[str, str]], title: str) -> None:
        """Add a list of names, in Markdown, with their descriptions."""
        lines = [
            fill(f"* {name}: {self._linked(text, title)}" if text else f"* {name}", "  ")
            for name, text in items
        ]
        self.add("\n".join(lines))

    def add_named(self, name: str, text: str, title: str) -> None:
        """Add a paragraph with a name, in Markdown, and its description."""
        self.add(fill(f"{name}: {self._linked(text, title)}"))

    def link(self, title: str) -> str:
        """Return a link to a heading, or the title as code if there is no such heading."""
        known = self._anchors.get(self.chapter + title) or self._anchors.get(title)
        return f"`{title}`" if known is None else f"[`{title}`](#{known})"

    def type(self, annotation: object) -> str:
        """Return an annotation with links to the types that the page describes."""
        text = _code(annotation)
        parts, at = [], 0
        for found in _TYPE.finditer(text):
            if {found[0], self.chapter + found[0]} & self._anchors.keys():
                parts += [text[at : found.start()], self.link(found[0])]
                at = found.end()
        parts.append(text[at:])
        return "".join(
            part if number % 2 or not part else f"`{part}`" for number, part in enumerate(parts)
        )

    def _linked(self, text: str, title: str) -> str:
        scope = title.partition(".")[0]

        def replace(found: re.Match[str]) -> str:
            if found[1]:
                return f"`{found[1]}`"
            name = found[2].removeprefix("otel_ml.")
            known = (f"{scope}.{found[2]}", name)
            shown = next((one for one in known if one in self._anchors), None)
            return f"`{found[2]}`" if shown is None else f"[`{found[2]}`](#{self._anchors[shown]})"

        return _CODE.sub(replace, text)


def fill(text: str, indent: str = "") -> str:
    """Wrap a paragraph. The lines of lists and tables stay unchanged."""
    if text.startswith(("* ", "| ")) and not indent:
        return text
    return textwrap.fill(
        " ".join(text.split()),
        _WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def anchor(title: str) -> str:
    """Return the anchor of a heading, for its first occurrence on a page."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def signature(thing: griffe.Object, title: str, *, is_made: bool) -> str | None:
    """Return the signature or the value of an object, or None if it has neither."""
    if isinstance(thing, griffe.Attribute):
        if "property" in thing.labels:
            return f"{title}: {_code(thing.annotation)}"
        return _assigned(title, thing.value)
    if isinstance(thing, griffe.Function):
        returns = f" -> {_returns(thing)}"
        prefix = "async def " if "async" in thing.labels else ""
        return _call(prefix + title, thing.parameters, returns)
    if isinstance(thing, griffe.Class):
        bases = [str(base) for base in thing.bases]
        is_error = any(base.endswith(("Error", "Exception")) for base in bases)
        if is_error:
            return f"class {title}({', '.join(bases)})"
        return _call(title, thing.parameters, "") if is_made and has_arguments(thing) else None
    return None


def describe(page: Page, thing: griffe.Object, title: str, *, is_made: bool) -> None:
    """Add the sections of an object's docstring to the page."""
    for section in _sections(thing):
        if isinstance(section, griffe.DocstringSectionText):
            page.add_text(section.value, title)
        elif isinstance(section, griffe.DocstringSectionParameters) and is_made:
            page.add_items(_parameter_items(page, section), title)
        elif isinstance(section, griffe.DocstringSectionReturns):
            _check_return(thing, section)
            page.add_named(f"Returns {_returned(page, thing)}", section.value[0].description, title)
        elif isinstance(section, griffe.DocstringSectionRaises):
            for one in section.value:
                page.add_named(f"Raises {page.type(one.annotation)}", one.description, title)
    if isinstance(thing, griffe.Class) and is_dataclass(thing):
        page.add_items(_fields(page, thing), title)
    if isinstance(thing, griffe.Function) and not _describes_return(thing):
        returned = _returned(page, thing)
        page.add(f"Returns {returned}." if "](" in returned else "")


def _parameter_items(
    page: Page, section: griffe.DocstringSectionParameters
) -> Iterable[tuple[str, str]]:
    return ((_typed(page, one.name, one.annotation), one.description) for one in section.value)


def _describes_return(thing: griffe.Object) -> bool:
    return any(isinstance(one, griffe.DocstringSectionReturns) for one in _sections(thing))


def _check_return(thing: griffe.Object, section: griffe.DocstringSectionReturns) -> None:
    """Raise an error if griffe read text before a colon as the type of the return value."""
    if isinstance(thing, griffe.Function) and section.value[0].annotation is not thing.returns:
        raise ValueError(f"Invalid Returns of {thing.path}: expected a text without a colon")


def _returned(page: Page, thing: griffe.Object) -> str:
    if not isinstance(thing, griffe.Function):
        return ""
    return page.type(_returns(thing))


def _returns(function: griffe.Function) -> str:
    """Return the return type. For a context manager, name the context manager's type."""
    text = _code(function.returns)
    decorators = {str(decorator.value) for decorator in function.decorators}
    is_block = "contextmanager" in decorators
    return text.replace("Iterator", "AbstractContextManager", 1) if is_block else text


def _sections(thing: griffe.Object) -> list[griffe.DocstringSection]:
    return [] if thing.docstring is None else thing.docstring.parsed


def _fields(page: Page, thing: griffe.Class) -> Iterable[tuple[str, str]]:
    """Yield the fields of a dataclass with descriptions from its docstring or field metadata."""
    made = getattr(import_module(thing.module.path), thing.name)
    texts = {one.name: _as_python(one.metadata) for one in dataclasses.fields(made)} | {
        one.name: one.description
        for section in _sections(thing)
        if isinstance(section, griffe.DocstringSectionAttributes)
        for one in section.value
    }
    for parameter in thing.parameters:
        if parameter.name != "self" and not parameter.name.startswith("_"):
            name = _typed(page, parameter.name, parameter.annotation)
            yield name, texts.get(parameter.name, "")


def _as_python(metadata: Mapping[str, str]) -> str:
    """Return the description of a record's field, with JSON's `null` as `None`."""
    text = metadata.get("description", "").replace("null", "None")
    return text if not text or text.endswith(".") else f"{text}."


def _typed(page: Page, name: str, annotation: object) -> str:
    return f"`{name}` ({page.type(annotation)})" if annotation is not None else f"`{name}`"


def _call(name: str, parameters: griffe.Parameters, returns: str) -> str:
    shown = list(_parameters(parameters))
    line = f"{name}({', '.join(shown)}){returns}"
    if len(line) <= _WIDTH:
        return line
    lines = "".join(f"    {one},\n" for one in shown)
    return f"{name}(\n{lines}){returns}"


def _assigned(name: str, value: object) -> str:
    line = f"{name} = {_code(value)}"
    if len(line) <= _WIDTH or not isinstance(value, griffe.ExprTuple):
        return line
    lines = "".join(f"    {_code(one)},\n" for one in value.elements)
    return f"{name} = (\n{lines})"


def _parameters(parameters: griffe.Parameters) -> Iterable[str]:
    before: griffe.ParameterKind | None = None
    for one in parameters:
        if one.name == "self":
            continue
        kind = one.kind
        if before is _KIND.positional_only and kind is not before:
            yield "/"
        if kind is _KIND.keyword_only and before not in {kind, _KIND.var_positional}:
            yield "*"
        text = _STARS.get(kind or _KIND.positional_or_keyword, "") + one.name
        if one.annotation is not None:
            text += f": {_code(one.annotation)}"
        if one.default is not None and kind not in _STARS:
            text += f" = {_code(one.default)}"
        yield text
        before = kind
    if before is _KIND.positional_only:
        yield "/"


def has_arguments(thing: griffe.Class) -> bool:
    """Return whether the arguments of a class are documented."""
    return is_dataclass(thing) or any(
        isinstance(section, griffe.DocstringSectionParameters) for section in _sections(thing)
    )


def _code(expression: object) -> str:
    """Return an expression with double quotes, as ruff formats it."""
    return str(expression).replace("'", '"')


def is_dataclass(thing: griffe.Object) -> bool:
    """Return whether a class is a dataclass."""
    return "dataclass" in thing.labels
