"""Canonical text of syntax and values."""

import ast

import pytest

from otel_ml.versions.canonical import BODY, HEAD, canonical, canonical_value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "int:1"),
        (True, "bool:True"),
        ("1", "str:'1'"),
        (1.0, "float:1.0"),
        (None, "NoneType:None"),
        (b"a", "bytes:b'a'"),
        (("a", (1, True)), "(str:'a',(int:1,bool:True))"),
        (frozenset({2, 1}), "{int:1,int:2}"),
    ],
)
def test_constant_is_written_with_its_type(value: object, expected: str) -> None:
    """Constants of different types have different texts, even if they compare equal."""
    assert canonical_value(value) == expected


@pytest.mark.parametrize("value", ["é", "語", "🫨", ("é",)])
def test_constant_is_ascii(value: object) -> None:
    """A constant's text is ASCII, because `repr` prints more characters in each new Python."""
    assert canonical_value(value).isascii()


def test_huge_number_is_written() -> None:
    """A number with more digits than Python agrees to print still has a text."""
    assert canonical_value(2**20_000) != canonical_value(2**20_001)


def canonical_of(text: str, without: frozenset[str] = frozenset()) -> str:
    [node] = ast.parse(text).body
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return canonical(node, without)


def test_canonical_text_is_readable() -> None:
    """The canonical text names nodes and fields, and leaves out empty ones."""
    assert canonical_of("def f(a, b=1): return a") == (
        "FunctionDef(args=arguments(args=[arg(arg='a'),arg(arg='b')],"
        "defaults=[Constant(value=int:1)]),body=[Return(value=Name(id='a'))])"
    )


def test_deep_syntax_has_a_canonical_text() -> None:
    """A long chain of conditions, which is deeply nested syntax, has a canonical text."""
    chain = "".join(f"    elif a == {n}: return {n}\n" for n in range(400))
    first = canonical_of(f"def f(a):\n    if a: return 0\n{chain}")
    assert "int:399" in first


def test_head_and_body_are_written_apart() -> None:
    """A function's parameters or its body can be left out of the text."""
    text = "def f(a) -> int: return a"
    assert canonical_of(text, HEAD) == "FunctionDef(body=[Return(value=Name(id='a'))])"
    assert canonical_of(text, BODY) == (
        "FunctionDef(args=arguments(args=[arg(arg='a')]),returns=Name(id='int'))"
    )
