"""A function's digest does not depend on its formatting."""

import linecache
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import given, reject, settings
from hypothesis import strategies as st

from otel_ml.versions.definition import define
from tests.support.examples import examples

Draw = Callable[[st.SearchStrategy[Any]], Any]
CELL: Final = "<cell>"
LIMIT: Final = 3

_names = st.sampled_from(["a", "b", "total"])
_values = st.sampled_from(
    ["a", "b", "LIMIT", "1000", "1.5", "'text'", "f'{a}: {b!r:>4}'", "[a, b]"]
)
_simple = st.one_of(
    st.tuples(_names, _values).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.tuples(_names, _values).map(lambda pair: f"{pair[0]} += {pair[1]}"),
    _values.map(lambda value: f"return {value}"),
    st.just("pass"),
)
_heads = st.sampled_from(
    ["if a", "while b", "for a in b", "with a as b", "def inner(a, b=1)", "class Inner"]
)


@dataclass(frozen=True)
class Block:
    """A compound statement with its body."""

    head: str
    body: list[Any] = field(default_factory=list)


_statements: st.SearchStrategy[Any] = st.recursive(
    _simple,
    lambda inner: st.builds(Block, _heads, st.lists(inner, min_size=1, max_size=3)),
    max_leaves=8,
)
_bodies = st.lists(_statements, min_size=1, max_size=4)
# Other spellings of the same value.
_SPELLINGS: Final = {
    "1000": ["1_000", "0x3E8", "(1000)"],
    "1.5": ["15e-1", "1.50", "(1.5)"],
    "'text'": ['"text"', "'te' 'xt'", "'\\x74ext'", "(\n'text')"],
    "[a, b]": ["[a,b,]", "[\n  a,  # first\nb]", "([a, (b)])"],
    "a = ": ["a  =  ", "a = \\\n   "],
    "return ": ["return  "],
}


def written(draw: Draw, statements: list[Any], margin: str) -> list[str]:
    """Format statements with a random indent, blank lines and comments."""
    indent = margin + draw(st.sampled_from([" ", "  ", "    ", "\t"]))
    lines = []
    for statement in statements:
        lines += draw(st.sampled_from([[], [""], ["# a comment"], [indent + "# why", "  "]]))
        if isinstance(statement, Block):
            colon = draw(st.sampled_from([":", " :", ":  # begins"]))
            lines.append(f"{indent}{statement.head}{colon}")
            lines += written(draw, statement.body, indent)
            continue
        for plain, others in _SPELLINGS.items():
            statement = statement.replace(plain, draw(st.sampled_from([plain, *others])))  # noqa: PLW2901
        lines.append(indent + statement + draw(st.sampled_from(["", ";", "  # ends", "   "])))
    return lines


@st.composite
def layouts(draw: Draw) -> list[str]:
    """Generate one function in two layouts."""
    body = draw(_bodies)
    texts = []
    for _ in range(2):
        head = draw(st.sampled_from(["def model(a, b)", "def  model( a,b, ) ", "def model(a,\nb)"]))
        docstring = draw(st.sampled_from([[], ["'A text.'"], ['"""Another\ntext."""']]))
        lines = written(draw, [*docstring, *body], "")
        texts.append("\n".join([f"{head}:", *lines, ""]))
    return texts


def digest(text: str) -> str:
    """Return the digest of the function in a text that is run like a notebook's cell."""
    scope: dict[str, Any] = {"LIMIT": LIMIT}
    linecache.cache[CELL] = (len(text), None, text.splitlines(keepends=True), CELL)
    try:
        exec(compile(text, CELL, "exec"), scope)  # noqa: S102 - what is tested is made of text
        definition = define(scope["model"])
    except SyntaxError:  # a return inside a class
        reject()
    finally:
        del linecache.cache[CELL]
    assert definition.source is not None
    return definition.digest


@given(texts=layouts())
@settings(max_examples=examples(150))
def test_layout_does_not_count(texts: list[str]) -> None:
    """A function's digest ignores indents, blank lines, comments and spellings."""
    first, second = map(digest, texts)
    assert first == second
