"""Versions of functions whose source is not there, or is not theirs."""

import py_compile
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml import Client
from otel_ml.versions.definition import define
from tests.otel_ml.recording import Recording, attributes
from tests.otel_ml.scripts import run_script
from tests.otel_ml.written import imported

MODEL: Final = '''
LIMIT = 3

def model(text):
    """Cut it."""
    if not isinstance(text, str):
        raise TypeError("expected text")
    return text[:LIMIT]
'''
MAIN: Final = """
from shop.model import model
from otel_ml.versions.definition import define

definition = define(model)
print(definition.digest, definition.source is not None)
"""


def definition_here(directory: Path) -> str:
    with imported(directory, {"shop.model": MODEL}, "shop.model") as module:
        return define(module.model).digest


def make_application(directory: Path) -> Path:
    root = directory / "app"
    (root / "shop").mkdir(parents=True)
    (root / "shop" / "__init__.py").touch()
    (root / "shop" / "model.py").write_text(MODEL)
    (root / "__main__.py").write_text(MAIN)
    return root


def run(*arguments: str | Path) -> list[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.check_output(command, text=True, timeout=60).split()


def test_zip_application_has_its_source(tmp_path: Path) -> None:
    """A model in a zip file is the version that it is in a folder."""
    root = make_application(tmp_path)
    zipapp.create_archive(root, tmp_path / "app.pyz")
    expected = [definition_here(tmp_path), "True"]
    assert run(tmp_path / "app.pyz") == run(root) == expected


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_optimised_code_has_the_same_digest(tmp_path: Path, flag: str) -> None:
    """A model is the same version with and without optimisation."""
    assert run(flag, make_application(tmp_path)) == [definition_here(tmp_path), "True"]


def test_compiled_code_alone_has_a_digest(tmp_path: Path) -> None:
    """A model of which only the compiled file is there has a digest, the same each time."""
    root = make_application(tmp_path)
    source = root / "shop" / "model.py"
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")), doraise=True)
    source.unlink()
    first, second = run(root), run(root)
    assert first == second == [first[0], "False"]
    assert first[0] != definition_here(tmp_path)


def test_changed_file_does_not_lend_its_version(recording: Recording, tmp_path: Path) -> None:
    """A run tells the version of the code that ran, although its file has changed since."""
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
    """Functions that are made of text are the same version when they do the same."""
    digests = [define(made(f"def model(a, b=1):\n {body}")).digest for body in (first, first)]
    assert digests[0] == digests[1]
    assert define(made(f"def model(a, b=1):\n {second}")).digest != digests[0]


def test_made_function_follows_attributes() -> None:
    """A function that is made of text counts what it reads of classes."""
    text = "class P:\n    text = {!r}\ndef model(): return P.text"
    digests = {define(made(text.format(word), __name__="shop")).digest for word in "ab"}
    assert len(digests) == 2


def test_text_of_another_file_is_not_taken() -> None:
    """A function that only claims to be of a file does not get that file's text."""
    code = compile("def model(a):\n    return a * 3\n", __file__, "exec")
    scope: dict[str, Any] = {"__name__": __name__, "__file__": __file__}
    exec(code, scope)  # noqa: S102 - a function that is made of text
    assert define(scope["model"]).source is None


class Hostile:
    """A callable that answers any question with an error."""

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
    """A model that reads an object which can be asked nothing has a version with its methods."""
    assert client.trace(ask_hostile)(2) == 4
    [run] = recording.runs()
    assert attributes(run)["otel_ml.model.version"] == define(ask_hostile).digest
    assert {"Hostile.__call__", "Hostile.__eq__"} <= set(define(ask_hostile).helpers)


def test_long_expressions_have_a_version(tmp_path: Path) -> None:
    """A default of hundreds of terms, which nests in the syntax tree, is no trouble."""
    terms = " + ".join(["1"] * 900)
    source = f"def model(a={terms}):\n    return a\n"
    with imported(tmp_path, {"shop.model": source}, "shop.model") as module:
        digest = define(module.model).digest
        assert define(module.model).digest == digest
    assert len(bytes.fromhex(digest)) == 8


def test_warnings_as_errors_change_no_version(tmp_path: Path) -> None:
    """Code that Python warns of is the same version where warnings are errors, and stays quiet."""
    script = """
        import warnings
        warnings.simplefilter("error")
        from shop import model
        from otel_ml.versions.definition import define
        assert define(model).source is not None
    """
    (tmp_path / "shop.py").write_text("def model(a):\n    return '\\d', a\n")
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "compileall", "-q", "shop.py"],
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    assert run_script(tmp_path, script).stderr == ""
