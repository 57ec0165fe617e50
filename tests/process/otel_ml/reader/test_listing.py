"""Lists of runs are counted, indexed and displayed at a bounded cost."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, Final
from urllib.request import urlopen

import pytest

from otel_ml import Client
from otel_ml.reader import BadQuery, Reader, Run, Runs
from tests.process.otel_ml.reader.servers import Server, answering, passing_on
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.sampling import at_night, sampled
from tests.unit.otel_ml.test_notebook import plain_of

PROJECT: Final = "listed"
RUNS: Final = 1_130  # three pages
MARKUP: Final = "<script>alert(1)</script>"


def html_of(shown: object) -> str:
    """Return the HTML that a notebook displays."""
    html = getattr(shown, "_repr_html_")()  # noqa: B009 - the name is IPython's
    assert isinstance(html, str)
    return html


def ids(runs: list[Run]) -> list[str]:
    return [run.run_id for run in runs]


@pytest.fixture(scope="module")
def stored(collector: CollectorProcess) -> list[str]:
    """Store the runs of a project; return their ids, oldest first."""
    request = make_request(PROJECT, RUNS)
    collector.deliver(request.SerializeToString(), PROTOBUF)
    return list(run_ids(request))


@pytest.fixture
def server(collector: CollectorProcess) -> Iterator[Server]:
    """Yield a server that passes requests to the collector and counts them."""
    with answering(passing_on(collector.endpoint)) as between:
        yield between


@pytest.fixture
def runs(server: Server, stored: list[str]) -> Runs:
    assert stored
    return Reader(PROJECT, endpoint=server.endpoint).runs(order="oldest")


@at_night
def test_length_is_counted_page_by_page(runs: Runs, server: Server) -> None:
    """`len` costs one request per 500 runs, and listing all runs reads each page once."""
    assert len(runs) == RUNS
    assert len(server.asked) == 3
    assert len(list(runs)) == RUNS
    assert len(server.asked) == 6


def test_length_of_a_part(server: Server, stored: list[str]) -> None:
    """The length is that of the filtered list, and at most the limit."""
    reader = Reader(PROJECT, endpoint=server.endpoint)
    some = f'run_id in ["{stored[0]}", "{stored[7]}"]'
    assert len(reader.runs(some)) == 2
    assert len(reader.runs(limit=700)) == 700
    assert len(reader.runs(limit=0)) == 0


@at_night
def test_list_that_is_filled_while_others_walk(runs: Runs, stored: list[str]) -> None:
    """Several iterators over one list are independent, even if its length is requested between."""
    first, second = iter(runs), iter(runs)
    assert next(first).run_id == stored[0]
    assert len(runs) == RUNS
    assert [next(second).run_id for _ in range(3)] == stored[:3]
    assert len(runs) == RUNS
    assert ids([*first]) == stored[1:]
    assert ids([*second]) == stored[3:]


def test_truth_asks_for_one(runs: Runs, server: Server) -> None:
    """`bool` costs one request for one run."""
    assert runs
    assert [path.partition("?")[2] for path in server.asked] == ["order=oldest&limit=1"]
    assert not Reader("nothing", endpoint=server.endpoint).runs()


@sampled(3)
@pytest.mark.parametrize("order", ["oldest", "newest"])
@pytest.mark.parametrize("place", [0, 1, 700, RUNS - 1, -1, -3, -RUNS])
def test_index(server: Server, stored: list[str], order: Any, place: int) -> None:
    """An index from either end returns the run at that position in the list."""
    runs = Reader(PROJECT, endpoint=server.endpoint).runs(order=order)
    assert runs[place].run_id == (stored if order == "oldest" else stored[::-1])[place]


def test_first_and_last_cost_one_run(runs: Runs, server: Server, stored: list[str]) -> None:
    """The first and the last run each cost one request for one run."""
    assert (runs[0].run_id, runs[-1].run_id) == (stored[0], stored[-1])
    assert [path.partition("?")[2] for path in server.asked] == [
        "order=oldest&limit=1",
        "order=newest&limit=1",
    ]


def test_index_of_a_limited_list(server: Server, stored: list[str]) -> None:
    """The last run of a list with a limit is the last within the limit."""
    runs = Reader(PROJECT, endpoint=server.endpoint).runs(order="oldest", limit=10)
    assert (runs[-1].run_id, runs[-10].run_id) == (stored[9], stored[0])
    for place in (10, -11):
        with pytest.raises(IndexError, match=f"Invalid index {place}"):
            runs[place]


@sampled(1)
@pytest.mark.parametrize("place", [RUNS, -RUNS - 1])
def test_index_beyond_the_list(runs: Runs, place: int) -> None:
    """An index out of range raises an error that names it."""
    with pytest.raises(IndexError, match=f"Invalid index {place}"):
        runs[place]


@sampled(1)
@pytest.mark.parametrize("at", ["0", 1.5, None, slice("a", None)])
def test_index_that_is_none(runs: Runs, at: Any) -> None:
    """An index that is neither an integer nor a slice raises a TypeError without a request."""
    with pytest.raises(TypeError):
        runs[at]


@sampled(2)
@pytest.mark.parametrize(
    "at",
    [slice(3), slice(2, 9, 3), slice(600, 602), slice(5, 2), slice(-4, None), slice(1127, None)],
)
def test_slice(runs: Runs, stored: list[str], at: slice) -> None:
    """A slice is the list of the runs in that range."""
    assert ids(runs[at]) == stored[at]


def test_beginning_costs_no_more(runs: Runs, server: Server) -> None:
    """The first three runs cost one request for three runs."""
    assert len(runs[:3]) == 3
    assert [path.partition("?")[2] for path in server.asked] == ["order=oldest&limit=3"]


def test_nobody_walks_backwards_by_accident(runs: Runs) -> None:
    """`reversed` is refused, because it would cost a request per run; use `order` instead."""
    with pytest.raises(TypeError, match="not reversible"):
        reversed(runs)


def test_errors_are_raised_by_length_and_list(collector: CollectorProcess) -> None:
    """An invalid filter raises the reader's error wherever the list is read."""
    wrong = Reader(PROJECT, endpoint=collector.endpoint).runs("colour == 3")
    for read in (len, list, bool, lambda runs: runs[0]):
        with pytest.raises(BadQuery):
            read(wrong)


def test_list_shows_itself_without_a_question(runs: Runs, server: Server) -> None:
    """The repr of a list has project, filter and page, and makes no request."""
    page = f"{server.endpoint}/projects/{PROJECT}/runs"
    assert repr(runs) == f"<Runs {PROJECT} {page}?order=oldest>"
    filtered = Reader("a/b", endpoint=server.endpoint).runs('model == "x"', limit=5)
    page = f"{server.endpoint}/projects/a%2Fb/runs?where=model+%3D%3D+%22x%22"
    assert repr(filtered) == f'<Runs a/b model == "x" at most 5 {page}>'
    assert repr(Reader("shop", endpoint=server.endpoint)) == (
        f"<Reader shop {server.endpoint}/projects/shop>"
    )
    assert server.asked == []


def test_table_of_a_notebook(runs: Runs, server: Server, stored: list[str]) -> None:
    """A notebook displays 20 runs with links to their pages and how many more there are."""
    html = plain_of(runs)
    assert html.count("<tr>") == 1 + 20
    for run_id in stored[:20]:
        assert f'href="{server.endpoint}/projects/{PROJECT}/runs/{run_id}"' in html
    assert stored[20] not in html
    assert html.endswith("<div>480 more at least</div>")
    assert len(server.asked) == 2  # the second one asks for the file
    reader = Reader(PROJECT, endpoint=server.endpoint)
    assert plain_of(reader.runs(limit=23)).endswith("<div>3 more</div>")
    assert plain_of(reader.runs(limit=20)).endswith("</table>")
    assert plain_of(reader.runs("tags['none'] == 1")).endswith("<div>No runs</div>")


def test_markup_of_records_is_escaped(collector: CollectorProcess) -> None:
    """Markup in project, model, inputs, outputs and filter is escaped in a notebook."""
    project = f"{MARKUP}&\"'"
    client = Client(project, endpoint=collector.endpoint, join=False)
    record = client.trace(name=MARKUP, tags={"a": MARKUP})

    def echo(text: str) -> str:
        return text

    record(echo)(MARKUP)
    client.model(MARKUP, params={"a": 1}).log_metric("loss\x1b[2J" + MARKUP, 1.0)
    assert client.flush()
    client.close()
    reader = Reader(project, endpoint=collector.endpoint)
    runs = reader.runs(f"model == {MARKUP!r}")
    [run] = runs
    [project_too] = [one for one in reader.projects() if one.project == project]
    numbers = [version.version for version in reader.versions(MARKUP)]
    series = [
        *(
            one
            for number in numbers
            for one in reader.metrics(model=MARKUP, version=number).values()
        )
    ]
    assert series
    shown = [run, runs, project_too, *reader.models(), *reader.versions(MARKUP), *series]
    for one in shown:
        html = html_of(one)
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        assert "\x1b" not in html + repr(one)
        assert f'href="{collector.endpoint}/projects/%3Cscript' in html
        assert "\n" not in repr(one)
    assert html_of(runs).count(f"{MARKUP[1:7]}&gt;") >= 4


def test_run_of_a_hostile_collector_has_no_link() -> None:
    """Links without http or https and invisible characters never become markup."""
    run = Run(run_id="a\u202e\ud800", trace_id="", project=MARKUP, name=MARKUP)
    assert html_of(run) == "<div>Run a\\u202e\\ud800 · &lt;script&gt;alert(1)&lt;/script&gt;</div>"
    html = html_of(replace(run, model="x" * 10_000))
    assert len(html) < 300


def test_pages_of_records_answer(collector: CollectorProcess, stored: list[str]) -> None:
    """The links of a project, its list, a run, a model and a version lead to pages."""
    reader = Reader(PROJECT, endpoint=collector.endpoint)
    [model] = reader.models()
    runs = reader.runs('model != "none"', start="2020-01-01T00:00:00Z")
    list_page = repr(runs).rpartition(" ")[2].removesuffix(">")
    version_pages = [version.page for version in reader.versions(model.model)]
    pages = [reader.projects("listed")[0].page, list_page, runs[0].page, model.page, *version_pages]
    for page in pages:
        assert page.startswith(f"{collector.endpoint}/projects/{PROJECT}")
        with urlopen(page) as answer:
            assert answer.status == 200


def test_nobody_is_there() -> None:
    """If the collector is down, a notebook displays a line that says so."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    html = html_of(Reader("shop", endpoint=f"http://127.0.0.1:{port}").runs())
    assert "Not shown: No answer from" in html
    assert "<table" not in html


@at_night
def test_collector_that_hangs_is_not_waited_for() -> None:
    """If the collector is silent, a notebook soon displays that it timed out."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        html = html_of(Reader("shop", endpoint=endpoint, timeout_s=300).runs())
        took_s = time.monotonic() - begun
    assert "timed out" in html
    assert took_s < 60


@sampled(1)
@pytest.mark.parametrize(
    "body",
    [b"null", b"[]", b"{}", b'{"runs": 5, "next_cursor": null}', b'{"runs": [{}]}', b"<html>"],
)
def test_answer_of_somebody_else(body: bytes) -> None:
    """An invalid response is displayed as a line and does not raise in a notebook."""
    with answering(lambda _: (200, {}, body)) as server:
        html = html_of(Reader("shop", endpoint=server.endpoint).runs())
    assert "Not shown: " in html


def test_busy_collector_is_asked_once() -> None:
    """A notebook makes one request without retries."""
    with answering(lambda _: (503, {"retry-after": "1"}, b"{}")) as server:
        assert "cannot answer now" in html_of(Reader("shop", endpoint=server.endpoint).runs())
        assert len(server.asked) == 1


def test_wrong_filter_is_a_line(collector: CollectorProcess) -> None:
    """The error for an invalid filter is displayed, escaped."""
    html = html_of(Reader("shop", endpoint=collector.endpoint).runs(f"colour == '{MARKUP}'"))
    assert "Not shown: " in html
    assert "<script" not in html


@at_night
def test_list_is_read_by_several_threads(runs: Runs, stored: list[str]) -> None:
    """Threads that list and count the same runs at the same time all get complete lists."""
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(ids(list(runs)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [stored] * 4
