"""The outer names that a function reads, found from its syntax and from its code."""

import ast
from typing import Any

import pytest

from otel_ml.versions.code import Read
from otel_ml.versions.scopes import ReadingFunction


def reads(text: str, *, by_code: bool = False) -> list[Read]:
    scope: dict[str, Any] = {}
    exec(text, scope)  # noqa: S102 - the test's own text
    [node] = [item for item in ast.parse(text).body if isinstance(item, ast.FunctionDef)]
    return ReadingFunction.of(scope[node.name]).reads(None if by_code else node)


@pytest.mark.parametrize("by_code", [False, True])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(a): return a", []),
        ("def f(a): return a + LIMIT", [("LIMIT",)]),
        ("def f(a): return config.PROMPT", [("config",), ("config", "PROMPT")]),
        ("def f(a): return [LIMIT for _ in a]", [("LIMIT",)]),
        ("def f(a): return (lambda: LIMIT)()", [("LIMIT",)]),
        ("def f(a):\n    def g(): return LIMIT\n    return g", [("LIMIT",)]),
        ("def f(a):\n    LIMIT = a\n    return LIMIT", []),
    ],
)
def test_reads_are_what_comes_from_outside(text: str, expected: list[Read], by_code: bool) -> None:
    """A function reads the names that it uses and does not define."""
    assert reads(text, by_code=by_code) == expected


def test_attributes_are_followed() -> None:
    """A chain of attributes counts as a read of each of its prefixes."""
    assert reads("def f(): return a.b.c") == [("a",), ("a", "b"), ("a", "b", "c")]


@pytest.mark.parametrize("by_code", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "def f(a):\n    text = a.text\n    return text",
        "def f(a):\n    text = a\n    return [text for _ in a]",
        "def f(a):\n    text = a\n    return lambda: text",
        "def f(a):\n    text = a\n    def g(): return text\n    return g",
    ],
)
def test_local_name_is_not_read_from_outside(text: str, by_code: bool) -> None:
    """A name that the function defines is local, even if inner functions read it."""
    assert ("text",) not in reads(text, by_code=by_code)
