"""Lists every page in every state a user meets, for tests and for the contact sheet."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import numpy as np
from playwright.sync_api import Locator, Page

from otel_ml.capture.taker import describe
from otel_ml_collector.span import Span, Value
from tests.support.browser.agents import RESEARCH, make_research, send_research
from tests.support.browser.trips import TRIPS, send_trips
from tests.support.collector import CollectorProcess, running
from tests.support.keys import WRONG, run_keys
from tests.support.otel_ml_collector.houses import MODEL, TARGET, make_houses
from tests.support.otel_ml_collector.spans import (
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_sign,
    make_start,
)
from tests.support.otel_ml_collector.wire import encode

SCREENED = "/projects/breast-cancer"
DOCS = "/projects/docs-search"
NIGHTLY = "/projects/nightly"
WHERE = 'model == "answer" and scores["grounded"] < 0.5 and tags["client"] == "acme"'
WRONG_TYPE = 'latency_ms > "fast"'
SLICE = 'tags["client"] == "bigshot"'
NO_MODEL = 'model == "no such"'


def stay(page: Page) -> None:
    """Do nothing, so that the page is shown as it opens."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A page in one state.

    Attributes:
        name: A short name that can be used as a file name.
        address: The complete address, including the collector's.
        act: The user's actions after the page is open.
        status: The expected status of the response.
    """

    name: str
    address: str
    act: Callable[[Page], None] = stay
    status: int = 200

    def open(self, page: Page) -> None:
        """Open the stop in a tab, and wait until the page is idle."""
        answer = page.goto(self.address)
        assert answer is not None
        # A page that was slow to find an error has sent its frame, with the status 200.
        status = 200 if self.status == 200 else page.request.get(self.address).status
        assert status == self.status, f"{self.address}: {status}"
        assert answer.status in {200, status}, f"{self.address}: {answer.status}"
        page.wait_for_load_state("networkidle")
        self.act(page)
        page.wait_for_load_state("networkidle")


@contextmanager
def open_tour(demo: CollectorProcess, folder: Path) -> Iterator[list[Stop]]:
    """Yield all stops, with the demo's collector and three more that run meanwhile."""
    made = run_keys(
        "add", "--data-dir", str(folder / "locked"), "--project", "shop", "--scope=read"
    )
    assert made.returncode == 0, made.stderr
    with (
        running(folder / "bare") as bare,
        running(folder / "locked") as locked,
        running(folder / "nightly") as nightly,
    ):
        yield [
            Stop("home-empty", f"{bare.endpoint}/"),
            *_of_unfinished(nightly),  # unfinished runs count as running for five minutes only
            *_of_trips(nightly),
            *_of_agents(nightly),
            *_of_trainings(nightly),
            *_of_houses(nightly),
            *_of_values(nightly),
            *_over_demo(demo),
            Stop("sign-in", f"{locked.endpoint}/sign-in"),
            Stop("sign-in-wrong", f"{locked.endpoint}/projects/shop/runs", _try_wrong_key),
        ]


def _first_session(demo: CollectorProcess) -> str:
    """Return the path of a session of the demo."""
    sessions = demo.get(f"{DOCS}/sessions")["sessions"]
    return f"{DOCS}/sessions/{quote(sessions[0]['session'], safe='')}"


def _over_demo(demo: CollectorProcess) -> list[Stop]:
    def run(project: str, where: str) -> str:
        return f"/projects/{project}/runs/{demo.runs(project, where=where)[0]['run_id']}"

    answer = run("docs-search", 'model == "answer" and version == 2')
    [last, *_] = demo.get(f"{DOCS}/experiments")["experiments"]
    worse = f"{DOCS}/experiments/{last['run_id']}"
    [item, *_] = demo.get(f"{DOCS}/datasets/questions/versions/1/items")["items"]
    of_item = urlencode({"name": "questions", "version": 1, "item": item["id"]})
    stops = [
        Stop("home", "/"),
        Stop("projects", f"{DOCS}/runs", _open_projects),
        Stop("runs", f"{DOCS}/runs"),
        Stop("runs-filtered", f"{DOCS}/runs?where={quote(WHERE)}&last=24h"),
        Stop("runs-marked", f"{DOCS}/runs", _mark_second),
        Stop("runs-wrong", f"{DOCS}/runs?where={quote(WRONG_TYPE)}", status=400),
        Stop("runs-none", f"{DOCS}/runs?where={quote(NO_MODEL)}&last=30d"),
        Stop("project-empty", "/projects/nothing-here/runs"),
        Stop("completion", f"{DOCS}/runs", _complete),
        Stop("columns", f"{DOCS}/runs", _open_part("columns")),
        Stop("range", f"{DOCS}/runs", _open_time),
        Stop("views", f"{DOCS}/runs", _open_views),
        Stop("runs-preview", f"{DOCS}/runs?roots=1", _preview_second),
        Stop("export", f"{DOCS}/runs", _open_part("export")),
        Stop("help", f"{DOCS}/runs", _press("?")),
        Stop("run-ok", answer),
        Stop("run-failed", run("docs-search", 'outcome == "error" and model == "ask"')),
        Stop("run-numbers", run("digits", 'model == "classify"')),
        Stop("trace", run("docs-search", 'model == "ask"')),
        Stop("feedback", answer, _open_feedback),
        Stop("metrics", "/projects/digits/metrics"),
        Stop("metrics-empty", "/projects/nothing-here/metrics"),
        Stop("metrics-sweep", f"{DOCS}/metrics"),
        Stop("models", f"{DOCS}/models"),
        Stop("models-empty", "/projects/nothing-here/models"),
        Stop("model", "/projects/digits/models/classify"),
        Stop("model-diff", f"{DOCS}/models/answer"),
        Stop("sessions", f"{DOCS}/sessions"),
        Stop("sessions-empty", "/projects/nothing-here/sessions"),
        Stop("session", _first_session(demo)),
        Stop("judges", f"{DOCS}/judges"),
        Stop("judges-empty", "/projects/nothing-here/judges"),
        Stop("judge", f"{DOCS}/judges/grounded"),
        Stop("judge-versions", f"{DOCS}/judges/concise"),
        Stop("monitor", f"{DOCS}/monitor"),
        Stop("monitor-empty", "/projects/nothing-here/monitor"),
        Stop("slice", f"{DOCS}/monitor", _open_slice),
        Stop("slice-figures", f"{DOCS}/monitor/slice?model=answer&where={quote(SLICE)}"),
        Stop("alerts", f"{SCREENED}/alerts"),
        Stop("alerts-empty", "/projects/nothing-here/alerts"),
        Stop("alert", f"{SCREENED}/alerts/texture%20missing"),
        Stop("alert-rule", f"{SCREENED}/alert-rule?edit=texture+missing"),
        Stop("alert-rule-wrong", f"{SCREENED}/alert-rule?when=runs+%3E"),
        Stop("settings", f"{DOCS}/settings"),
        Stop("datasets", f"{DOCS}/datasets"),
        Stop("datasets-empty", "/projects/nothing-here/datasets"),
        Stop("dataset", f"{DOCS}/datasets/questions"),
        Stop("dataset-item", f"{DOCS}/datasets/questions", _edit_item),
        Stop("dataset-values", f"{DOCS}/dataset-item?{of_item}"),
        Stop("experiments", f"{DOCS}/experiments"),
        Stop("experiments-empty", "/projects/nothing-here/experiments"),
        Stop("experiment", worse),
        Stop("experiment-item", worse, _open_item),
        Stop("experiment-alone", f"{worse}?baseline=none"),
        Stop("compare-runs", _compare("docs-search", _answers(demo))),
        Stop("compare-versions", _compare("docs-search", ["answer:v1", "answer:v2"])),
        Stop("compare-experiments", _compare("docs-search", _experiments(demo))),
        Stop("error-compare", f"{DOCS}/compare", status=400),
        Stop("runs-selected", f"{DOCS}/runs?roots=1", _select_rows),
        Stop("artifacts", run("digits", 'kind == "training"')),
        Stop("error-404", f"{DOCS}/runs/{'0' * 31}1-{'0' * 15}1", status=404),
        Stop("error-400", f"{DOCS}/runs?cursor=none", status=400),
    ]
    return [Stop(one.name, demo.endpoint + one.address, one.act, one.status) for one in stops]


def _select_rows(page: Page) -> None:
    """Tick the first two rows of a list."""
    for place in range(2):
        page.locator(".runs tbody .tk input").nth(place).check()


def _compare(project: str, of: Sequence[str], **shown: object) -> str:
    return f"/projects/{project}/compare?{urlencode({'of': list(of), **shown}, doseq=True)}"


def _answers(demo: CollectorProcess) -> list[str]:
    """Return a run of `answer` for each of two versions."""
    return [
        demo.runs("docs-search", where=f'model == "answer" and version == {version}')[0]["run_id"]
        for version in (1, 2)
    ]


def _experiments(demo: CollectorProcess) -> list[str]:
    found = demo.get(f"{DOCS}/experiments")["experiments"]
    return [one["run_id"] for one in found[::-1]]


def _open_item(page: Page) -> None:
    page.locator("#rows tbody tr").first.get_by_role("link").click()


def _open_slice(page: Page) -> None:
    page.locator("#slices tbody tr").first.get_by_role("link").first.click()


def _edit_item(page: Page) -> None:
    page.locator("#items").get_by_role("button").first.click()


def _of_unfinished(collector: CollectorProcess) -> list[Stop]:
    """Send a running run and a crashed one; return their pages."""
    now_ns = time.time_ns()
    running_one = make_call("train", start_ns=now_ns - 90 * SECOND_NS)
    crashed = make_call("index", start_ns=now_ns - 60 * SECOND_NS)
    sent: list[Span] = [
        make_start(running_one, {"otel_ml.inputs.preview": '{"data": "digits"}'}),
        make_start(crashed, {"otel_ml.process": "00000002"}),
        make_sign("goodbye", now_ns, "00000002"),
        make_call(
            "epoch",
            start_ns=now_ns - 80 * SECOND_NS,
            end_ns=now_ns - 50 * SECOND_NS,
            trace_id=running_one.trace_id,
            parent_span_id=running_one.span_id,
        ),
    ]
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": "nightly"}
    collector.deliver(encode(sent), headers)
    return [
        Stop("home-unfinished", f"{collector.endpoint}/"),
        Stop("runs-unfinished", f"{collector.endpoint}{NIGHTLY}/runs"),
        Stop("run-running", f"{collector.endpoint}{NIGHTLY}/runs/{id_of(running_one)}"),
        Stop("run-crashed", f"{collector.endpoint}{NIGHTLY}/runs/{id_of(crashed)}"),
    ]


def _of_trainings(collector: CollectorProcess) -> list[Stop]:
    """Send eight trainings; return the pages that compare them."""
    sent: list[Span] = []
    ids = []
    for place, rate in enumerate((0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)):
        params = {"rate": rate, "hidden": 64 << place % 2, "optimizer": {"name": "adam"}}
        start_ns = time.time_ns() - (60 - place) * SECOND_NS
        run = make_call(
            "train", {"otel_ml.params": json.dumps(params)}, start_ns=start_ns, end_ns=start_ns + 1
        )
        steps = range(30)
        points: dict[str, Value] = {
            "otel_ml.metric.names": [name for name in ("val_loss", "val_accuracy") for _ in steps],
            "otel_ml.metric.values": [
                *(2 / (1 + at * (place + 1) / 4) for at in steps),
                *(1 - 0.9 / (1 + at * (place + 1) / 4) for at in steps),
            ],
            "otel_ml.metric.steps": [*steps, *steps],
            "otel_ml.metric.times": [start_ns + at * SECOND_NS for _ in range(2) for at in steps],
            "otel_ml.metric.modes": ["append"] * 2 * len(steps),
            "otel_ml.target.start_ns": start_ns,
        }
        sent += [run, make_record("update", run, points, start_ns=start_ns)]
        ids.append(id_of(run))
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": "trainings"}
    collector.deliver(encode(sent), headers)
    return [
        Stop("compare-trainings", collector.endpoint + _compare("trainings", ids[:6])),
        Stop("compare-many", collector.endpoint + _compare("trainings", ids)),
        Stop(
            "compare-params",
            collector.endpoint + _compare("trainings", ids[:6], all=1, scale="log", smooth="0.6"),
        ),
        Stop("metrics-chosen", f"{collector.endpoint}/projects/trainings/metrics"),
    ]


def _of_trips(collector: CollectorProcess) -> list[Stop]:
    """Send conversations with a model, its tools and its judge; return their pages."""
    trips = send_trips(collector)
    pages = collector.endpoint + TRIPS
    return [
        Stop("roots", f"{pages}/runs?roots=1"),
        Stop("roots-unfolded", f"{pages}/runs?roots=1", _unfold_root),
        Stop("chat", f"{pages}/runs/{id_of(trips.reply)}"),
        Stop("chat-raw", f"{pages}/runs/{id_of(trips.reply)}?raw=1"),
        Stop("chat-agent", f"{pages}/runs/{id_of(trips.agent)}"),
        Stop("chat-failed", f"{pages}/runs/{id_of(trips.broken)}"),
        Stop("embedding", f"{pages}/runs/{id_of(trips.embed)}"),
        Stop("model-tokens", f"{pages}/models/reply"),
        Stop("session-chat", f"{pages}/sessions/trip-208"),
    ]


def _of_agents(collector: CollectorProcess) -> list[Stop]:
    """Send traces of agents, a short and a long one; return their pages."""
    agent = send_research(collector, make_research(40))
    other = send_research(collector, make_research(38))
    crawler = send_research(collector, make_research(800, "crawler"))
    failed = next(span for span in agent if span.status_code == 2)
    pages = collector.endpoint + RESEARCH
    own, many = (f"{pages}/runs/{id_of(spans[0])}" for spans in (agent, crawler))
    return [
        Stop("agent", own),
        Stop("agent-failed", f"{pages}/runs/{id_of(failed)}"),
        Stop("agent-errors", f"{own}?errors=1"),
        Stop("agent-graph", f"{own}?view=graph", _open_node),
        Stop("agent-many", many),
        Stop("agent-pair", f"{pages}/trace-pair?of={id_of(agent[0])}&of={id_of(other[0])}"),
    ]


def _open_node(page: Page) -> None:
    page.get_by_role("table", name="Nodes of the graph").get_by_role("link").nth(2).click()
    page.locator(".g2t .cur").wait_for()


def _of_houses(collector: CollectorProcess) -> list[Stop]:
    """Send predictions of house prices, whose figures are large; return their pages."""
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": "houses"}
    collector.deliver(encode(make_houses(time.time_ns())), headers)
    saved = Request(
        f"{collector.endpoint}/api/v1/projects/houses/targets/price",
        json.dumps(TARGET).encode(),
        {"content-type": "application/json"},
        method="PUT",
    )
    urlopen(saved).close()
    pages = f"{collector.endpoint}/projects/houses"
    return [
        Stop("houses", f"{pages}?last=7d"),
        Stop("houses-monitor", f"{pages}/monitor?last=7d"),
        Stop("houses-model", f"{pages}/models/{MODEL}"),
        Stop("houses-target", f"{pages}/targets/price"),
    ]


def _of_values(collector: CollectorProcess) -> list[Stop]:
    """Send a run with a table and one with an image as input; return their pages."""
    pixels = np.random.default_rng(0).integers(0, 256, (144, 192, 3), dtype=np.uint8)
    houses = [{"area": 60 + place, "city": "Halle", "lift": place % 2 > 0} for place in range(40)]
    given = {"run-table": {"houses": houses}, "run-image": {"photo": describe(pixels)}}
    runs = {
        name: make_call(
            name, {"otel_ml.inputs": json.dumps(inputs), "otel_ml.outputs": "[0.25, 1]"}
        )
        for name, inputs in given.items()
    }
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": "values"}
    collector.deliver(encode(list(runs.values())), headers)
    pages = f"{collector.endpoint}/projects/values/runs"
    return [Stop(name, f"{pages}/{id_of(run)}") for name, run in runs.items()]


def _unfold_root(page: Page) -> None:
    twist = page.locator(".roots button.twist").first
    if twist.is_visible():
        twist.click()
        page.locator(".kid").first.wait_for()


def _press(*keys: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        for key in keys:
            page.keyboard.press(key)

    return act


def _open_projects(page: Page) -> None:
    _click_tool(
        page, page.locator("details.switch > summary").get_by_text("docs-search", exact=True)
    )
    page.locator(".pop small").first.wait_for()


def _open_part(part: str) -> Callable[[Page], None]:
    """Return an action that opens a part of the list's menu."""

    def act(page: Page) -> None:
        page.locator("#more > summary").click()
        page.locator(f"#{part} > summary").click()

    return act


def _open_views(page: Page) -> None:
    page.locator("#edit-views > summary").click()


def _preview_second(page: Page) -> None:
    for key in ("j", "j", " "):
        page.keyboard.press(key)
    page.locator("#preview #span").wait_for()


def _click_tool(page: Page, tool: Locator) -> None:
    if not tool.is_visible():  # on a phone
        page.get_by_text("More", exact=True).click()
    tool.click()


def _open_time(page: Page) -> None:
    _click_tool(page, page.locator("#time > summary"))


def _mark_second(page: Page) -> None:
    _press("j", "j")(page)
    page.locator("tr.cur").hover()


def _complete(page: Page) -> None:
    _press("/")(page)
    page.keyboard.type("tags")
    page.locator("[role=option]").first.wait_for()
    page.keyboard.press("ArrowDown")


def _open_feedback(page: Page) -> None:
    button = page.locator("#add-feedback")
    if button.is_visible():
        button.click()


def _try_wrong_key(page: Page) -> None:
    page.get_by_label("Key", exact=True).fill(WRONG)
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
