"""The definition of callables of every kind, with and without source."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from otel_ml.versions.definition import define


class Base:
    def __call__(self, a: int) -> int:
        return a + 1

    def method(self, a: int) -> int:
        return a + 2


class Child(Base):
    pass


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


@pytest.mark.parametrize(
    ("target", "source"),
    [
        pytest.param(Base().method, "return a + 2", id="bound method"),
        pytest.param(Base.method, "return a + 2", id="function of a class"),
        pytest.param(Base(), "return a + 1", id="callable object"),
        pytest.param(Child(), "return a + 1", id="inherited call"),
        pytest.param(functools.partial(Base().method, 1), "return a + 2", id="partial"),
        pytest.param(wrapped(Base.method), "return a + 2", id="wrapped"),
        pytest.param(wrapped(wrapped(Base.method)), "return a + 2", id="wrapped twice"),
        pytest.param(lambda a: a + 3, "a + 3", id="lambda"),
    ],
)
def test_source_is_found(target: Callable[..., Any], source: str) -> None:
    """The source is that of the innermost function, whatever wraps it."""
    found = define(target).source
    assert found is not None
    assert found.endswith(source)


def scale(a: int, factor: int = 1) -> int:
    return a * factor


def test_bound_arguments_of_a_partial_count() -> None:
    """A function and partials of it with different arguments have different versions."""
    targets: list[Callable[..., int]] = [
        scale,
        functools.partial(scale, factor=2),
        functools.partial(scale, factor=3),
    ]
    assert len({define(target).digest for target in targets}) == 3


def run_text(text: str) -> Callable[..., Any]:
    scope: dict[str, Any] = {"__name__": "console"}
    exec(text, scope)  # noqa: S102 - a function as a console makes it
    function: Callable[..., Any] = scope["model"]
    return function


def test_function_without_source_has_a_digest() -> None:
    """A function typed in a console has no source and a digest of its code."""
    definitions = [define(run_text(f"def model(a):\n    return a + {n}\n")) for n in (1, 1, 2)]
    assert [definition.source for definition in definitions] == [None] * 3
    assert definitions[0].digest == definitions[1].digest
    assert definitions[0].digest != definitions[2].digest


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("def model(a=1): return a", "def model(a=2): return a", id="default"),
        pytest.param("X = 1\ndef model(): return X", "X = 2\ndef model(): return X", id="constant"),
    ],
)
def test_function_without_source_counts_its_values(first: str, second: str) -> None:
    """Defaults and constants also count for a function without source."""
    assert define(run_text(first)).digest != define(run_text(second)).digest


@pytest.mark.parametrize("target", [len, print, str.upper, "a".upper, int, dict.fromkeys])
def test_anything_has_a_digest(target: Any) -> None:
    """A callable that is not a Python function has a digest and no source."""
    definition = define(target)
    assert len(bytes.fromhex(definition.digest)) == 8
    assert definition.source is None
