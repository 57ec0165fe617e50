"""Deep, wide or long payloads are shown in part in each form, with links to the remaining parts."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.nightly.browser.hostile import (
    Story,
    Watch,
    choose,
    follow,
    go_on,
    payload,
    scroll,
    telling,
    unfold,
)

ENTRIES = 100_000
NUMBERS = 1_000_000


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with telling(tmp_path_factory.mktemp("values")) as told:
        yield told


@pytest.fixture(params=[390])
def watch(request: pytest.FixtureRequest, chromium: Browser, story: Story) -> Iterator[Watch]:
    watched = Watch(chromium, story.collector.endpoint, request.param)
    yield watched
    watched.close()


def test_wide_object(watch: Watch, story: Story) -> None:
    """100,000 entries are shown in part; the address holds the position and can reach the last."""
    value = {f"key {place}": place for place in range(ENTRIES)}
    path = story.add("wide", payload(value, {"a": [list(range(ENTRIES))], "b": 1}))
    page = watch.visit(
        path, scroll, choose("input", "Tree"), scroll, follow("#input .json .btn"), scroll
    )
    expect(page.locator("#input .json")).to_contain_text("key 399: 399")
    page.reload()
    expect(page.locator("#input .json")).to_contain_text("key 399: 399")
    watch.open(f"{path}?input=Tree&input_from={ENTRIES - 1}")
    expect(page.locator("#input .json")).to_have_text("key 99999: 99999")
    page = watch.visit(path, choose("output", "Tree"), unfold, follow("#output .json .btn"), unfold)
    expect(page.locator("#output .pager").first).to_contain_text("Top")
    assert "output_at=0.0" in page.url
    watch.visit(path, choose("input", "Raw"), choose("output", "Raw"), scroll)


def test_deep_value(watch: Watch, story: Story) -> None:
    """A link continues below the first 12 of 200 levels; 10,000 levels are shown as text."""
    deep = json.loads('{"a":' * 200 + "1" + "}" * 200)
    path = story.add(
        "deep", {**payload(outputs={"x": deep, "y": 0}), "otel_ml.inputs": "[" * 10_000}
    )
    page = watch.visit(
        path, choose("output", "Tree"), unfold, follow("#output .json .btn"), unfold, scroll
    )
    assert "output_at=0" + ".0" * 11 in page.url
    expect(page.locator("#input")).to_contain_text("10,000 characters")
    expect(page.locator("#output .pager").get_by_role("link", name="Top")).to_be_visible()


def test_long_text_in_a_tree(watch: Watch, story: Story) -> None:
    """A long text in a tree is cut, and a link leads to the full text in parts."""
    path = story.add("text", payload({"a": "b" * 50_000, "c": 1}))
    page = watch.visit(
        path,
        choose("input", "Tree"),
        follow("#input .json .btn"),
        unfold,
        go_on("input"),
        scroll,
    )
    expect(page.locator("#input .pager").last).to_contain_text("20,001 to 40,000 of 50,000")
    assert "input_at=0" in page.url
    assert "input_from=20000" in page.url


def test_chat_of_many_messages(watch: Watch, story: Story) -> None:
    """A chat of 5,000 messages is shown fifty at a time: as text from its end, and raw."""
    messages = [
        {"role": ("user", "assistant")[place % 2], "content": f"said {place} " + "word " * 700}
        for place in range(5_000)
    ]
    path = story.add("chat", payload({"messages": messages}))
    page = watch.visit(path, scroll, go_on("conversation", "Earlier"), unfold, scroll)
    pager = page.locator("#conversation .pager")
    expect(pager).to_contain_text("4,901 to 4,950 of 5,000 messages")
    expect(page.locator("#conversation .chat")).to_contain_text("said 4949 ")
    path = f"{path}?raw=1"
    page = watch.visit(path, scroll, go_on("input"), scroll)
    expect(page.locator("#input .pager")).to_contain_text("51 to 100 of 5,000 messages")
    expect(page.locator("#input .chat")).to_contain_text("said 50 ")
    page.reload()
    expect(page.locator("#input .chat")).to_contain_text("said 50 ")
    watch.visit(path, choose("input", "Tree"), unfold, choose("input", "Raw"), scroll)


TEXTS = {
    "marks": "[" * 4_000,
    "stars": "*a_ " * 1_000,
    "tables": "|a" * 50 + "|\n" + "|-" * 50 + "|\n",
    "quotes": "> " * 2_000,
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>[a](javascript:alert(1))",
    "image": "![seen](https://example.org/seen.png) [a](data:text/html,<script>alert(1)</script>)",
    "right to left": "\u202eabc\u2066 **def** &#x202E;",
    "wide": "x" * 4_000,
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_answer(watch: Watch, story: Story, name: str) -> None:
    """No Markdown of a message runs, loads or freezes anything."""
    said = [{"role": role, "content": TEXTS[name]} for role in ("system", "user", "assistant")]
    call = {"id": "c", "function": {"name": TEXTS[name], "arguments": TEXTS[name]}}
    called = {"role": "assistant", "reasoning_content": TEXTS[name], "tool_calls": [call]}
    path = story.add(f"markdown {name}", payload({"messages": [*said, called] * 12}, said[2]))
    page = watch.visit(path, unfold, scroll)
    expect(page.locator("#conversation .final")).to_have_count(1)
    assert page.locator("#conversation").locator("img, script").count() == 0


def test_large_tables(watch: Watch, story: Story) -> None:
    """100,000 table rows are shown fifty at a time, and 50 of 1,000 columns are shown."""
    rows = [{"row": place, "square": place * place} for place in range(ENTRIES)]
    columns = {f"column {place}": [place] * 100 for place in range(1_000)}
    path = story.add("table", payload(rows, columns))
    page = watch.visit(path, scroll, go_on("input"), scroll)
    expect(page.locator("#input .pager")).to_contain_text("51 to 100 of 100,000 rows")
    expect(page.locator("#input tbody tr").first).to_contain_text("50")
    expect(page.locator("#output thead th[scope]")).to_have_count(50)
    expect(page.locator("#output")).to_contain_text("Only the first 50 of 1,000 columns are shown.")
    watch.visit(path, choose("output", "Tree"), unfold, scroll)


def test_many_numbers(watch: Watch, story: Story) -> None:
    """A million numbers are shown as their shape and statistics."""
    path = story.add("numbers", payload([place % 1_000 for place in range(NUMBERS)]))
    page = watch.visit(path, choose("input", "Tree"), scroll, choose("input", "Numbers"))
    expect(page.locator("#input .kv")).to_contain_text("1000000")


def test_numbers_that_json_has_not(watch: Watch, story: Story) -> None:
    """NaN, infinity and integers of 5,000 digits are shown as the received text."""
    huge = "9" * 5_000
    path = story.add(
        "odd numbers",
        {"otel_ml.inputs": f'{{"a": NaN, "b": -Infinity, "c": {huge}}}', "otel_ml.outputs": huge},
    )
    page = watch.visit(path, unfold, scroll)
    expect(page.locator("#input")).to_contain_text('{"a": NaN, "b": -Infinity')
    expect(page.locator("#output")).to_contain_text("9" * 500)


def test_an_address_may_say_anything(watch: Watch, story: Story) -> None:
    """An invalid position gets a 400 with a message; one past the end shows the last part."""
    path = story.add("address", payload([{"role": "user", "content": "hello"}] * 60))
    page: Page = watch.open(f"{path}?input_from=9999999")
    expect(page.locator("#input .pager")).to_contain_text("51 to 60 of 60 messages")
    for wrong in ("input_from=-1", "input_from=1e9", "input=Tree&input_at=7.x"):
        answer = page.request.get(f"{story.collector.endpoint}{path}?{wrong}")
        assert (answer.status, "expected" in answer.text() or "nothing" in answer.text()) == (
            400,
            True,
        )


ATTACK = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
ATTACKS = {
    "table": {
        "type": ATTACK,
        "shape": [2_000, 2],
        "columns": [ATTACK],
        "head": ATTACK,
        "cells": {ATTACK: [ATTACK] * 9, "n": [1, 2]},
        "rows": {ATTACK: [ATTACK], "n": [None]},
    },
    "image": {"type": "PIL.Image", "mode": ATTACK, "size": [9, 9], "thumbnail": ATTACK},
    "svg": {
        "type": "PIL.Image",
        "mode": "L",
        "size": [9, 9],
        "thumbnail": "data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+",
    },
    "array": {"dtype": ATTACK, "shape": [ATTACK], "values": [1, 2, 3, 4, 5, 6, 7, 8]},
    "pixels": {"dtype": "uint8", "shape": [9, 9, 3], "sample": {"mode": ATTACK, "size": [9, 9]}},
    "audio": {"input_audio": {"data": "PHNjcmlwdD4=", "format": ATTACK}},
    "link": {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}},
    "documents": [{"content": ATTACK, "score": 1, "metadata": {"source": ATTACK}}] * 3,
    ATTACK: ATTACK,
}


def test_values_that_attack(watch: Watch, story: Story) -> None:
    """Nothing from a value runs or is fetched: on the page, in the list and in its preview."""
    path = story.add("attack", {**payload(ATTACKS, ATTACKS), "otel_ml.tags.t": ATTACK})
    watch.visit(path, unfold, scroll)
    page = watch.open("/projects/hostile/runs?where=model+%3D%3D+%22attack%22")
    page.locator("tr[data-run]").first.click()
    expect(page.locator("#preview #input")).to_be_visible()
    watch.settle()
    expect(page.locator("#preview")).to_contain_text("onerror=alert(1)")
    assert page.locator("#preview img, #preview audio, #preview script").count() == 0
