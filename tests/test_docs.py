"""The docs are held by tests: what exists is documented, what is documented runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import otel_ml
from otel_ml_collector.config import TABLE, Setting
from otel_ml_collector.query.api import router
from otel_ml_collector.query.filter import FIELDS
from tests.support.collector import CollectorProcess

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "deploy/README.md"]
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")
PREAMBLE = "from otel_ml import Client\nclient = Client('docs')\n"


def read(page: str) -> str:
    return (ROOT / page).read_text()


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: str(setting.name))
def test_setting_is_documented(setting: Setting) -> None:
    """Every setting stands in the docs with its flag, variable, key and default."""
    line = f"| `{setting.flag}` | `{setting.variable}` | `{setting.name}` | "
    default = f"`{setting.default}` |" if setting.default else "|"
    assert line + default in read("docs/configuration.md")


def test_every_endpoint_is_documented() -> None:
    """Every call of the API stands in the docs."""
    text = read("docs/api.md")
    for route in router.routes:
        path = getattr(route, "path", "").removeprefix("/api/v1").replace(":path", "")
        path = path.replace("{key}", "{id or key}").replace("{number}", "{n}")
        assert f"`GET {path}`" in text


def test_every_field_of_the_filter_is_documented() -> None:
    """Every field of the filter language stands in the docs."""
    text = read("docs/api.md")
    assert [
        field for field in FIELDS if f"`{field}`" not in text and f"`{field}[" not in text
    ] == []


def test_every_public_name_has_a_heading() -> None:
    """Every public name of the SDK has a heading of its own in the docs."""
    headings = re.findall(r"^## (\w+)$", read("docs/sdk.md"), re.MULTILINE)
    assert set(otel_ml.__all__) <= set(headings)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link of a page to a file leads to one."""
    assert [
        link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()
    ] == []


@pytest.mark.parametrize("page", ["README.md", "docs/sdk.md"])
def test_python_blocks_run(page: str, collector: CollectorProcess, tmp_path: Path) -> None:
    """Every block of Python in the docs runs, and its runs arrive."""
    for number, block in enumerate(PYTHON.findall(read(page))):
        script = tmp_path / f"block_{number}.py"
        script.write_text(block if "Client(" in block else PREAMBLE + block)
        project = f"{Path(page).stem}-{number}"
        subprocess.run(
            [sys.executable, str(script)],
            check=True,
            timeout=60,
            env={
                **os.environ,
                "OTEL_ML_ENDPOINT": collector.endpoint,
                "OTEL_ML_PROJECT": project,
            },
        )
    assert {one["project"] for one in collector.get("/projects")["projects"]} >= (
        {"my-project", "docs"} if page == "README.md" else {"sdk-0"}
    )
