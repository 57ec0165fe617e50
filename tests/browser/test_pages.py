"""Each page shows the API's numbers for the demo's data."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, Page, expect

from otel_ml_collector.wording import number, slice_name
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess
from tests.support.examples import AT_NIGHT
from tests.support.sampling import at_night, harder, sampled
from tests.support.waiting import wait_until

pytestmark = sampled(without="*dark*")
DOCS = "docs-search"


def shoot(page: Page, shots: Path, name: str) -> None:
    theme = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'")
    page.screenshot(path=shots / f"{name}-{theme}.png")


def newest(demo: CollectorProcess, where: str) -> dict[str, Any]:
    run: dict[str, Any] = demo.runs(DOCS, where=where)[0]
    return run


def test_home_counts_the_projects(tab: Tab, demo: CollectorProcess, shots: Path) -> None:
    """The home page shows each project with its number of runs in the last 24 hours."""
    names = [project["project"] for project in demo.get("/projects")["projects"]]

    def shows_every_number() -> bool:
        page = tab.open("/")
        rows = page.locator("tbody").first.get_by_role("row")
        return all(
            f"{demo.get(f'/projects/{name}/stats')['total']['runs']:,} run"
            in str(rows.filter(has=page.get_by_role("link", name=name, exact=True)).text_content())
            for name in names
        )

    # Runs of the day before leave the 24 hours between the page and the answer of the API.
    wait_until(shows_every_number)
    shoot(tab.page, shots, "home")


@at_night
def test_home_says_whether_anything_is_wrong(tab: Tab, shots: Path) -> None:
    """The sentence on top has the sum of the problems in all rows; a phone cuts off no text."""
    page = tab.open("/")
    status = page.locator("#status")
    expect(status).to_contain_text("runs in the last 24 hours were checked")
    counts = re.findall(r"(\d+) problems?", page.locator("#projects").inner_text())
    expect(status).to_contain_text(f"{sum(map(int, counts))} problem")
    page.set_viewport_size({"width": 390, "height": 844})
    texts = page.locator("#projects td.wrap").all()
    assert texts
    for text in texts:
        assert text.evaluate("cell => cell.scrollHeight <= cell.clientHeight")
    shoot(page, shots, "home-phone-status")


def test_runs_are_those_of_the_api(tab: Tab, demo: CollectorProcess, shots: Path) -> None:
    """The runs page lists the API's runs in order, with their scores."""
    page = tab.open(f"/projects/{DOCS}/runs")
    runs = demo.get(f"/projects/{DOCS}/runs")["runs"]
    links = page.locator(".runs .open")
    assert [link.get_attribute("href") for link in links.all()] == [
        f"/projects/{DOCS}/runs/{run['run_id']}" for run in runs
    ]
    scored = next(place for place, run in enumerate(runs) if "grounded" in run["scores"])
    row = page.locator(".runs tbody tr").nth(scored)
    expect(row).to_contain_text(f"{runs[scored]['scores']['grounded']:.2f}")
    total = demo.get("/projects")["projects"]
    [count] = [project["runs"] for project in total if project["project"] == DOCS]
    expect(page.locator("main")).to_contain_text(f"{count:,} calls")
    shoot(page, shots, "runs")


@at_night
def test_scrolling_brings_every_run_once(tab: Tab, demo: CollectorProcess) -> None:
    """Scrolling to the end of a filtered list loads all its runs, each once."""
    where = 'model == "answer"'
    page = tab.open(f"/projects/{DOCS}/runs?where={quote(where)}")
    expected = [run["run_id"] for run in demo.runs(DOCS, where=where)]
    for _ in range(len(expected) // 50 + 1):
        loaded = page.locator(".runs .open").count()
        if loaded == len(expected):
            break
        page.locator(".runs tbody tr").last.scroll_into_view_if_needed()
        page.wait_for_function(
            "loaded => document.querySelectorAll('.runs .open').length > loaded", arg=loaded
        )
    hrefs = [link.get_attribute("href") or "" for link in page.locator(".runs .open").all()]
    assert [href.rsplit("/", 1)[1] for href in hrefs] == expected


@at_night
def test_filter_is_typed_and_taken_back(tab: Tab, demo: CollectorProcess) -> None:
    """A filter typed after / narrows the list like the API, and an empty filter resets it."""
    page = tab.open(f"/projects/{DOCS}/runs")
    page.keyboard.press("/")
    page.keyboard.type('outcome == "error"')
    page.keyboard.press("Enter")
    page.wait_for_load_state("networkidle")
    errors = demo.runs(DOCS, where='outcome == "error"')
    expect(page.locator(".runs .open")).to_have_count(len(errors))
    expect(page.locator("main")).to_contain_text(f"{len(errors)} calls")
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(page.locator(".runs .open")).to_have_count(50)


@at_night
def test_wrong_filter_points_at_its_column(
    chromium: Browser, demo: CollectorProcess, shots: Path
) -> None:
    """A filter with a type error shows the reason at a caret."""
    page = chromium.new_page()
    page.goto(f"{demo.endpoint}/projects/{DOCS}/runs?where=latency_ms+%3E+%22fast%22")
    expect(page.get_by_role("alert")).to_contain_text("^ Expected a number, found 'fast'")
    shoot(page, shots, "wrong-filter")
    page.close()


def test_run_page_shows_trace_payload_and_scores(
    tab: Tab, demo: CollectorProcess, shots: Path
) -> None:
    """The run page shows the trace's spans, inputs, outputs, scores with reasons, and tags."""
    summary = newest(demo, 'model == "answer" and version == 2')
    run = demo.get(f"/runs/{summary['run_id']}")
    page = tab.open(f"/projects/{DOCS}/runs/{run['run_id']}")
    trace = demo.get(f"/traces/{run['trace_id']}")["runs"]
    assert page.locator(".wf tbody tr").count() == len(trace) == 4
    main = page.locator("main")
    expect(main).to_contain_text(run["inputs"]["question"])
    expect(main).to_contain_text(run["outputs"]["answer"])
    for evaluation in run["evaluations"]:
        row = page.get_by_role("row", name=re.compile(rf"^{evaluation['judge']} v"))
        expect(row).to_contain_text(f"{evaluation['score']:.2f}")
        expect(row).to_contain_text("pass" if evaluation["passed"] else "fail")
        expect(row).to_contain_text(evaluation["explanation"])
    expect(page.locator(".tag").filter(has_text="client")).to_contain_text(run["tags"]["client"])
    shoot(page, shots, "run")


@at_night
def test_failed_run_says_what_happened(tab: Tab, demo: CollectorProcess, shots: Path) -> None:
    """The page of a failed run shows the error's type and message."""
    run = newest(demo, 'outcome == "error" and model == "ask"')
    page = tab.open(f"/projects/{DOCS}/runs/{run['run_id']}")
    expect(page.locator(".note.error")).to_contain_text(run["error_type"])
    expect(page.locator(".note.error")).to_contain_text(run["error_message"])
    shoot(page, shots, "failed-run")


@at_night
def test_text_lines_stand_on_their_run(tab: Tab, demo: CollectorProcess) -> None:
    """A log line of a run is on its page with its severity."""
    summary = newest(demo, 'model == "retrieve"')
    run = demo.get(f"/runs/{summary['run_id']}")
    page = tab.open(f"/projects/{DOCS}/runs/{run['run_id']}")
    [line, *_] = run["logs"]
    expect(page.locator(".log")).to_contain_text(line["message"])
    expect(page.locator(".log")).to_contain_text(line["severity"])


@at_night
def test_models_page_counts_runs_and_versions(
    tab: Tab, demo: CollectorProcess, shots: Path
) -> None:
    """The models page shows each model with its runs and latest version."""
    page = tab.open(f"/projects/{DOCS}/models")
    for model in demo.get(f"/projects/{DOCS}/models")["models"]:
        name = page.get_by_role("link", name=model["model"], exact=True)
        row = page.get_by_role("row").filter(has=name)
        expect(row).to_contain_text(f"{model['runs']:,}")
        version = model["latest_version"]
        expect(row).to_contain_text("–" if version is None else f"v{version}")
    shoot(page, shots, "models")


@at_night
def test_model_page_compares_two_versions(tab: Tab, demo: CollectorProcess, shots: Path) -> None:
    """The model page shows the numbers of each version and marks changed lines."""
    page = tab.open(f"/projects/{DOCS}/models/answer")
    versions = demo.get(f"/projects/{DOCS}/models/answer/versions")["versions"]
    table = page.locator("#versions table")
    for version in versions:
        row = table.get_by_role("row").filter(
            has=page.get_by_role("link", name=f"v{version['version']}", exact=True)
        )
        expect(row).to_contain_text(f"{version['runs']:,}")
        for judge in version["judges"]:
            share = 100 * judge["passed"] / judge["judged"]
            expect(row).to_contain_text(f"{share:.0f}" if share in {0, 100} else f"{share:.1f}")
    expect(page.locator(".diff").first.locator("ins").first).to_be_visible()
    expect(page.locator("main")).to_contain_text("WORDS 40 → 60")
    shoot(page, shots, "model")


@at_night
def test_metrics_page_draws_the_loss(tab: Tab, demo: CollectorProcess, shots: Path) -> None:
    """The metrics page draws one curve for each metric and shows its last value."""
    page = tab.open("/projects/digits/metrics")
    [owner, *_] = demo.get("/projects/digits/metrics")["runs"]
    series = demo.get("/projects/digits/metrics", run_id=owner["run_id"])["series"]
    figures = page.locator("figure.curve")
    assert figures.count() == len(series) == 2
    expect(page.locator(".plot canvas")).to_have_count(2)
    for figure, one in zip(figures.all(), series, strict=True):
        expect(figure).to_contain_text(one["name"])
        expect(figure).to_contain_text(f"{len(one['points'])} logged values")
        expect(figure.locator(".last")).to_have_text(number(one["points"][-1]["value"]))
    shoot(page, shots, "metrics")


def test_empty_project_teaches_the_next_step(
    chromium: Browser, demo: CollectorProcess, shots: Path
) -> None:
    """A project without runs shows code to paste."""
    page = chromium.new_page()
    page.goto(f"{demo.endpoint}/projects/nothing-here/runs")
    expect(page.locator("#first-steps")).to_contain_text(
        'Client("nothing-here", endpoint="http://127.0.0.1:'
    )
    shoot(page, shots, "empty")
    page.close()


@harder
def test_pages_fit_a_phone(chromium: Browser, demo: CollectorProcess, shots: Path) -> None:
    """No page is wider than a phone."""
    run = newest(demo, 'model == "answer"')
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    pages = (
        ("home", "/"),
        ("runs", f"/projects/{DOCS}/runs"),
        ("run", f"/projects/{DOCS}/runs/{run['run_id']}"),
        ("model", f"/projects/{DOCS}/models/answer"),
        ("metrics", "/projects/digits/metrics"),
        ("judges", f"/projects/{DOCS}/judges"),
        ("judge", f"/projects/{DOCS}/judges/grounded"),
        ("monitor", f"/projects/{DOCS}/monitor"),
        ("fields", f"/projects/{DOCS}/fields"),
    )
    for name, path in pages if AT_NIGHT else pages[::2]:
        page.goto(demo.endpoint + path)
        page.wait_for_load_state("networkidle")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{path} is {width} px wide"
        page.screenshot(path=shots / f"{name}-phone.png")
    page.close()


@at_night
def test_monitor_opens_a_slice(tab: Tab, demo: CollectorProcess, shots: Path) -> None:
    """A slice on the Monitor page equals the API's, and opens.

    If it is worse, its page is that of a problem, with examples.
    """
    every = demo.get(f"/projects/{DOCS}/slices")["slices"]
    told = [one for one in every if one["dimension"] != "outcome"]
    page = tab.open(f"/projects/{DOCS}/monitor")
    rows = page.locator("#slices tbody tr")
    name = slice_name(told[0]["name"])
    expect(rows.first).to_contain_text(name)
    page.screenshot(path=shots / "monitor.png")
    worst = rows.first.locator("td.narrow")
    expect(worst).to_be_hidden()
    page.set_viewport_size({"width": 390, "height": 844})
    expect(worst).to_be_visible()
    expect(worst).not_to_be_empty()
    compared = [one for one in told if any(cell["n"] for cell in one["cells"])]
    assert len(compared) > 1
    for text in page.locator("#slices td.narrow").all_inner_texts():
        assert re.search(r"\d", text), text
    page.set_viewport_size({"width": 1280, "height": 900})
    rows.first.get_by_role("link").first.click()
    expect(page.locator("h1")).to_contain_text(name)
    part = "#examples" if told[0]["word"] == "worse" else "#curves"
    expect(page.locator(f"{part} tbody tr").first).to_be_visible()
    page.screenshot(path=shots / "slice.png")


@at_night
def test_judge_shows_what_its_versions_said(tab: Tab, demo: CollectorProcess, shots: Path) -> None:
    """The judge's page shows the API's versions, and each bar links to the runs it counts."""
    tab.open(f"/projects/{DOCS}/judges")
    judges = demo.get(f"/projects/{DOCS}/judges")["judges"]
    names = tab.page.locator("#judges td:first-child a")
    assert names.all_inner_texts() == [judge["judge"] for judge in judges]
    shoot(tab.page, shots, "judges")
    page = tab.open(f"/projects/{DOCS}/judges/grounded")
    versions = demo.get(f"/projects/{DOCS}/judges/grounded/versions")["versions"]
    rows = page.locator("#versions tbody tr")
    for row, version in zip(rows.all(), versions, strict=True):
        expect(row).to_contain_text(f"v{version['version']}")
        expect(row).to_contain_text(f"{version['evaluations']:,}")
    shoot(page, shots, "judge")
    newest = versions[0]
    bars = [bar for bar in newest["distribution"] if bar["evaluations"]]
    links = page.locator("#scores .fig a")
    assert links.count() == len(bars)
    address = links.last.get_attribute("href")
    assert address is not None
    page = tab.open(address)
    number = bars[-1]["evaluations"]
    expect(page.locator("main")).to_contain_text(f"{number:,} calls")
