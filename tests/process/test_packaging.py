"""Tests of the package's dependencies and of the changelog."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docs.make_changelog import collect, version
from tests.support.folders import ROOT
from tests.support.sampling import at_night

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Packages that the user's program may have; they are used if present and never required.
OF_THE_HOST = {
    *("PIL", "jax", "ml_dtypes", "numpy", "pandas", "polars", "pytz", "scipy", "torch"),
    *("pytest", "typing_extensions", "wrapt"),
}


def imported(folder: str) -> set[str]:
    """Return the third-party packages that the files of a folder import anywhere."""
    found = set()
    for module in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"otel_ml", "otel_ml_collector"}


def declared(*extras: str) -> set[str]:
    """Return the distributions that these extras require by name."""
    lines = [line for extra in extras for line in EXTRAS[extra]]
    return {canonicalize_name(Requirement(line).name) for line in lines}


@at_night
@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("otel_ml", ("otlp", "threads", "cli", "mlflow", "transformers", "lightning", "xgboost")),
        ("collector/otel_ml_collector", ("collector",)),
    ],
)
def test_what_is_imported_is_declared(folder: str, extras: tuple[str, ...]) -> None:
    """Each imported package is declared, and not only installed as a dependency of another one."""
    distributions = packages_distributions()
    brought = declared(*extras) | {Requirement(one).name for one in PROJECT["dependencies"]}
    missing = [
        name
        for name in sorted(imported(folder) - OF_THE_HOST)
        if not brought & {canonicalize_name(one) for one in distributions.get(name, [name])}
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("where", "missing"),
    [
        ({"python_version": "3.10", "sys_platform": "linux"}, declared("collector")),
        ({"python_version": "3.13", "sys_platform": "win32"}, {"chdb", "uvloop"}),
        ({"python_version": "3.11", "sys_platform": "darwin"}, set()),
    ],
)
def test_collector_asks_for_nothing_that_is_not_there(
    where: dict[str, str], missing: set[str]
) -> None:
    """On platforms without builds the extra omits those packages; elsewhere it requires all."""
    lines = [Requirement(line) for line in EXTRAS["collector"]]
    asked = {line.name for line in lines if line.marker is None or line.marker.evaluate(where)}
    assert declared("collector") - asked == missing


def test_changelog_has_the_version() -> None:
    """The changelog has a section for the version."""
    assert f"\n## {version()}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_fragments_go_into_the_changelog(tmp_path: Path) -> None:
    """Fragments are added to the version's section by kind, once, and older entries are kept."""
    (tmp_path / "pyproject.toml").write_text('version = "2.0"\n')
    log = tmp_path / "CHANGELOG.md"
    log.write_text("# Changelog\n\n## 1.0\n\n### Added\n\n* Old.\n")
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    for name, text in {"7.b.fixed": "Mended.", "7.a.added": "New.\n\nNewer."}.items():
        (folder / f"{name}.md").write_text(text + "\n")
    collect(tmp_path)
    (folder / "8.removed.md").write_text("Gone.\n")
    (folder / "8.c.added.md").write_text("Newest.\n")
    collect(tmp_path)
    assert log.read_text() == (
        "# Changelog\n\n## 2.0\n\n### Added\n\n* Newest.\n* New.\n* Newer.\n"
        "\n### Fixed\n\n* Mended.\n\n### Removed\n\n* Gone.\n\n## 1.0\n\n### Added\n\n* Old.\n"
    )
    assert list(folder.iterdir()) == []


def test_fragment_of_no_kind(tmp_path: Path) -> None:
    """A fragment of an unknown kind is named in the error, and no fragment is moved."""
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d" / "7.news.md").write_text("What?\n")
    with pytest.raises(ValueError, match=r"7\.news\.md"):
        collect(tmp_path)
