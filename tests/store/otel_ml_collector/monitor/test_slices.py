"""Slices of recorded runs compared with all other runs, through the API, without any setup."""

import html
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from otel_ml_collector.findings.find import find_monitor
from otel_ml_collector.span import Span
from otel_ml_collector.times import MINUTE_NS, to_rfc3339
from tests.store.otel_ml_collector.monitor.test_findings import store_many
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, make_call, make_record
from tests.support.otel_ml_collector.stores import Service, Store, open_service
from tests.support.sampling import at_night

HOUR_NS: Final = 3_600 * 1_000 * MS_NS
NOW_NS: Final = time.time_ns()
HOUR_OF_RUNS_NS: Final = (NOW_NS // HOUR_NS - 3) * HOUR_NS
RUNS: Final = 1_200
CLIENTS: Final = ("Remax", "Century", "Redfin", "Zillow")
APPS: Final = ("v1.0.0", "v1.0.1")


def make_traffic(
    runs: int = RUNS, *, seed: int = 1, hours_ago: float = 20, **other: Any
) -> list[Span]:
    """Make runs of four clients; Remax's pass less often, especially in one app."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    spans: list[Span] = []
    for place in range(runs):
        client, app = draw.choice(CLIENTS), draw.choice(APPS)
        is_bad = client == "Remax"
        start_ns = NOW_NS - int(hours_ago * HOUR_NS) + place * 19 * HOUR_NS // runs
        attributes = {
            "otel_ml.model.version": "v1",
            "otel_ml.inputs": '{"question": "why"}',
            "otel_ml.outputs": '{"text": "yes"}',
            "otel_ml.tag.client": client,
            "otel_ml.tag.app": app,
            "otel_ml.tag.request": f"r{seed}-{place}",
            **other,
        }
        run = make_call(
            "answer",
            attributes,
            start_ns=start_ns,
            end_ns=start_ns + int(draw.lognormvariate(4.6, 0.4) * (1.6 if is_bad else 1)) * MS_NS,
        )
        rate = (0.35 if app == "v1.0.0" else 0.75) if is_bad else 0.93
        spans += [run, say(run, "a1", float(draw.random() < rate))]
    return spans


def take(store: Store, project: str, spans: Sequence[Span]) -> None:
    for first in range(0, len(spans), 500):
        store.take(project, *spans[first : first + 500], now_ns=NOW_NS)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with a client that does worse than the others."""
    with open_service(tmp_path_factory.mktemp("slices")) as service:
        take(service.store, "slices", [tell("a1"), *make_traffic()])
        yield service


def get(service: Service, path: str, project: str = "slices", **asked: Any) -> Any:
    query = f"?{urlencode(asked)}" if asked else ""
    return ask(service.app, f"/api/v1/projects/{project}/{path}{query}").json


def test_worst_first(service: Service) -> None:
    """The worst client is first, with its extra failures and its filter."""
    answer = get(service, "slices")
    assert (answer["runs"], answer["share"], answer["left_out"]) == (RUNS, 1.0, ["request"])
    first = answer["slices"][0]
    assert (first["name"], first["word"], first["model"]) == ("client = Remax", "worse", "answer")
    assert first["where"] == 'model == "answer" and tags["client"] == "Remax"'
    cells = {cell["figure"]: cell for cell in first["cells"]}
    assert cells["grounded"]["word"] == cells["latency"]["word"] == "worse"
    assert cells["errors"]["word"] == cells["missing inputs"]["word"] == "no difference"
    lost = first["runs"] * (cells["grounded"]["rest"] - cells["grounded"]["value"])
    assert 0.5 * lost < first["excess"] < lost
    shares = [cells["grounded"][side] for side in ("value", "rest")]
    assert re.findall(r"\d+ %", first["sentence"]) == [f"{100 * share:.0f} %" for share in shares]
    runs, difference, also = first["evidence"].rstrip(".").split(". ")
    assert re.findall(r"[\d,]+", runs)[::2] == [f"{first['runs']:,}", f"{RUNS - first['runs']:,}"]
    assert re.search(r'"grounded".*: −\d+ pts \(95 %.* −\d+ to −\d+\)', difference)
    assert "latency (+" in also


def test_opens_its_runs(service: Service) -> None:
    """The filter of each slice matches as many runs as the slice counts."""
    for one in get(service, "slices")["slices"]:
        found = get(service, "stats", where=one["where"], bucket="all")
        assert found["total"]["runs"] == one["runs"]


def test_filter_of_tags(service: Service) -> None:
    """With a filter, slices are compared with the other matching runs, also in Raymon's syntax."""
    answer = get(service, "slices", where="client==Remax", figure="grounded")
    assert [one["name"] for one in answer["figures"]] == ["grounded"]
    worst, best = answer["slices"]
    assert (worst["name"], worst["word"]) == ("app = v1.0.0", "worse")
    assert (best["name"], best["word"]) == ("app = v1.0.1", "better")
    assert worst["cells"][0]["value"] == best["cells"][0]["rest"]
    found = get(service, "stats", where=worst["where"], bucket="all")
    assert found["total"]["runs"] == worst["runs"]


@at_night
def test_versions_of_a_judge(service: Service) -> None:
    """Each version of a judge has its own figures, whether or not reviewers labelled the runs."""
    spans = make_traffic(600, seed=5)
    runs = [span for span in spans if "otel_ml.outputs" in span.attributes]
    spans += [say(run, "b2", float(place % 4 > 0), after_s=2) for place, run in enumerate(runs)]
    label = {"otel_ml.evaluation.source": "human", "otel_ml.annotator": "ann"}
    spans += [say(run, "", 1.0, after_s=3, more=label) for run in runs[:40]]
    take(service.store, "judged", [tell("a1"), tell("b2"), *spans])
    answer = get(service, "slices", "judged")
    judged = [(one["name"], one["judge_version"]) for one in answer["figures"] if one["judge"]]
    assert sorted(judged) == [("grounded", 2), ("grounded v1", 1)]
    cells = {cell["figure"]: cell for cell in answer["slices"][0]["cells"]}
    assert answer["slices"][0]["name"] == "client = Remax"
    words = [cells[name]["word"] for name in ("grounded v1", "grounded")]
    assert words == ["worse", "not enough data"]
    assert cells["grounded"]["n"] == cells["grounded v1"]["n"] > 100
    page = ask(service.app, "/projects/judged/monitor/findings").text
    heads = page.partition('id="slices"')[2]
    assert "grounded v2, pts" in heads
    assert "grounded v1, pts" not in heads  # shown on the slice's page only


def test_pairs(service: Service) -> None:
    """A pair of conditions is reported if it is worse than each condition alone."""
    (pair,) = get(service, "slices", pairs="true")["slices"]
    assert set(pair["name"].split(" and ")) == {"client = Remax", "app = v1.0.0"}
    found = get(service, "stats", where=pair["where"], bucket="all")
    assert found["total"]["runs"] == pair["runs"]


def test_wrong_figure(service: Service) -> None:
    """An unknown figure is refused, and the error lists the valid ones."""
    refused = ask(service.app, "/api/v1/projects/slices/slices?figure=speed")
    assert refused.status == 400
    assert "expected one of errors, missing inputs, latency, cost, grounded" in refused.text


@at_night
def test_any_order_twice(service: Service) -> None:
    """The same runs, delivered twice and in another order, give the same slices."""
    spans = [tell("a1"), *make_traffic(400, seed=4)]
    shuffled = [*spans, *spans]
    random.Random(5).shuffle(shuffled)  # noqa: S311 - not for secrets
    take(service.store, "ordered", spans)
    take(service.store, "shuffled", shuffled)
    answers = [get(service, "slices", project) for project in ("ordered", "shuffled")]
    assert len(answers[0]["slices"]) == 6
    assert answers[0]["slices"] == answers[1]["slices"]


def test_findings(service: Service) -> None:
    """The slice is a finding of the project, and its sentence names the model."""
    first = get(service, "findings")["findings"][0]
    assert (first["kind"], first["model"]) == ("slice", "answer")
    assert first["sentence"].startswith(first["title"])
    assert (first["measure"], first["measured"]) == ("quality", "grounded")
    assert first["condition"] == 'tags["client"] == "Remax"'
    assert 'tags["client"] == "Remax" and passed["grounded"] == False' in first["where"]


@at_night
def test_late_tags(service: Service) -> None:
    """A tag that arrives later counts like one of the run's own tags."""
    spans = [tell("a1"), *make_traffic(400, seed=6)]
    calls = [span for span in spans if "otel_ml.inputs" in span.attributes]
    take(service.store, "late", spans)
    late = [
        make_record(
            "update",
            span,
            {"otel_ml.tag.plan": "free" if place % 2 else "paid"},
            start_ns=span.end_ns,
        )
        for place, span in enumerate(calls)
    ]
    take(service.store, "late", late)
    names = {one["name"]: one["runs"] for one in get(service, "slices", "late")["slices"]}
    assert (names["plan = free"], names["plan = paid"]) == (200, 200)


@at_night
def test_new_and_gone(service: Service) -> None:
    """A client that is new, or that no longer has runs, is a finding."""
    spans = []
    for day in range(1, 11):
        for place in range(80):
            client = ("Remax", "Century")[place % 2]
            spans.append(make_run_of(client, NOW_NS - day * 24 * HOUR_NS - place * HOUR_NS // 80))
    for place in range(100):
        client = ("Remax", "Zillow")[place % 2]
        spans.append(make_run_of(client, NOW_NS - 2 * HOUR_NS + place * HOUR_NS // 200))
    take(service.store, "changed", spans)
    told = {
        one["where"]: re.findall(r"\d+|\bno more\b|\bnew\b", one["sentence"])
        for one in get(service, "findings", "changed")["findings"]
        if one["kind"] == "traffic"
    }
    assert told == {
        'model == "answer" and tags["client"] == "Zillow"': ["new", "50", "28"],
        'model == "answer" and tags["client"] == "Century"': ["no more", "50", "28"],
    }


def make_run_of(client: str, start_ns: int) -> Span:
    attributes = {"otel_ml.inputs": '{"question": "why"}', "otel_ml.tag.client": client}
    return make_call("answer", attributes, start_ns=start_ns, end_ns=start_ns + MS_NS)


def test_page(service: Service) -> None:
    """The page has a row for each slice, and a cell for each figure that opens its problem."""
    page = ask(service.app, "/projects/slices/monitor").text
    assert "/projects/slices/monitor/findings?last=24h" in page
    part = ask(service.app, "/projects/slices/monitor/findings?last=24h").text
    assert "2 problems." in part
    assert part.count('<tr><td class="wrap">') == 6
    assert '<td class="n opt h3">' in part
    opened = set(re.findall(r'href="([^"]*/problems/[^"]*client-remax[^"]*)"', part))
    assert opened
    for address in opened:
        page = ask(service.app, html.unescape(address)).text
        assert re.search(r"<h1[^>]*>[^<]*client Remax", page)
    asked = urlencode({"model": "answer", "where": 'tags["client"] == "Remax"'})
    one = ask(service.app, f"/projects/slices/monitor/slice?{asked}").text
    assert '<h1 class="wrap">client Remax</h1>' in one
    assert one.count("<polyline") == 6
    assert '<td class="wrap">Latency, ms</td>' in one
    assert '<td class="wrap">grounded v1' in one
    assert "The red line is client Remax, the blue line all other runs." in one
    assert re.search(r'id="parts".*>By client<.*>Remax<.*>Zillow<', one, re.DOTALL)
    assert one.count("<tr data-run=") == 5
    chart = ask(service.app, f"/projects/slices/monitor/slice?{asked}&figure=latency").text
    assert "Typical latency. The red line is client Remax" in chart


def test_page_without_problem(service: Service) -> None:
    """The page of a slice that is not worse has the same parts, without a problem."""
    asked = urlencode({"model": "answer", "where": 'tags["client"] == "Zillow"'})
    page = ask(service.app, f"/projects/slices/monitor/slice?{asked}").text
    assert "Open the problem" not in page
    assert 'id="since"' in page
    assert page.count("<tr data-run=") == 5
    for link in ("alert-rule?where=", "queue-form?where=", "#save"):
        assert link in page, link


def show_times(service: Service, project: str, times_ns: Mapping[str, Sequence[int]]) -> str:
    """Store runs of two clients that began at these times; return the page of client Remax."""
    spans = [make_run_of(client, start_ns) for client in times_ns for start_ns in times_ns[client]]
    take(service.store, project, spans)
    asked = urlencode({"model": "answer", "where": 'tags["client"] == "Remax"'})
    return ask(service.app, f"/projects/{project}/monitor/slice?{asked}").text


def test_runs_of_one_hour(service: Service) -> None:
    """If all runs began in one hour, the page shows them by minute, with the times of the axis."""
    times_ns = [HOUR_OF_RUNS_NS + minute * MINUTE_NS for minute in range(40)]
    page = show_times(service, "hour", {"Remax": times_ns[::2], "Zillow": times_ns[1::2]})
    lines = re.findall(r'<polyline class="[ab]" points="([^"]*)"', page)
    assert [line.count(" ") for line in lines[:2]] == [19, 19]
    assert "one point per minute, UTC" in page
    labels = re.findall(r'<text[^>]* y="196">[^<]*?(\d\d:\d\d)</text>', page)
    assert [label[-2:] for label in labels[-3:]] == ["15", "30", "45"]


def test_slice_of_one_hour(service: Service) -> None:
    """A slice that has runs in only one of many hours is a dot next to the line of the others."""
    hours_ns = [HOUR_OF_RUNS_NS - hour * HOUR_NS for hour in range(9)]
    page = show_times(service, "dot", {"Remax": hours_ns[4:5], "Zillow": hours_ns})
    lines = re.findall(r'<polyline class="([^"]*)" points="([^"]*)"', page)
    assert [(name, len({*line.split()})) for name, line in lines[:2]] == [("b", 9), ("a dot", 1)]
    assert re.search(r'<path class="hotline" d="M[\d. ]+h\d', page)


def test_runs_of_one_minute(service: Service) -> None:
    """If all runs began in one minute, the page says that there is no curve."""
    page = show_times(service, "minute", {name: [HOUR_OF_RUNS_NS] for name in CLIENTS[:2]})
    assert "All runs began within one minute, so there is no curve over time." in page
    assert "Over time" not in page


@at_night
def test_page_of_few_runs(service: Service) -> None:
    """A cell with too few runs to compare shows their number, without a unit."""
    spans = make_traffic(70, seed=3)
    alone = {"otel_ml.model.version": "v1", "otel_ml.tag.client": "Remax"}
    start_ns = NOW_NS - HOUR_NS
    spans += [make_call("answer", alone, start_ns=start_ns + place) for place in range(300)]
    take(service.store, "few", spans)
    part = ask(service.app, "/projects/few/monitor/findings").text
    cells = re.findall(r'<td class="[^"]*few"><a [^>]*>([^<]*)</a>', part)
    assert cells
    assert {re.sub(r"\d+", "9", cell) for cell in cells} == {"9 runs", "not compared (9 runs)"}


def test_page_of_many_runs(service: Service) -> None:
    """A page with an older answer shows the answer's time, and requests a newer one."""
    now_ns = time.time_ns()
    made_ns = now_ns - 6 * MINUTE_NS
    store_many(service.store, "large-slices", made_ns - 1)
    find_monitor(service.store.reader, "large-slices", "24h", made_ns)
    older = ask(service.app, "/projects/large-slices/monitor/findings").text
    assert f'This was found at <time datetime="{to_rfc3339(made_ns)}">' in older
    (address,) = re.findall(r'hx-get="([^"]*fresh=true[^"]*)"', older)
    assert "This was found at" not in ask(service.app, html.unescape(address)).text
    assert (
        "This was found at" not in ask(service.app, "/projects/large-slices/monitor/findings").text
    )


def test_other_project_of_a_key(service: Service) -> None:
    """The page of a project without runs shows that there are no problems."""
    part = ask(service.app, "/projects/nothing/monitor/findings").text
    assert "No problems found." in part
