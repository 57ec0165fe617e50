"""Binding arguments to names, compared with `inspect`."""

import inspect
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.capture.values import encode
from otel_ml.functions import make_binder
from tests.support.examples import examples

Draw = Callable[[st.SearchStrategy[Any]], Any]
Call = tuple[tuple[Any, ...], dict[str, Any]]

NAMES = ["a", "b", "c", "d", "args", "kwargs", "self", "cls"]
POSITIONAL = {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}
BY_NAME = {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}
_kinds = st.sampled_from(
    [
        Parameter.POSITIONAL_ONLY,
        Parameter.POSITIONAL_OR_KEYWORD,
        Parameter.POSITIONAL_OR_KEYWORD,
        Parameter.VAR_POSITIONAL,
        Parameter.KEYWORD_ONLY,
        Parameter.VAR_KEYWORD,
    ]
)


@st.composite
def signatures(draw: Draw, first: str | None = None) -> Signature:
    """Generate any signature that a `def` may have; `first` names a method's object."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=6))
    kinds = sorted(draw(_kinds) for _ in names)
    parameters: list[Parameter] = []
    if first is not None:
        names = [name for name in names if name != first]
        only = Parameter.POSITIONAL_ONLY in kinds or draw(st.booleans())
        kind = Parameter.POSITIONAL_ONLY if only else Parameter.POSITIONAL_OR_KEYWORD
        parameters.append(Parameter(first, kind))
    defaulted = False
    for name, kind in zip(names, kinds, strict=False):
        if kind in {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}:
            if kind not in {parameter.kind for parameter in parameters}:
                parameters.append(Parameter(name, kind))
            continue
        required = draw(st.booleans()) and not (defaulted and kind in POSITIONAL)
        defaulted |= not required
        default = Parameter.empty if required else draw(st.integers(90, 99) | st.none())
        parameters.append(Parameter(name, kind, default=default))
    return Signature(parameters)


@st.composite
def fitting_calls(draw: Draw, signature: Signature) -> Call:
    """Generate a call that the signature accepts: arguments by position, by name, or omitted."""
    parameters = list(signature.parameters.values())
    positional = [each for each in parameters if each.kind in POSITIONAL]
    least = sum(
        each.kind is Parameter.POSITIONAL_ONLY and each.default is Parameter.empty
        for each in positional
    )
    count = draw(st.integers(least, len(positional)))
    names = [
        each.name
        for each in [*positional[count:], *parameters[len(positional) :]]
        if each.kind in BY_NAME and (each.default is Parameter.empty or draw(st.booleans()))
    ]
    kinds = {each.kind for each in parameters}
    if count == len(positional) and Parameter.VAR_POSITIONAL in kinds:
        count += draw(st.integers(0, 3))
    if Parameter.VAR_KEYWORD in kinds:
        # Skip names of positional-only parameters: Python 3.11's `inspect` refuses some of them.
        free = sorted({*NAMES, "x"} - {each.name for each in parameters})
        names += draw(st.lists(st.sampled_from(free), unique=True, max_size=2))
    kwargs = {name: number for number, name in enumerate(draw(st.permutations(names)), 10)}
    return tuple(range(count)), kwargs


@st.composite
def any_calls(draw: Draw) -> Call:
    args = tuple(range(draw(st.integers(0, 4))))
    names = draw(st.lists(st.sampled_from([*NAMES, "x"]), unique=True, max_size=4))
    return args, {name: number for number, name in enumerate(names, 10)}


def function_of(signature: Signature, qualified: str) -> Callable[..., None]:
    def function(*args: Any, **kwargs: Any) -> None: ...

    function.__signature__ = signature  # type: ignore[attr-defined]  # what inspect looks for
    function.__qualname__ = qualified
    return function


def bound(signature: Signature, call: Call) -> dict[str, Any]:
    """Return the arguments as `inspect` binds them."""
    found = signature.bind(*call[0], **call[1])
    found.apply_defaults()
    return dict(found.arguments)


@given(data=st.data())
@settings(max_examples=examples(150))
def test_arguments_are_bound_as_inspect_does(data: st.DataObject) -> None:
    """Every call that a function accepts is bound as `inspect` binds it, including defaults."""
    signature = data.draw(signatures())
    call = data.draw(fitting_calls(signature))
    found = make_binder(function_of(signature, "function"))(*call)
    assert found == bound(signature, call)


@given(data=st.data(), first=st.sampled_from(["self", "cls"]))
def test_arguments_of_a_method_are_bound_without_it(data: st.DataObject, first: str) -> None:
    """Arguments of a method are bound as `inspect` binds them, without the method's object."""
    signature = data.draw(signatures(first))
    call = data.draw(fitting_calls(signature))
    expected = bound(signature, call)
    del expected[first]
    assert make_binder(function_of(signature, "Model.method"))(*call) == expected


@given(signature=signatures(), call=any_calls())
def test_any_call_is_bound_somehow(signature: Signature, call: Call) -> None:
    """Binding a call that does not fit the signature does not raise or change the arguments."""
    args, kwargs = call
    before = dict(kwargs)
    found = make_binder(function_of(signature, "function"))(args, kwargs)
    assert all(str(value) in repr(found) for value in before.values())
    assert kwargs == before


def test_inspect_is_asked_for_the_signature() -> None:
    """A wrapper that accepts any arguments is bound by the signature of the wrapped function."""

    def inner(a: int, b: int = 2) -> None: ...

    def outer(*args: Any, **kwargs: Any) -> None: ...

    outer.__wrapped__ = inner  # type: ignore[attr-defined]  # as functools.wraps does
    assert inspect.signature(outer) == inspect.signature(inner)
    assert make_binder(outer)((1,), {}) == {"a": 1, "b": 2}


def mark(package: str, name: str) -> Any:
    """Make a client library's marker object for an omitted argument."""
    return type(name, (), {"__module__": package})()


@pytest.mark.parametrize(
    "unsaid", [mark("openai", "Omit"), mark("anthropic", "NotGiven"), mark("groq._types", "Omit")]
)
def test_marks_of_client_libraries_are_left_out(unsaid: Any) -> None:
    """An argument whose value is a client library's "omitted" marker is not an input."""

    def create(model: str, seed: Any = unsaid, top_p: Any = unsaid) -> None: ...

    def create_more(
        model: str, *, seed: Any = unsaid, top_p: Any = unsaid, **rest: Any
    ) -> None: ...

    given = {"model": "m", "top_p": 0.5}
    assert make_binder(create)(("m",), {"top_p": 0.5}) == given
    assert make_binder(create_more)(("m",), {"top_p": 0.5}) == {**given, "rest": {}}


def test_mark_of_the_users_own_stays() -> None:
    """An instance of a user's class with the same name as such a marker is an input."""
    own = mark("shop", "Omit")

    def choose(item: Any = own) -> None: ...

    assert make_binder(choose)((), {}) == {"item": own}


def test_marks_that_are_given_are_not_shown() -> None:
    """Such a marker inside a given value is not recorded."""
    given = {"model": "m", "options": {"seed": mark("openai", "NotGiven"), "n": 1}}
    assert encode(given).text == '{"model":"m","options":{"n":1}}'
