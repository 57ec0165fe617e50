"""The source of a function: found, proved to be what runs, and cut out."""

import functools
import gc
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from otel_ml.versions.source import Source, find_source, plain_function
from tests.otel_ml.written import imported
from tests.support.waiting import run_other_threads

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
    """A decorated function's own source is its def, comments included."""
    assert text_of(decorated) == (
        'def decorated(a: int) -> int:\n    """Docstring."""\n    # comment\n    return a + OFFSET'
    )


def test_lambda_is_cut_out_of_its_statement() -> None:
    """A lambda's own source is the lambda, without what is around it."""
    double = {"a": lambda x, y=OFFSET: x * y}["a"]
    assert text_of(double) == "lambda x, y=OFFSET: x * y"


def test_lambdas_of_one_line_are_told_apart() -> None:
    """Of two lambdas in one line each is found by its code."""
    first, second = lambda x: x, lambda x: -x
    assert (text_of(first), text_of(second)) == ("lambda x: x", "lambda x: -x")


def test_lambdas_of_the_same_code_are_not_guessed() -> None:
    """Two lambdas in one line that differ in their defaults alone are not told apart."""
    first, _ = lambda x=1: x, lambda x=2: x
    assert text_of(first) is None


def test_lambda_is_found_in_the_middle_of_a_call() -> None:
    """A lambda is found also where its line alone is no statement."""
    found = functools.partial(
        sorted,
        key=lambda x: x + 1)  # fmt: skip
    assert text_of(found.keywords["key"]) == "lambda x: x + 1"


def test_method_with_text_at_the_margin_has_a_source(tmp_path: Path) -> None:
    """A method whose text reaches the left margin, as prompts do, is read like any other."""
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
    """Names of classes and closures around a function mean in its source what they mean there."""
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
    """The source of ``shop.model.model`` when its file has changed since the import."""
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
    """A file that has changed since the import says nothing of what runs."""
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
    """A file that has changed elsewhere still has the function's source."""
    found = source_after(tmp_path, change)
    assert found is not None
    assert found.text.startswith("def model(values):")


def test_rewritten_function_has_no_source() -> None:
    """A function that was rewritten after it was read, as pytest does, is not what it says."""

    def model(a: int) -> int:
        assert a
        return a

    assert find_source(plain(model)) is None


def test_code_that_python_warns_of_is_read_quietly(tmp_path: Path) -> None:
    """Reading a source shows no warning: Python gave it when it compiled the file."""
    text = "def model(a):\n    return a is 1, '\\d'\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with imported(tmp_path, {"shop.model": text}, "shop.model") as module:
            warnings.simplefilter("error")
            assert find_source(module.model) is not None


def test_proxy_is_not_asked() -> None:
    """An object that makes attributes up, as lazy proxies do, is not asked for any."""

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


class Cycle:
    """Garbage that lets other threads run while it is collected."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        run_other_threads()


def find_often(target: Callable[..., Any]) -> set[str | None]:
    found = set()
    for _ in range(8):
        garbage = [Cycle() for _ in range(5)]
        found.add(text_of(target))
        del garbage
    return found


def test_source_is_found_in_many_threads(tmp_path: Path) -> None:
    """Threads that parse at the same time, which disturbs some interpreters, cost no source."""
    text = "def large(a):\n" + "    a = [a, (a, a)]\n" * 1_500
    thresholds = gc.get_threshold()
    gc.set_threshold(100)
    try:
        with (
            imported(tmp_path, {"shop.model": text}, "shop.model") as module,
            ThreadPoolExecutor(8) as threads,
        ):
            found = set[str | None]().union(*threads.map(find_often, [module.large] * 8))
    finally:
        gc.set_threshold(*thresholds)
    assert found == {text.rstrip()}
