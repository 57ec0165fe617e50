"""Slow cases of tests/browser/test_sign_in.py."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from otel_ml import Client
from tests.support.collector import CollectorProcess
from tests.support.keys import run_keys


def test_no_page_tells_of_another_project(
    chromium: Browser, own_collector: CollectorProcess, tmp_path: Path
) -> None:
    """A reader of one project finds the names of another project on no page, at any address."""
    for project, model in (("shop", "sell"), ("bank", "lend-secretly")):
        client = Client(project, endpoint=own_collector.endpoint)
        with client.run(model, params={"of": project}) as run:
            run.log_metrics({f"gain-{project}": 1.0}, step=1)
        assert client.flush()
        client.close()
    [hidden] = own_collector.runs("bank")
    own_collector.stop()
    folder = str(tmp_path / "data")
    made = run_keys("add", "--data-dir", folder, "--project", "shop", "--scope", "read")
    own_collector.restart()
    page = chromium.new_page()
    page.goto(f"{own_collector.endpoint}/")
    page.get_by_label("Key", exact=True).fill(made.stdout.strip())
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="All projects")).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.locator("details.switch > summary").first.click()
    expect(page.locator(".pop small")).to_have_count(1)
    assert "bank" not in page.content()
    for path in (
        "/projects/bank/runs",
        f"/projects/bank/runs/{hidden['run_id']}",
        "/projects/bank/models",
        "/projects/bank/models/lend-secretly",
        "/projects/bank/metrics",
        f"/projects/bank/metrics?run_id={hidden['run_id']}",
        "/projects/bank/more-runs",
        f"/projects/shop/runs/{hidden['run_id']}",
        f"/projects/shop/metrics?run_id={hidden['run_id']}",
        "/projects/shop/models/lend-secretly",
    ):
        answer = page.goto(own_collector.endpoint + path)
        assert answer is not None
        told = page.locator("main").inner_text()
        assert answer.status == 404 or "bank" not in path, path
        assert "gain-bank" not in told, path
        assert "lend-secretly" not in told or path.endswith("lend-secretly"), path
        assert "Show all runs" not in told, path  # would reveal that there are runs
    page.close()
