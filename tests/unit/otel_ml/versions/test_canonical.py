"""Syntax and values as canonical text."""

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
    """Constants that compare equal and are not the same read differently."""
    assert canonical_value(value) == expected


@pytest.mark.parametrize("value", ["é", "語", "🫨", ("é",)])
def test_constant_is_ascii(value: object) -> None:
    """A constant's text is ASCII: what `repr` holds for printable grows with each Python."""
    assert canonical_value(value).isascii()


def test_huge_number_is_written() -> None:
    """A number of more digits than Python writes is a constant like others."""
    assert canonical_value(2**20_000) != canonical_value(2**20_001)


def canonical_of(text: str, without: frozenset[str] = frozenset()) -> str:
    [node] = ast.parse(text).body
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return canonical(node, without)


def test_canonical_text_is_readable() -> None:
    """The canonical text names nodes and fields, without empty ones."""
    assert canonical_of("def f(a, b=1): return a") == (
        "FunctionDef(args=arguments(args=[arg(arg='a'),arg(arg='b')],"
        "defaults=[Constant(value=int:1)]),body=[Return(value=Name(id='a'))])"
    )


def test_deep_syntax_has_a_canonical_text() -> None:
    """A long chain of conditions, which nests in the syntax tree, is read to its end."""
    chain = "".join(f"    elif a == {n}: return {n}\n" for n in range(400))
    first = canonical_of(f"def f(a):\n    if a: return 0\n{chain}")
    assert "int:399" in first


def test_head_and_body_are_written_apart() -> None:
    """A function's parameters and its body can each be left out."""
    text = "def f(a) -> int: return a"
    assert canonical_of(text, HEAD) == "FunctionDef(body=[Return(value=Name(id='a'))])"
    assert canonical_of(text, BODY) == (
        "FunctionDef(args=arguments(args=[arg(arg='a')]),returns=Name(id='int'))"
    )
