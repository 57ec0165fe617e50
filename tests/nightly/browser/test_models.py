"""Aliases, metrics and lineage of a model in a browser, on its page and on the pages of runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, expect

from otel_ml import Client, Judge
from otel_ml.reader import Reader
from tests.browser.test_pages import shoot
from tests.support.browser.fixtures import Tab, open_tab
from tests.support.collector import CollectorProcess, running

RUNS: Final[dict[str, str]] = {}
JUDGES: Final = ("agrees with the reference answer", "exact", "tone of voice is friendly")


def judged(number: int) -> int:
    """A model whose calls three judges score."""
    return number


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Start a collector with a model of three versions, produced and used by runs."""
    with running(tmp_path_factory.mktemp("data")) as opened:
        client = Client("shop", endpoint=opened.endpoint)
        for depth in (3, 4, 5):
            with client.run("fit-churn", params={"depth": depth}) as fit:
                fit.log("table", [[1, 2], [3, 4]])
                fit.uses("orders:v7", kind="dataset")
                model = client.model("churn", {"depth": depth})
                model.log_metrics({"auc": 0.8 + depth / 100, "loss": [2.0, 1 / depth]})
                fit.produced(model)
            assert client.flush()
        client.set_alias("churn", "champion", 1, by="ann")
        client.set_alias("churn", "champion", 2, by="bob")
        client.set_alias("churn", "candidate", 3, by="release pipeline")
        with Reader("shop", endpoint=opened.endpoint) as reader:
            [table] = reader.artifacts(run_id=fit.id)
        with client.run("score") as score:
            score.uses("churn@champion", client.model("churn", {"depth": 5}), table)
        assert client.flush()
        client.assess(*(Judge(name, "", lambda: 1.0) for name in JUDGES))(judged)(1)
        for step in (1, 2):
            stepped = client.trace(name="steps", params={"step": step})(judged)
            for number in range(110):
                stepped(number)
        assert client.flush()
        client.close()
        RUNS.update(fit=fit.id, score=score.id)
        yield opened


@pytest.fixture(params=["light", "dark"])
def page(
    request: pytest.FixtureRequest, chromium: Browser, collector: CollectorProcess
) -> Iterator[Tab]:
    """Open a tab in one theme; fail the test if the console logged anything."""
    with open_tab(chromium, collector.endpoint, request.param, 1280, 1000) as opened:
        yield opened


def test_page_of_a_model(page: Tab, shots: Path) -> None:
    """Versions show aliases and metrics, alias moves are listed, and lineage leads to the runs."""
    shown = page.open("/projects/shop/models/churn")
    rows = shown.locator("#versions > table tbody tr")
    first, second, _ = rows.all_inner_texts()
    assert first.split()[:2] == ["v3", "candidate"]
    assert second.split()[:2] == ["v2", "champion"]
    assert second.split()[-2:] == ["0.84", "0.250"]
    shown.locator("#aliases summary").click()
    moves = shown.locator("#aliases tbody tr")
    assert [row.split("\t")[1:4] for row in moves.all_inner_texts()] == [
        ["candidate", "v3", "release pipeline"],
        ["champion", "v2", "bob"],
        ["champion", "v1", "ann"],
    ]
    shoot(shown, shots, "model-entity")
    lineage = shown.locator("#lineage")
    lineage.scroll_into_view_if_needed()
    shoot(shown, shots, "model-lineage")
    lineage.get_by_role("link").first.click()
    expect(shown).to_have_url(
        f"{shown.url.partition('/projects')[0]}/projects/shop/runs/{RUNS['fit']}"
    )


def test_page_of_a_run(page: Tab, shots: Path) -> None:
    """The page of a run leads to its inputs, and from an input to the runs that use it."""
    shown = page.open(f"/projects/shop/runs/{RUNS['score']}")
    lineage = shown.locator("#lineage")
    expect(lineage).to_contain_text("champion")
    lineage.scroll_into_view_if_needed()
    shoot(shown, shots, "run-lineage")
    lineage.get_by_role("link", name="table").click()
    expect(shown.locator("#lineage")).to_contain_text("Used by")
    shoot(shown, shots, "run-lineage-produced")
    shown.locator("#lineage").get_by_role("link", name="churn").click()
    expect(shown.locator("h1")).to_have_text("churn")


def test_versions_of_judges_are_seen(page: Tab, shots: Path) -> None:
    """A judge's column always shows its full version; the title has both name and version."""
    shown = page.open("/projects/shop/models/judged")
    for table in ("#versions > table", "#curves"):
        model = shown.locator(f"{table} tbody td").first.bounding_box()
        assert model is not None
        assert model["width"] >= 40  # fits the version of the model itself
        heads = shown.locator(f"{table} th:has(b.v)")
        expect(heads).to_have_count(len(JUDGES))
        for head in heads.all():
            cell, version = head.bounding_box(), head.locator("b.v").bounding_box()
            assert cell is not None
            assert version is not None
            assert version["x"] >= cell["x"]
            assert version["x"] + version["width"] <= cell["x"] + cell["width"]
        titles = [head.locator("[title]").get_attribute("title") for head in heads.all()]
        assert sorted(str(title).partition(":")[0] for title in titles) == [
            f"Judge “{name}” v1" for name in JUDGES
        ]
    shoot(shown, shots, "model-judges")


def test_verdict_comes_after_the_page(page: Tab, shots: Path) -> None:
    """The page of a model shows "not enough data" for a version that has just started."""
    shown = page.open("/projects/shop/models/steps")
    expect(shown.locator("#versus h2")).to_have_text("v2 vs v1")
    expect(shown.locator("#verdict")).to_contain_text("Not enough data")
    shoot(shown, shots, "model-verdict")
