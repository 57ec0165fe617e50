"""Tests of the nightly tests that a change can affect."""

from pathlib import Path

import pytest

from tests.nightly.parts import Part
from tests.support.needs import Sources
from tests.touched import find_affected, narrow

FILES = {
    "otel_ml/__init__.py": "",
    "otel_ml/client.py": "",
    "collector/otel_ml_collector/__init__.py": "",
    "collector/otel_ml_collector/__main__.py": "from otel_ml_collector.pages import home",
    "collector/otel_ml_collector/pages/__init__.py": "",
    "collector/otel_ml_collector/pages/home.py": "",
    "collector/otel_ml_collector/pages/home.html": "",
    "collector/otel_ml_collector/spare.py": "",
    "docs/how-to/llm.md": "",
    "docs/index.md": "",
    "deploy/rules.yml": "",
    "tests/__init__.py": "",
    "tests/support/__init__.py": "",
    "tests/support/server.py": "COMMAND = ['-m', 'otel_ml_collector']",
    "tests/conftest.py": """
import pytest
from otel_ml.client import Client
from tests.support.server import COMMAND

@pytest.fixture
def shared():
    return COMMAND

@pytest.fixture
def server(shared):
    return shared

@pytest.fixture
def client():
    return Client()
""",
    "tests/nightly/test_served.py": "def test_it(server): pass",
    "tests/nightly/test_client.py": """
def test_it():
    from otel_ml import client
""",
    "tests/nightly/test_docs.py": "PAGES = (ROOT / 'docs').rglob('*.md')",
    "tests/nightly/test_page.py": "PAGE = ROOT / 'docs' / 'how-to' / 'llm.md'",
    "tests/nightly/test_rules.py": "RULES = 'deploy/rules.yml'",
    "tests/unit/test_client.py": "from otel_ml import client",
}
PART = Part("all", ("tests",), ("check-deploy", ".venv-phoenix/stamp"), ())


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Sources(tmp_path)


@pytest.mark.parametrize(
    ("changed", "affected"),
    [
        ("tests/nightly/test_page.py", {"page": "tests/nightly/test_page.py"}),
        ("otel_ml/client.py", {"client": "otel_ml/client.py"}),
        (
            "collector/otel_ml_collector/pages/home.py",
            {
                "served": "collector/otel_ml_collector/pages/home.py, "
                "through collector/otel_ml_collector/__main__.py"
            },
        ),
        (
            "collector/otel_ml_collector/pages/home.html",
            {
                "served": "collector/otel_ml_collector/pages/home.html, "
                "through collector/otel_ml_collector/pages/__init__.py"
            },
        ),
        ("collector/otel_ml_collector/spare.py", {}),
        ("docs/index.md", {"docs": "docs/index.md"}),
        ("docs/how-to/llm.md", {"docs": "docs/how-to/llm.md", "page": "docs/how-to/llm.md"}),
        ("deploy/rules.yml", {"rules": "deploy/rules.yml"}),
        (
            "requirements/phoenix.txt",
            dict.fromkeys(
                ("client", "docs", "page", "rules", "served"), "requirements/phoenix.txt"
            ),
        ),
        ("requirements/rotel.txt", {}),
        ("README.md", {}),
    ],
)
def test_affected_modules(sources: Sources, changed: str, affected: dict[str, str]) -> None:
    """A change affects the nightly modules that import, start or read the changed file."""
    modules = [name for name in FILES if Path(name).name.startswith("test_")]
    found = find_affected(sources, PART, modules, {changed})
    assert {module: reason.write(module) for module, reason in found.items()} == {
        f"tests/nightly/test_{name}.py": reason for name, reason in affected.items()
    }


def test_cases_that_ci_leaves_out(sources: Sources) -> None:
    """A change also affects a module of CI that leaves cases to the nightly run."""
    (sources.root / "tests/support/sampling.py").write_text("at_night = sampled(0)")
    imports = "from otel_ml import client", "from tests.support.sampling import at_night"
    modules = ["tests/unit/test_client.py", "tests/unit/test_cases.py"]
    (sources.root / modules[1]).write_text("\n".join(imports))
    assert [*find_affected(sources, PART, modules, {"otel_ml/client.py"})] == modules[1:]


def test_conftest_affects_its_folder(sources: Sources) -> None:
    """A changed conftest file affects the modules below it, and what it imports only its users."""
    found = find_affected(
        sources,
        PART,
        ["tests/nightly/test_docs.py"],
        {"tests/conftest.py", "tests/support/server.py"},
    )
    assert [reason.changed for reason in found.values()] == ["tests/conftest.py"]


def test_targets_run_their_own_tests() -> None:
    """A target that runs tests is only run for these tests; the part runs the others."""
    part = Part("deploy", ("tests/a", "tests/b"), ("check-deploy", "tools"), ("tests/a",))
    own, other = "tests/a/test_x.py", "tests/b/test_y.py"
    assert narrow(part, [other]) == Part("deploy", (other,), ("tools",), ())
    assert narrow(part, [own, other]) == Part(
        "deploy", (own, other), ("check-deploy", "tools"), (own,)
    )
