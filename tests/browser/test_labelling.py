"""A reviewer's answer is kept while the collector cannot be reached."""

import json
import re
from urllib.request import Request, urlopen

from playwright.sync_api import Browser, expect

from tests.support.collector import CollectorProcess

DOCS = "docs-search"
QUEUE = {
    "judge": "checked by hand",
    "question": "Is the answer right?",
    "labels": [{"label": "Right", "passed": True}, {"label": "Wrong", "passed": False}],
    "where": 'model == "answer"',
    "limit": 3,
}


def test_failed_save(chromium: Browser, demo: CollectorProcess) -> None:
    """A failed save shows an error, keeps the answer, and can be retried."""
    address = f"{demo.endpoint}/api/v1/projects/{DOCS}/queues/kept"
    headers = {"content-type": "application/json"}
    request = Request(address, json.dumps(QUEUE).encode(), headers, method="PUT")
    with urlopen(request, timeout=120) as answered:
        assert answered.status == 200
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{demo.endpoint}/projects/{DOCS}/queues/kept")
    page.get_by_label("Your name").fill("Mira")
    page.get_by_role("button", name="Start labelling").click()
    expect(page.locator("#left")).to_have_text("Mira · 0 of 3")
    page.get_by_text("Wrong", exact=True).click()
    page.get_by_label("Comment (optional)").fill("should be shipping")
    context.set_offline(True)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text(
        re.compile(r"Not saved\. The collector does not answer.*kept here; next try in \d+ s")
    )
    expect(page.get_by_label("Comment (optional)")).to_have_value("should be shipping")
    context.set_offline(False)
    page.get_by_role("button", name="Try now").click()
    expect(page.locator("#left")).to_have_text("Mira · 1 of 3")
    stored = demo.get(f"/projects/{DOCS}/queues/kept/agreement")["people"]["reviewers"]
    assert [(one["name"], one["answers"]) for one in stored] == [("Mira", 1)]
    context.close()
