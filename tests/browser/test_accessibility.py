"""Every page in both themes and at two widths: axe-core finds nothing, and nothing overflows."""

from pathlib import Path

import pytest

from tests.browser.conftest import Tab
from tests.support.collector import CollectorProcess

pytestmark = pytest.mark.browser
AXE = Path(__file__).parents[1] / "node" / "node_modules" / "axe-core" / "axe.min.js"
DOCS = "/projects/docs-search"
CHECK = """async () => {
  const found = await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa",
    "best-practice"]});
  return found.violations.map(rule => [rule.id, rule.nodes.map(node => node.target.join(" "))]);
}"""


def pages_of(demo: CollectorProcess) -> dict[str, str]:
    scored = demo.runs("docs-search", where='model == "answer"')[0]
    return {
        "home": "/",
        "runs": f"{DOCS}/runs",
        "runs-filtered": f"{DOCS}/runs?where=outcome+%3D%3D+%22error%22&last=30d&columns=model",
        "runs-none": f"{DOCS}/runs?where=model+%3D%3D+%22no+such%22",
        "run": f"{DOCS}/runs/{scored['run_id']}",
        "run-raw": f"{DOCS}/runs/{scored['run_id']}?input=Raw&output=Raw",
        "models": f"{DOCS}/models",
        "model": f"{DOCS}/models/answer",
        "metrics": "/projects/digits/metrics",
        "sign-in": "/sign-in",
    }


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(tab: Tab, demo: CollectorProcess, width: int) -> None:
    """No page violates WCAG 2.2 AA, and none is wider than the window."""
    axe = AXE.read_text()
    tab.page.set_viewport_size({"width": width, "height": 900})
    found = {}
    for name, path in pages_of(demo).items():
        page = tab.open(path)
        page.evaluate(axe)
        found[name] = page.evaluate(CHECK)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found[name].append("wider than the window")
    assert found == {name: [] for name in found}
