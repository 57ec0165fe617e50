"""Pages show all data of a traced service as text."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Browser

from otel_ml import Client, Judge
from tests.support.collector import CollectorProcess, running

PROJECT = "a/b <b>&\"'%?#ü"
SCRIPT = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Start a collector that received markup in every text field."""
    with running(tmp_path_factory.mktemp("hostile")) as collector:
        client = Client(PROJECT, endpoint=collector.endpoint)
        judge = Judge(f"judge {SCRIPT}", "", lambda outputs: (0.4, SCRIPT), lambda score: False)

        @client.assess(judge, name=f"model/{SCRIPT}", tags={SCRIPT: SCRIPT, "n": 3})
        def model(text: str) -> dict[str, str]:
            return {SCRIPT: text, "control": "\x00\x1b[31m", "rtl": "\u202eabc"}

        model(SCRIPT)
        model("long " * 200_000)
        with client.run("tr/ain?", params={SCRIPT: SCRIPT}) as run:
            run.info(SCRIPT)
            run.log_metrics({SCRIPT: 1.0, "nan": float("nan")}, step=1)
            run.log_metrics({SCRIPT: float("inf")}, step=2)
        with pytest.raises(ValueError, match="script"), client.run("fails"):
            raise ValueError(SCRIPT)
        assert client.flush()
        client.close()
        yield collector


def test_no_page_runs_what_it_shows(
    chromium: Browser, hostile: CollectorProcess, tmp_path: Path
) -> None:
    """Every reachable page loads, executes nothing, and logs nothing to the console."""
    page = chromium.new_page()
    complaints: list[str] = []
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    seen: set[str] = set()
    sorts: set[tuple[str, frozenset[str]]] = set()
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        response = page.goto(hostile.endpoint + path)
        assert response is not None
        assert response.status == 200, path
        if "json" in response.headers["content-type"]:
            continue
        page.wait_for_load_state("networkidle")
        foreign = "main script:not([src^='/static/']), main img:not([src^='/projects/'])"
        assert page.locator(foreign).count() == 0, path
        for link in page.locator("a[href^='/']:not([download], .not)").all():
            href = (link.get_attribute("href") or "").partition("#")[0]
            # Links that narrow filters or show parts of pages are endless: visit each kind once.
            parts = urlsplit(href)
            sort = (parts.path, frozenset(dict(parse_qsl(parts.query))) - {"where"})
            if href in seen or href in waiting or "+and+" in href or (sort[1] and sort in sorts):
                continue
            sorts.add(sort)
            waiting.append(href)
    page.close()
    assert complaints == []
    assert len(seen) > 15
