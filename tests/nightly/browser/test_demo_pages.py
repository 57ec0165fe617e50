"""No page of the demo's project is empty."""

import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.support.collector import CollectorProcess

PROJECT = "/projects/docs-search"


def test_no_page_is_empty(chromium: Browser, demo: CollectorProcess) -> None:
    """Every page of the navigation, and the first page behind each list, has content."""
    page = chromium.new_page()
    page.goto(demo.endpoint + PROJECT)
    links = page.locator("nav[aria-label=Pages] a")
    addresses = [str(link.get_attribute("href")) for link in links.all()]
    assert len(addresses) > 5, addresses
    behind = set()
    for address in ["/", *addresses, f"{PROJECT}/sessions", f"{PROJECT}/judges/concise"]:
        page.goto(demo.endpoint + address)
        page.wait_for_load_state("networkidle")
        expect(page.locator(".empty"), address).to_have_count(0)
        first = page.locator("main table a[href^='/projects/']").first
        assert first.count(), address
        behind.add(str(first.get_attribute("href")))
    for address in sorted(behind):
        page.goto(demo.endpoint + address)
        page.wait_for_load_state("networkidle")
        expect(page.locator(".empty"), address).to_have_count(0)
    page.close()


def test_judge_of_two_versions(
    chromium: Browser, demo: CollectorProcess, recorded_demo: Path
) -> None:
    """The page of the demo's judge shows the comparison that the agent saw before writing v2."""
    shown = (recorded_demo / "agent.log").read_text()
    [sentence] = re.findall(r"^  it (is stricter: .+?) \(", shown, re.MULTILINE)
    page = chromium.new_page()
    page.goto(f"{demo.endpoint}{PROJECT}/judges/concise")
    expect(page.locator("#strictness .note")).to_contain_text(f"v2 {sentence}")
    page.close()
