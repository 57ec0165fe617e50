"""Cases of tests/unit/otel_ml/versions/test_sourceless.py that start processes."""

import py_compile
import subprocess
import sys
import zipapp
from pathlib import Path
from typing import Final

import pytest

from otel_ml.versions.definition import define
from tests.support.otel_ml.scripts import run_script
from tests.support.otel_ml.written import imported
from tests.unit.otel_ml.versions.test_sourceless import MODEL, run

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


def test_zip_application_has_its_source(tmp_path: Path) -> None:
    """A model in a zip file has the same version as in a folder."""
    root = make_application(tmp_path)
    zipapp.create_archive(root, tmp_path / "app.pyz")
    expected = [definition_here(tmp_path), "True"]
    assert run(tmp_path / "app.pyz") == run(root) == expected


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_optimised_code_has_the_same_digest(tmp_path: Path, flag: str) -> None:
    """A model has the same version with and without optimisation."""
    assert run(flag, make_application(tmp_path)) == [definition_here(tmp_path), "True"]


def test_compiled_code_alone_has_a_digest(tmp_path: Path) -> None:
    """A model without a source file has a digest that is the same each time."""
    root = make_application(tmp_path)
    source = root / "shop" / "model.py"
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")), doraise=True)
    source.unlink()
    first, second = run(root), run(root)
    assert first == second == [first[0], "False"]
    assert first[0] != definition_here(tmp_path)


def test_warnings_as_errors_change_no_version(tmp_path: Path) -> None:
    """If warnings are errors, code that causes a warning still has its source, without output."""
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
        timeout=180,
    )
    assert run_script(tmp_path, script).stderr == ""
