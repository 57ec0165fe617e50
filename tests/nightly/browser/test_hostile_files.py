"""Data that attacks the pages attacks the files, which run and request nothing of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Browser

from tests.nightly.browser.hostile import Story, payload, telling
from tests.nightly.browser.test_hostile_data import PROJECT, hostile
from tests.nightly.browser.test_hostile_images import SAID
from tests.nightly.browser.test_hostile_lists import Lists
from tests.nightly.browser.test_hostile_text import Texts
from tests.nightly.browser.test_hostile_traces import Traces
from tests.nightly.browser.test_hostile_values import ATTACKS
from tests.support.browser.files import open_saved
from tests.support.collector import CollectorProcess

__all__ = ["hostile"]
_MOST_BYTES: Final = 5_000_000


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A collector for the data of the tests of the pages."""
    with telling(tmp_path_factory.mktemp("files")) as told:
        yield told


def check(chromium: Browser, collector: CollectorProcess, address: str, folder: Path) -> None:
    """Save a file and open it: only its own script runs, and all images are inside."""
    file = folder / "file.html"
    text = collector.get_text(f"/api/v1{address}")
    assert text.startswith("<!doctype html>"), f"{address}: {text[:300]}"
    assert len(text.encode()) <= _MOST_BYTES, address
    file.write_text(text)
    with open_saved(chromium, file) as page:
        assert page.locator("script").count() == 1, address
        sources = page.locator("img").evaluate_all("all => all.map((one) => one.src)")
        assert all(source.startswith("data:image/") for source in sources), address
        unwanted = "iframe, object, embed, link, form, base, video, audio"
        assert page.locator(unwanted).count() == 0, address


def test_markup_in_every_field(
    chromium: Browser, hostile: CollectorProcess, tmp_path: Path
) -> None:
    """Markup in every field of a traced service is text in each file."""
    project = f"/projects/{quote(PROJECT, safe='')}"
    ids = [run["run_id"] for run in hostile.get(f"{project}/runs")["runs"]]
    assert len(ids) == 4
    sides = urlencode({"of": ids}, doseq=True)
    for path in (*(f"runs/{run_id}/file" for run_id in ids), f"compare/file?{sides}"):
        check(chromium, hostile, f"{project}/{path}", tmp_path)
    check(chromium, hostile, f"{project}/run-list/file?link=1", tmp_path)


def test_values_and_images(chromium: Browser, story: Story, tmp_path: Path) -> None:
    """Values and images that attack a page do nothing in a file."""
    paths = [story.add("attack", {**payload(ATTACKS, ATTACKS), "otel_ml.tags.t": "<b>"})]
    paths += [story.add(name, payload(image, image)) for name, (image, _) in SAID.items()]
    for path in paths:
        check(chromium, story.collector, f"{path}/file", tmp_path)


def test_texts_and_lists(chromium: Browser, story: Story, tmp_path: Path) -> None:
    """Reordering and endless texts, and thousands of records, are in bounded files."""
    texts, lists = Texts(story.collector), Lists(story.collector)
    texts.tell()
    lists.tell()
    for path in (texts.odd, texts.words, texts.texts, texts.plain, lists.address):
        check(chromium, story.collector, f"{path}/file", tmp_path)


def test_traces(chromium: Browser, story: Story, tmp_path: Path) -> None:
    """Traces of 50,000 spans, chains, cycles and impossible times are in bounded files."""
    traces = Traces(story.collector)
    traces.tell()
    ways = (traces.wide, traces.deep, traces.circle, traces.itself, traces.lost)
    for path in (*ways, *traces.times.values()):
        check(chromium, story.collector, f"{path}/file", tmp_path)
