"""Tests of writing, trying and turning on a judge without code in a browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser.fixtures import open_tab
from tests.support.collector import CollectorProcess, running
from tests.support.judged_shop import JudgedShop
from tests.support.language_model import LanguageModel, language_model
from tests.support.load import PROTOBUF, make_request
from tests.support.sampling import at_night, sampled

pytestmark = sampled()

PRICE = '{"openai": {"small": {"input": 1, "output": 2}}}'


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[tuple[CollectorProcess, LanguageModel]]:
    """A collector with three runs and a model connection."""
    with language_model() as model:
        connections = json.dumps({"here": model.connection})
        arguments = ["--judge-connections", connections, "--prices", PRICE]
        with running(tmp_path / "data", *arguments) as collector:
            body = make_request("shop", 3).SerializeToString()
            assert collector.post("/v1/traces", body, PROTOBUF)[0] == 200
            yield collector, model


def test_write_try_and_turn_on(
    chromium: Browser, asking: tuple[CollectorProcess, LanguageModel], shots: Path
) -> None:
    """A new judge is tried on recorded runs, turned on, and listed with its state."""
    collector, model = asking
    with open_tab(chromium, collector.endpoint, "light", 1280, 900) as tab:
        page = tab.open("/projects/shop/judges")
        page.get_by_role("link", name="New judge").click()
        page.get_by_label("Name", exact=True).fill("fits")
        page.get_by_label("Rubric").fill("Does the answer fit? {{output}}")
        page.get_by_label("Model", exact=True).fill("small")
        page.get_by_role("button", name="Try on 20 runs").click()
        expect(page.locator("#trial")).to_contain_text("Unknown placeholder {{output}}")
        page.get_by_label("Rubric").fill("Does the answer fit? {{outputs}}")
        page.get_by_role("button", name="Try on 20 runs").click()
        expect(page.locator("#trial")).to_contain_text("Tried on 3 runs")
        expect(page.locator("#trial tbody tr")).to_have_count(3)
        expect(page.locator("#trial")).to_contain_text("Cost per day")
        expect(page.locator("#trial")).to_contain_text("It does.")
        page.screenshot(path=shots / "rubric-form.png")
        assert len(model.requests) == 3
        page.get_by_role("button", name="Save and turn on").click()
        row = page.locator("#rubrics tbody tr")
        expect(row).to_contain_text("fits")
        expect(row).to_contain_text("on")
        page.screenshot(path=shots / "rubric-list.png")
        row.get_by_role("link", name="fits").click()
        page.get_by_role("link", name="Alert when the budget is used up").click()
        expect(page.get_by_label("Condition", exact=True)).to_have_value('budget_used("fits") >= 1')
        expect(page.get_by_text("The rule would not have fired").first).to_be_visible()
        page.go_back()
        page.get_by_role("button", name="Turn off").click()
        expect(page.locator("#rubrics tbody tr")).to_contain_text("off")
    [saved] = collector.get("/projects/shop/rubric-judges")["judges"]
    assert (saved["instruction"], saved["is_on"]) == ("Does the answer fit? {{outputs}}", False)


@at_night
def test_score_history(
    chromium: Browser, asking: tuple[CollectorProcess, LanguageModel], shots: Path
) -> None:
    """The page shows the cost of a backfill, and starts the backfill only after a second click."""
    collector, model = asking
    shop = JudgedShop(collector, model)
    shop.save(is_on=False)
    with open_tab(chromium, collector.endpoint, "light", 1280, 1400) as tab:
        page = tab.open("/projects/shop/judge-rubric?edit=fits")
        part = page.locator("#backfill")
        part.get_by_label("Past").fill("a month")
        part.get_by_role("button", name="Estimate cost").click()
        expect(part.get_by_role("alert")).to_contain_text("Invalid last 'a month'")
        part.get_by_label("Past").fill("7d")
        part.get_by_role("button", name="Estimate cost").click()
        expect(part.locator("#plan")).to_contain_text("about $ 0.00")
        expect(part.locator("#plan")).to_contain_text("from the size of 3 runs")
        page.screenshot(path=shots / "rubric-backfill.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        assert not model.requests
        part.get_by_role("button", name="Score 3 runs").click()
        status = page.locator("#backfill").get_by_role("status")
        expect(status).to_contain_text("of 3 runs are scored")
        expect(status).to_contain_text(re.compile("Finished|Budget used up"))
        page.screenshot(path=shots / "rubric-backfilled.png", full_page=True)
    assert 1 <= len(model.requests) <= 3


@at_night
def test_no_sideways_scroll(
    chromium: Browser, asking: tuple[CollectorProcess, LanguageModel], shots: Path
) -> None:
    """The form fits a phone."""
    collector, _ = asking
    with open_tab(chromium, collector.endpoint, "dark", 390, 800) as tab:
        page = tab.open("/projects/shop/judge-rubric")
        expect(page.get_by_role("button", name="Save and turn on")).to_be_visible()
        page.screenshot(path=shots / "rubric-form-phone.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
