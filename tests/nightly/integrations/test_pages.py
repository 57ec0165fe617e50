"""Code blocks of the docs that need extra packages work: fenced as ``python integrations``."""

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from tests.nightly.integrations.environment import run
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT

FOLDER: Final = ROOT / "docs" / "how-to"
BLOCK: Final = re.compile(r"^```(python|sh) integrations\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HERE: Final = "http://127.0.0.1:4318"
MODEL: Final = """
def predict(number):
    return 2 * number

class Ranker:
    def rank(self, items):
        return sorted(items)
"""
MAIN: Final = "from shop.model import Ranker, predict\npredict(1)\nRanker().rank([2, 1])\n"


def run_blocks(page: str, collector: CollectorProcess, folder: Path) -> list[str]:
    """Run a page's blocks in order, and return model and outcome of their runs."""
    for language, block in BLOCK.findall((FOLDER / page).read_text()):
        script = folder / "block"
        script.write_text(block.replace(HERE, collector.endpoint))
        command = "python" if language == "python" else "sh"
        run(
            [command, str(script)],
            folder,
            OTEL_ML_ENDPOINT=collector.endpoint,
            OTEL_ML_PROJECT=page.removesuffix(".md"),
        )
    project = "shop" if page == "zero-code.md" else page.removesuffix(".md")
    return sorted(f"{run['model']} {run['outcome']}" for run in collector.runs(project))


def compare_page(page: str, collector: CollectorProcess, folder: Path) -> Any:
    """Run the blocks of a page, and compare its runs, the first one first."""
    run_blocks(f"{page}.md", collector, folder)
    trained = [run["run_id"] for run in reversed(collector.runs(page))]
    return collector.get(f"/projects/{page}/compare?{urlencode({'of': trained}, doseq=True)}")


@pytest.mark.parametrize(
    ("page", "runs"),
    [
        ("mlflow.md", ["spam ok"]),
        ("transformers.md", ["tiny ok", "tiny ok"]),
        ("zero-code.md", ["Ranker.rank ok", "predict ok"]),
    ],
)
def test_page(page: str, runs: list[str], collector: CollectorProcess, tmp_path: Path) -> None:
    """The blocks of a page record the expected runs."""
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "model.py").write_text(MODEL)
    (shop / "main.py").write_text(MAIN)
    assert run_blocks(page, collector, tmp_path) == runs


def test_every_block_is_run() -> None:
    """Each page with such a block is tested, here or in the tests of its library."""
    pages = {page.name for page in (ROOT / "docs").rglob("*.md") if BLOCK.search(page.read_text())}
    assert pages == {
        "data.md",
        "lightning.md",
        "mlflow.md",
        "transformers.md",
        "xgboost.md",
        "zero-code.md",
    }
