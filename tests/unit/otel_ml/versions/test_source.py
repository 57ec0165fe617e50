"""Finding the source of a function and checking that it is the code that runs."""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from otel_ml.versions.source import Source, find_source, plain_function
from tests.support.otel_ml.written import imported

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


def text_of(target: Callable[..., Any]) -> str | None:
    source = find_source(plain(target))
    return None if source is None else source.text


def test_decorators_are_not_part_of_the_source() -> None:
    """A decorated function's source is its def, with comments and without decorators."""
    assert text_of(decorated) == (
        'def decorated(a: int) -> int:\n    """Docstring."""\n    # comment\n    return a + OFFSET'
    )


def test_lambda_is_cut_out_of_its_statement() -> None:
    """A lambda's source is only the lambda, without the statement around it."""
    double = {"a": lambda x, y=OFFSET: x * y}["a"]
    assert text_of(double) == "lambda x, y=OFFSET: x * y"


def test_lambdas_of_one_line_are_told_apart() -> None:
    """Two lambdas on one line are distinguished by their code."""
    first, second = lambda x: x, lambda x: -x
    assert (text_of(first), text_of(second)) == ("lambda x: x", "lambda x: -x")


def test_lambdas_of_the_same_code_are_not_guessed() -> None:
    """Two lambdas on one line that differ only in their defaults have no source."""
    first, _ = lambda x=1: x, lambda x=2: x
    assert text_of(first) is None


def test_lambda_is_found_in_the_middle_of_a_call() -> None:
    """A lambda is found even if its line is not a statement of its own."""
    found = functools.partial(
        sorted,
        key=lambda x: x + 1)  # fmt: skip
    assert text_of(found.keywords["key"]) == "lambda x: x + 1"


def test_method_with_text_at_the_margin_has_a_source(tmp_path: Path) -> None:
    """A method with text at the left margin, as in prompts, has its source."""
    text = 'class Model:\n    def method(self):\n        return """\nAnswer\n"""\n'
    with imported(tmp_path, {"shop.model": text}, "shop.model") as m:
        assert text_of(m.Model.method) == 'def method(self):\n        return """\nAnswer\n"""'


def nested(word: str) -> Callable[[], str]:
    class Holder:
        __hidden = "x"

        def method(self) -> Callable[[], str]:
            def inner() -> str:
                class Local:
                    mark = word

                return f"{self.__hidden}{functools.reduce(max, word)}{Local.mark}{super()}"

            return inner

    return Holder().method()


def test_nested_function_is_found() -> None:
    """A nested function that uses its class and closures has its source."""
    found = text_of(nested("a")) or ""
    assert found.startswith("def inner() -> str:\n    class Local:")


MODULE = """
from functools import reduce
import functools

def model(values):
    'Sum them.'
    if not values:
        raise ValueError("none")
    try:
        return functools.reduce(lambda a, b: a + b, values)
    finally:
        values.clear()
"""


def source_after(directory: Path, change: Callable[[Path], object]) -> Source | None:
    """Change the file of ``shop.model.model`` after import, and return the source found."""
    with imported(directory, {"shop.model": MODULE}, "shop.model") as module:
        change(Path(module.__file__ or ""))
        return find_source(module.model)


def write(old: str, new: str) -> Callable[[Path], object]:
    assert old in MODULE
    return lambda path: path.write_text(MODULE.replace(old, new))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(write("a + b", "a - b"), id="operator"),
        pytest.param(write("values.clear()", "values.pop()"), id="name"),
        pytest.param(write('"none"', '"nothing"'), id="text"),
        pytest.param(write("def model(values)", "def model(values, b)"), id="parameter"),
        pytest.param(write("finally:", "except KeyError:"), id="handler"),
        pytest.param(write("from functools", "def other():\n    pass\n\nfrom"), id="moved"),
        pytest.param(write("def model", "def"), id="broken"),
        pytest.param(lambda path: path.write_text(""), id="emptied"),
        pytest.param(lambda path: path.write_bytes(b"\xff\x00"), id="binary"),
        pytest.param(Path.unlink, id="deleted"),
    ],
)
def test_changed_file_is_not_believed(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """If a function's file has changed since the import, the function has no source."""
    assert source_after(tmp_path, change) is None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.touch(), id="touched"),
        pytest.param(lambda path: path.write_text(MODULE + "\nX = 1\n"), id="below"),
        pytest.param(write("values.clear()", "values.clear()  # all"), id="comment"),
    ],
)
def test_unchanged_function_is_believed(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """If another part of the file has changed, the function still has its source."""
    found = source_after(tmp_path, change)
    assert found is not None
    assert found.text.startswith("def model(values):")


def test_rewritten_function_has_no_source() -> None:
    """A function that was rewritten after it was read, as pytest does, has no source."""

    def model(a: int) -> int:
        assert a
        return a

    assert find_source(plain(model)) is None


def test_code_that_python_warns_of_is_read_quietly(tmp_path: Path) -> None:
    """Reading a source gives no warning, because Python warned when it compiled the file."""
    text = "def model(a):\n    return a is 1, '\\d'\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with imported(tmp_path, {"shop.model": text}, "shop.model") as module:
            warnings.simplefilter("error")
            assert find_source(module.model) is not None


def test_proxy_is_not_asked() -> None:
    """No attribute of an object with dynamic attributes, such as a lazy proxy, is read."""

    class Proxy:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"asked for {name}")

        def __call__(self) -> int:
            return 1

    assert plain_function(Proxy()) is Proxy.__call__


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
    """The function inside decorators, methods, partials and callable objects is found."""
    assert plain(target).__name__ in {"decorated", "method", "__call__"}


@pytest.mark.parametrize("target", [len, print, str.upper, "a".upper, int, dict, object()])
def test_builtins_have_no_function(target: Any) -> None:
    """A callable that is not written in Python has no function."""
    assert plain_function(target) is None


def test_inherited_call_is_found() -> None:
    """A callable object that inherits its call has the inherited function."""

    class Child(Model):
        pass

    assert plain(Child()) is Model.__call__


def test_callable_object_with_a_function_is_its_own_call() -> None:
    """An object with an attribute `func` has its own call as function."""

    class Retry:
        def __init__(self, func: Callable[..., Any]) -> None:
            self.func = func

        def __call__(self) -> Any:
            return self.func() or self.func()

    assert plain(Retry(decorated)) is Retry.__call__


def test_wrappers_without_end_are_left() -> None:
    """A function that wraps itself has no function and does not loop forever."""

    def loop() -> None: ...

    loop.__wrapped__ = loop  # type: ignore[attr-defined]  # that is the trap
    assert plain_function(loop) is None
