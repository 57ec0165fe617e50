"""Binding the arguments of a call to parameter names."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from otel_ml.functions import make_binder


class Model:
    def method(self, a: int, b: int = 2) -> None: ...

    def keywords(self, a: int, *, b: int = 2) -> None: ...

    @classmethod
    def of_class(cls, a: int) -> None: ...

    @staticmethod
    def of_nothing(a: int) -> None: ...

    def __call__(self, a: int) -> None: ...

    def factory(self) -> Callable[..., None]:
        def inner(self: int, a: int) -> None: ...

        return inner


def plain(a: int, b: int) -> None: ...
def defaults(a: int, b: int = 2, c: Any = None) -> None: ...
def positional_only(a: int, b: int = 2, /) -> None: ...
def keyword_only(a: int, *, b: int = 2, c: int) -> None: ...
def rest(a: int, *others: int) -> None: ...
def options(a: int, **others: int) -> None: ...
def everything(a: int, /, b: int, *others: int, c: int = 3, **more: int) -> None: ...
def nothing() -> None: ...
def named_self(self: int, a: int) -> None: ...
def named_cls(cls: int) -> None: ...
def named_as_ours(args: int, kwargs: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "expected"),
    [
        (plain, (1, 2), {}, {"a": 1, "b": 2}),
        (plain, (1,), {"b": 2}, {"a": 1, "b": 2}),
        (plain, (), {"b": 2, "a": 1}, {"a": 1, "b": 2}),
        (defaults, (1,), {}, {"a": 1, "b": 2, "c": None}),
        (defaults, (1,), {"c": 3}, {"a": 1, "b": 2, "c": 3}),
        (positional_only, (1,), {}, {"a": 1, "b": 2}),
        (keyword_only, (1,), {"c": 3}, {"a": 1, "b": 2, "c": 3}),
        (rest, (1, 2, 3), {}, {"a": 1, "others": (2, 3)}),
        (rest, (1,), {}, {"a": 1, "others": ()}),
        (options, (1,), {"x": 2}, {"a": 1, "others": {"x": 2}}),
        (options, (1,), {}, {"a": 1, "others": {}}),
        (
            everything,
            (1, 2, 3),
            {"d": 4, "a": 5},
            {"a": 1, "b": 2, "others": (3,), "c": 3, "more": {"d": 4, "a": 5}},
        ),
        (nothing, (), {}, {}),
        (named_self, (1, 2), {}, {"self": 1, "a": 2}),
        (named_cls, (1,), {}, {"cls": 1}),
        (named_as_ours, (1, 2), {}, {"args": 1, "kwargs": 2}),
        (Model.method, (Model(), 1), {}, {"a": 1, "b": 2}),
        (Model().method, (1,), {}, {"a": 1, "b": 2}),
        (Model.keywords, (Model(), 1), {"b": 3}, {"a": 1, "b": 3}),
        (Model.of_class, (1,), {}, {"a": 1}),
        (Model.of_nothing, (1,), {}, {"a": 1}),
        (Model(), (1,), {}, {"a": 1}),
        (Model.__call__, (Model(), 1), {}, {"a": 1}),
        (Model().factory(), (1, 2), {}, {"self": 1, "a": 2}),
        (functools.partial(plain, 1), (2,), {}, {"b": 2}),
        (lambda x, y=2: x, (1,), {}, {"x": 1, "y": 2}),
        (len, ([1],), {}, {"obj": [1]}),
        (dict, (), {"a": 1}, {"args": [], "a": 1}),
    ],
)
def test_arguments_have_their_names(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    """Inputs have the parameter names and include defaults, but not the method's object."""
    assert make_binder(function)(args, kwargs) == expected


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "expected"),
    [
        (plain, (1, 2, 3), {}, {"args": [1, 2, 3]}),
        (plain, (1,), {}, {"a": 1}),
        (plain, (1, 2), {"x": 3}, {"a": 1, "b": 2, "x": 3}),
        (nothing, (1,), {}, {"args": [1]}),
        (keyword_only, (1, 2), {}, {"args": [1, 2]}),
        (Model.method, (Model(), 1, 2, 3), {}, {"args": [1, 2, 3]}),
    ],
)
def test_wrong_call_is_kept(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    """Arguments that do not fit the signature are kept, and binding them does not raise."""
    assert make_binder(function)(args, kwargs) == expected


def test_binding_changes_nothing() -> None:
    """The given arguments are not changed."""
    kwargs = {"b": 2}
    make_binder(defaults)((1,), kwargs)
    assert kwargs == {"b": 2}
