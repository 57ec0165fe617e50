"""Source code read as structure."""

import ast
import functools
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from otel_ml.source import (
    canonical,
    canonical_value,
    function_node,
    global_reads,
    own_source,
    plain_function,
    source_text,
)
from tests.otel_ml.written import imported

OFFSET = 2


def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


@decorate
def decorated(a: int) -> int:
    """Docstring."""
    # comment
    return a + OFFSET


class Model:
    def method(self, a: int) -> int:
        return a

    def __call__(self, a: int) -> int:
        return a


def plain(target: Callable[..., Any]) -> FunctionType:
    found = plain_function(target)
    assert found is not None
    return found


def read(function: FunctionType) -> tuple[str, ast.AST]:
    source = source_text(function)
    assert source is not None
    node = function_node(source, function)
    assert node is not None
    return own_source(source, node), node


def test_decorators_are_not_part_of_the_source() -> None:
    """A decorated function's own source is its def, comments included."""
    text, _ = read(plain(decorated))
    assert text == (
        'def decorated(a: int) -> int:\n    """Docstring."""\n    # comment\n    return a + OFFSET'
    )


def test_lambda_is_cut_out_of_its_statement() -> None:
    """A lambda's own source is the lambda, without what is around it."""
    double = {"a": lambda x, y=OFFSET: x * y}["a"]
    assert read(plain(double))[0] == "lambda x, y=OFFSET: x * y"


def test_one_of_two_lambdas_is_not_guessed() -> None:
    """Of two lambdas in one statement none is taken for the other."""
    first, _ = lambda x: x, lambda x: -x
    source = source_text(plain(first))
    assert source is not None
    assert function_node(source, plain(first)) is None


def test_method_with_text_at_the_margin_has_a_node(tmp_path: Path) -> None:
    """A method whose text reaches the left margin, as prompts do, is read like any other."""
    text = 'class Model:\n    def method(self):\n        return """\nAnswer\n"""\n'
    with imported(tmp_path, {"shop.model": text}, "shop.model") as m:
        own, _ = read(m.Model.method)
    assert own == 'def method(self):\n        return """\nAnswer\n"""'


@pytest.mark.parametrize(
    "target",
    [
        decorated,
        Model().method,
        Model.method,
        Model(),
        functools.partial(decorated, 1),
        functools.partial(Model().method, 1),
        functools.partialmethod(decorated, 1),
        staticmethod(decorated),
        classmethod(decorated),
    ],
)
def test_function_is_found_behind_wrappers(target: Callable[..., Any]) -> None:
    """The function behind decorators, methods, partials and callable objects is found."""
    assert plain(target).__name__ in {"decorated", "method", "__call__"}


@pytest.mark.parametrize("target", [len, print, str.upper, "a".upper, int, dict, object()])
def test_builtins_have_no_function(target: Any) -> None:
    """What is not written in Python has no function."""
    assert plain_function(target) is None


def test_inherited_call_is_found() -> None:
    """A callable object whose class inherits its call is that call."""

    class Child(Model):
        pass

    assert plain(Child()) is Model.__call__


def test_callable_object_with_a_function_is_its_own_call() -> None:
    """An object that holds a function under `func` is what its own call does."""

    class Retry:
        def __init__(self, func: Callable[..., Any]) -> None:
            self.func = func

        def __call__(self) -> Any:
            return self.func() or self.func()

    assert plain(Retry(decorated)) is Retry.__call__


def test_wrappers_without_end_are_left() -> None:
    """A function that wraps itself ends the search."""

    def loop() -> None: ...

    loop.__wrapped__ = loop  # type: ignore[attr-defined]  # that is the trap
    assert plain_function(loop) is None


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


def reads(text: str) -> list[tuple[str, str | None]]:
    scope: dict[str, Any] = {}
    exec(text, scope)  # noqa: S102 - the test's own text
    [node] = [item for item in ast.parse(text).body if isinstance(item, ast.FunctionDef)]
    return global_reads(node, scope[node.name].__code__)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(a): return a", []),
        ("def f(a): return a + LIMIT", [("LIMIT", None)]),
        ("def f(a): return config.PROMPT", [("config", None), ("config", "PROMPT")]),
        ("def f(a): return [LIMIT for _ in a]", [("LIMIT", None)]),
        ("def f(a): return (lambda: LIMIT)()", [("LIMIT", None)]),
        ("def f(a):\n    def g(): return LIMIT\n    return g", [("LIMIT", None)]),
        ("def f(a):\n    LIMIT = a\n    return LIMIT", []),
    ],
)
def test_reads_are_what_comes_from_outside(
    text: str, expected: list[tuple[str, str | None]]
) -> None:
    """A function reads from outside what it names and does not make itself."""
    assert reads(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "def f(a):\n    text = a.text\n    return text",
        "def f(a):\n    text = a\n    return [text for _ in a]",
        "def f(a):\n    text = a\n    return lambda: text",
        "def f(a):\n    text = a\n    def g(): return text\n    return g",
    ],
)
def test_local_name_is_not_read_from_outside(text: str) -> None:
    """A name that the function makes is its own, also where inner functions read it."""
    assert ("text", None) not in reads(text)


def canonical_of(text: str) -> str:
    [node] = ast.parse(text).body
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return canonical(node)


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
