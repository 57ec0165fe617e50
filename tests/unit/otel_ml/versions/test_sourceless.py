"""Versions of functions whose source is missing or belongs to other code."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml import Client
from otel_ml.versions.definition import define
from tests.support.otel_ml.recording import Recording, attributes
from tests.support.otel_ml.written import imported

MODEL: Final = '''
LIMIT = 3

def model(text):
    """Cut it."""
    if not isinstance(text, str):
        raise TypeError("expected text")
    return text[:LIMIT]
'''


def run(*arguments: str | Path) -> list[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.check_output(command, text=True, timeout=60).split()


def test_changed_file_does_not_lend_its_version(recording: Recording, tmp_path: Path) -> None:
    """A run has the version of the code that ran, even if its file has changed since."""
    new = MODEL.replace("[:LIMIT]", "[LIMIT:]")
    with imported(tmp_path, {"shop.model": MODEL}, "shop.model") as module:
        Path(module.__file__ or "").write_text(new)
        assert recording.client.trace(module.model)("Hello") == "Hel"
    with imported(tmp_path, {"shop.model": new}, "shop.model") as module:
        assert recording.client.trace(module.model)("Hello") == "lo"
    stale, fresh = (attributes(run)["otel_ml.model.version"] for run in recording.runs())
    assert stale != fresh


def made(text: str, **scope: Any) -> Callable[..., Any]:
    exec(text, scope)  # noqa: S102 - a function that is made of text
    function: Callable[..., Any] = scope["model"]
    return function


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("return a + b", "return a - b", id="operator"),
        pytest.param("return a.x", "return a.y", id="attribute"),
        pytest.param("return f(a)", "return g(a)", id="global"),
        pytest.param("return 1", "return True", id="constant"),
        pytest.param("return lambda: 1", "return lambda: 2", id="inner code"),
        pytest.param("try: f()\n except E: g()", "try: f()\n except F: g()", id="handler"),
        pytest.param("return P.text", "return P.other", id="text of a class"),
    ],
)
def test_made_function_is_told_by_its_code(first: str, second: str) -> None:
    """Functions made from text have the same version exactly if they do the same."""
    digests = [define(made(f"def model(a, b=1):\n {body}")).digest for body in (first, first)]
    assert digests[0] == digests[1]
    assert define(made(f"def model(a, b=1):\n {second}")).digest != digests[0]


def test_made_function_follows_attributes() -> None:
    """Class attributes that a function made from text reads change its version."""
    text = "class P:\n    text = {!r}\ndef model(): return P.text"
    digests = {define(made(text.format(word), __name__="shop")).digest for word in "ab"}
    assert len(digests) == 2


def test_text_of_another_file_is_not_taken() -> None:
    """A function that only claims to be from a file does not get that file's text."""
    code = compile("def model(a):\n    return a * 3\n", __file__, "exec")
    scope: dict[str, Any] = {"__name__": __name__, "__file__": __file__}
    exec(code, scope)  # noqa: S102 - a function that is made of text
    assert define(scope["model"]).source is None


class Hostile:
    """A callable object whose other methods all raise."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError

    def __call__(self, a: int) -> int:
        return a


HOSTILE: Final = Hostile()


def ask_hostile(a: int) -> int:
    return HOSTILE(a) + HOSTILE(a)


def test_hostile_global_leaves_the_version(client: Client, recording: Recording) -> None:
    """A function that uses a hostile object has a version with the object's methods as helpers."""
    assert client.trace(ask_hostile)(2) == 4
    [run] = recording.runs()
    assert attributes(run)["otel_ml.model.version"] == define(ask_hostile).digest
    assert {"Hostile.__call__", "Hostile.__eq__"} <= set(define(ask_hostile).helpers)


def test_long_expressions_have_a_version(tmp_path: Path) -> None:
    """A default with hundreds of terms, which is deeply nested syntax, has a version."""
    terms = " + ".join(["1"] * 900)
    source = f"def model(a={terms}):\n    return a\n"
    with imported(tmp_path, {"shop.model": source}, "shop.model") as module:
        digest = define(module.model).digest
        assert define(module.model).digest == digest
    assert len(bytes.fromhex(digest)) == 8
