"""Two reviewers can work through a labelling queue with keys, without seeing other answers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml import Client
from tests.support.browser.axe import find_violations
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess, running

RUNS: Final = 6
QUEUE: Final[dict[str, Any]] = {
    "judge": "grounded",
    "question": "Is the answer grounded?",
    "labels": [
        {"label": "Yes", "passed": True},
        {"label": "No", "passed": False, "note": "one claim or more is not"},
        {"label": "Cannot say", "is_answer": False},
    ],
    "dataset": "qa",
}


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Start a collector with six answers."""
    with running(tmp_path_factory.mktemp("data")) as opened:
        client = Client("shop", endpoint=opened.endpoint)

        @client.trace
        def search(text: str) -> list[str]:
            return [f"passage about {text}"]

        @client.trace
        def answer(question: str) -> str:
            return f"It says: {search(question)[0]}"

        for place in range(RUNS):
            answer(f"question {place}")
        assert client.flush()
        client.close()
        yield opened


def save(collector: CollectorProcess, name: str, **more: Any) -> None:
    body = json.dumps({**QUEUE, "where": 'inputs.question != ""', **more}).encode()
    address = f"{collector.endpoint}/api/v1/projects/shop/queues/{name}"
    request = Request(address, body, {"content-type": "application/json"}, method="PUT")
    with urlopen(request, timeout=30) as answered:
        assert answered.status == 200


@pytest.fixture
def tab(chromium: Browser, collector: CollectorProcess) -> Iterator[Tab]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    opened = Tab(context, collector.endpoint)
    yield opened
    context.close()
    assert opened.complaints == []


def progress(collector: CollectorProcess, name: str, who: str) -> Any:
    return collector.get(f"/projects/shop/queues/{name}?annotator={who}")["progress"]


def left(page: Page, number: int) -> None:
    expect(page.locator("#left")).to_have_text(re.compile(f"{RUNS - number} of {RUNS}$"))


def test_keys(tab: Tab, collector: CollectorProcess) -> None:
    """Keys do everything: 1 to 9 choose, Enter saves and continues, u undoes, s skips."""
    save(collector, "keys")
    page = tab.open("/projects/shop/queues/keys?as=ann")
    left(page, RUNS)
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_have_text("Choose an answer first")
    page.keyboard.press("1")
    expect(page.get_by_role("radio", name="Yes")).to_be_checked()
    page.keyboard.press("2")
    expect(page.locator("[data-choice='2']")).to_be_checked()
    page.keyboard.press("Enter")
    left(page, RUNS - 1)
    assert progress(collector, "keys", "ann")["answered"] == 1
    page.keyboard.press("u")
    left(page, RUNS)
    assert progress(collector, "keys", "ann")["answered"] == 0
    first = page.locator("#answer").get_attribute("data-run")
    page.keyboard.press("s")
    expect(page.locator("#answer")).not_to_have_attribute("data-run", str(first))
    for number in range(RUNS, 0, -1):
        left(page, number)
        page.keyboard.press("1")
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^You are done"))).to_be_visible()
    assert progress(collector, "keys", "ann") == {
        "runs": RUNS,
        "done": RUNS,
        "answered": RUNS,
        "left": 0,
    }


def test_fast_keys(tab: Tab, collector: CollectorProcess) -> None:
    """Keys that are pressed without waiting for the next item all count, each for its own run."""
    save(collector, "fast", judge="fast")
    page = tab.open("/projects/shop/queues/fast?as=ann")
    left(page, RUNS)
    for number in range(RUNS):
        page.keyboard.press("12"[number % 2])
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^You are done"))).to_be_visible()
    assert progress(collector, "fast", "ann")["answered"] == RUNS


def test_typing(tab: Tab, collector: CollectorProcess) -> None:
    """Typing a comment chooses no answer; the comment is saved with the answer and a new item."""
    save(collector, "typing", judge="typed")
    page = tab.open("/projects/shop/queues/typing?as=ann")
    run_id = page.locator("#answer").get_attribute("data-run")
    page.get_by_label("Comment (optional)").fill("")
    page.keyboard.type("2 of 3 claims")
    expect(page.get_by_role("radio", checked=True)).to_have_count(0)
    page.get_by_text("Yes", exact=True).click()
    page.get_by_label("Also add this run to data set").check()
    page.get_by_role("button", name="Save").click()
    left(page, RUNS - 1)
    words = collector.get(f"/runs/{run_id}")["evaluations"]
    [said] = [word for word in words if word["judge"] == "typed"]
    assert (said["label"], said["explanation"], said["annotator"]) == (
        "Yes",
        "2 of 3 claims",
        "ann",
    )
    [item] = collector.get("/projects/shop/datasets/qa/versions/1/items")["items"]
    assert (item["expected"], item["source_run"]) == ("Yes", run_id)


def test_two_at_once(chromium: Browser, collector: CollectorProcess) -> None:
    """Two reviewers share a queue: each run is labelled once, and labels stay hidden."""
    save(collector, "shared", judge="shared")
    contexts = [chromium.new_context() for _ in range(2)]
    people = {"ann": "1", "bob": "2"}
    pages = {
        who: Tab(context, collector.endpoint).open(f"/projects/shop/queues/shared?as={who}")
        for who, context in zip(people, contexts, strict=True)
    }
    for turn in range(RUNS // 2):
        shown = [page.locator("#answer").get_attribute("data-run") for page in pages.values()]
        assert shown[0] != shown[1]
        for who, page in pages.items():
            expect(page.locator("main")).not_to_contain_text("Scores and labels")
            page.keyboard.press(people[who])
            page.keyboard.press("Enter")
            if turn < RUNS // 2 - 1:
                expect(page.locator("#answer")).not_to_have_attribute(
                    "data-run", str(shown[list(people).index(who)])
                )
    for page in pages.values():
        expect(page.locator("main")).to_contain_text(re.compile(f"[{RUNS - 1}{RUNS}] of {RUNS}"))
    for who, page in pages.items():
        page.reload()  # near the end of the queue, both may have been shown the same run
        expect(page.get_by_role("heading", name=re.compile("^You are done"))).to_be_visible()
        assert progress(collector, "shared", who)["answered"] == RUNS // 2
    assert progress(collector, "shared", "eve")["done"] == RUNS
    for context in contexts:
        context.close()


@pytest.mark.usefixtures("node")  # installs axe-core
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_looks(
    chromium: Browser, collector: CollectorProcess, theme: Any, width: int, shots: Path
) -> None:
    """The pages of queues violate no rule of WCAG 2.2 AA and fit a phone."""
    save(collector, "looks", judge="looks", people=2)
    save(collector, "keys")
    context = chromium.new_context(color_scheme=theme, viewport={"width": width, "height": 900})
    opened = Tab(context, collector.endpoint)
    found = {}
    paths = (
        "queues",
        "queue-form",
        "queues/looks",
        "queues/looks?as=ann",
        "queues/looks/agreement",
        "queues/keys/agreement",
    )
    for path in paths:
        page = opened.open(f"/projects/shop/{path}")
        found[path] = find_violations(page)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found[path].append("wider than the window")
        name = re.sub(r"\W+", "-", path)
        page.screenshot(path=shots / f"queue-{name}-{width}-{theme}.png", full_page=True)
    context.close()
    assert found == {path: [] for path in paths}
    assert opened.complaints == []


def test_made_on_the_page(tab: Tab, collector: CollectorProcess) -> None:
    """The form creates a queue with its answers or with a scale, and opens it."""
    page = tab.open("/projects/shop/queues")
    page.get_by_role("link", name="New queue").click()
    form = page.locator("#queue")
    form.locator("#more summary").click()
    form.get_by_label("Name of the queue").fill("made")
    form.get_by_label("Question").fill("Is it short?")
    form.get_by_label("Compare the answers with this judge").fill("short")
    form.get_by_label("Reviewers per run").fill("2")
    form.get_by_role("button", name="Create queue").click()
    expect(page).to_have_url(re.compile("/projects/shop/queues/made$"))
    made = collector.get("/projects/shop/queues/made")
    assert [(one["label"], one["passed"], one["is_answer"]) for one in made["labels"]] == [
        ("Yes", True, True),
        ("No", False, True),
        ("Cannot say", None, False),
    ]
    assert (made["people"], made["where"], made["hidden"]) == (2, 'last("7d")', True)
    page = tab.open("/projects/shop/queues")
    page.get_by_role("link", name="New queue").click()
    form.get_by_label("Answers to choose from").fill("1 to 5, passes from 4")
    form.get_by_label("Question").fill("stars?")
    form.get_by_role("button", name="Create queue").click()
    expect(page).to_have_url(re.compile("/projects/shop/queues/stars$"))
    assert collector.get("/projects/shop/queues/stars")["scale"] == {
        "low": 1,
        "high": 5,
        "passes_from": 4,
    }
