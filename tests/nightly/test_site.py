"""The pages of ``make site`` are complete, searchable, and fetch nothing from other hosts."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from docs.site import ROOT

PROGRAM = ROOT / ".venv-site" / "bin" / "python"
FETCHED = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?(https?:[^\" >]+)")


def build(checkout: Path, target: Path) -> subprocess.CompletedProcess[str]:
    if not PROGRAM.exists():
        pytest.skip("There is no .venv-site: make .venv-site/stamp")
    return subprocess.run(
        [PROGRAM, "-m", "docs.site", "--target", target],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_site(tmp_path: Path) -> None:
    """All links and anchors work, the search has each page, and nothing is fetched."""
    built = build(ROOT, tmp_path / "built")
    assert built.returncode == 0, built.stderr
    site = tmp_path / "built" / "site"
    text = (site / "search" / "search_index.json").read_text()
    index = json.loads(text)
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"index.html", "docs/tutorial.html", "docs/reference.html"} <= found
    pages = list(site.rglob("*.html"))
    assert [FETCHED.findall(page.read_text()) for page in pages] == [[]] * len(pages)


@pytest.mark.parametrize("link", ["nowhere.md", "tutorial.md#nowhere"])
def test_broken_link(link: str, tmp_path: Path) -> None:
    """A link to a missing page or heading fails the build, which names the link."""
    checkout = tmp_path / "checkout"
    for name in ("docs", "deploy", "examples", "proto"):
        shutil.copytree(ROOT / name, checkout / name)
    for page in (*ROOT.glob("*.md"), ROOT / "mkdocs.yml"):
        shutil.copy(page, checkout)
    page = checkout / "docs" / "sdk.md"
    page.write_text(f"{page.read_text()}\n[astray]({link})\n")
    built = build(checkout, tmp_path / "built")
    assert built.returncode != 0
    assert link in built.stdout + built.stderr
