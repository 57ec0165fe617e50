"""Cases of tests/unit/otel_ml/test_notebook.py that start processes."""

import pickle
import re
from html import unescape
from typing import Final

from otel_ml import Client
from otel_ml.judges.ready import exact
from otel_ml.reader import Reader
from tests.process.otel_ml.reader.servers import answering
from tests.support.collector import CollectorProcess
from tests.support.otel_ml.otlp_sink import Sink
from tests.unit.otel_ml.test_notebook import html_of

_SHOWN: Final = re.compile(
    r'<div class="otel-ml-file"><style>[^<]*</style><div>(.*)</div>'
    r'<iframe title="([^"]*)" sandbox="([^"]*)" srcdoc="([^"]*)"></iframe></div>',
    re.DOTALL,
)


def say(word: str) -> str:
    return f"say {word}"


def shout(word: str) -> str:
    return f"shout {word}"


def file_of(shown: object) -> tuple[str, str, str]:
    """Return the plain HTML of an object, and the title and the content of its frame."""
    found = _SHOWN.fullmatch(html_of(shown))
    assert found is not None, html_of(shown)[-500:]
    assert found[3].split() == ["allow-scripts", "allow-popups", "allow-popups-to-escape-sandbox"]
    text = unescape(found[4])
    assert text.startswith("<!doctype html>")
    assert "Content-Security-Policy" in text
    return found[1], found[2], text


def test_records_show_their_file(collector: CollectorProcess, project: str) -> None:
    """A run, a list, a trace, an experiment and a comparison show their file in a frame."""
    client = Client(project, endpoint=collector.endpoint, join=False)
    answer, other = (client.trace(name="answer")(function) for function in (say, shout))
    with client.run("<b>outer</b>", kind="chain") as run:
        answer("hello")
        assert html_of(run) == run._card.html  # it is still open
    page = f"{collector.endpoint}/projects/{project}/runs/{run.id}"
    plain, title, text = file_of(run)
    assert (plain, title) == (run._card.html, f"OpenedRun {run.id}")
    assert "say hello" in text
    assert f'href="{page}"' in text
    reader = Reader(project, endpoint=collector.endpoint)
    inner = reader.runs('model == "answer"')[0]
    assert "say hello" in file_of(inner)[2]
    plain, _, text = file_of(reader.runs(limit=1))
    assert "<table>" in plain
    assert text.count("<tr data-run=") == 1
    trace = reader.trace(run.trace_id)
    assert file_of(trace)[2].count('class="rpane"') == 2

    items = [{"inputs": {"word": word}, "expected": f"say {word}"} for word in "abcdefgh"]
    first = client.evaluate(answer, items, [exact], name="first")
    second = client.evaluate(
        other,
        items,
        [exact],
        name="second",
        baseline=first,
    )
    plain, title, text = file_of(second)
    assert title == "Result second"
    assert "<table>" in plain
    assert "Worse than" in text
    stored = reader.experiment(second.experiment.id)
    assert file_of(stored)[1:] == ("Experiment second", file_of(stored)[2])
    assert "Worse than" in file_of(stored)[2]
    compared = reader.compare([first.experiment.id, second.experiment.id])
    assert compared["kind"] == "experiment"
    plain, title, text = file_of(compared)
    assert title == f"Comparison {compared['sentence']}"
    assert "shout a" in re.sub("<[^>]+>", "", text)
    # A copy from another process knows no collector, and no API key.
    assert "<iframe" not in html_of(pickle.loads(pickle.dumps(second)))  # noqa: S301 - our own
    client.close()


def test_reason_instead_of_a_file(collector: CollectorProcess, project: str) -> None:
    """If a collector has no file of a record, or does not answer, a line says why."""
    client = Client(project, endpoint=collector.endpoint, join=False)
    client.trace(name="answer")(str.upper)("hello")
    client.close()
    run = Reader(project, endpoint=collector.endpoint).runs()[0]
    other = Reader(project, endpoint="http://127.0.0.1:9")
    run._whole = other._whole({})
    assert html_of(run).startswith(run._card.html + "<div>Not shown: No answer from http://127")
    with answering(lambda _: (200, {}, b"<!doctype html><script>alert(1)</script>")) as server:
        run._whole = Reader(project, endpoint=server.endpoint)._whole({})
        reason = f"{server.endpoint} does not answer like an otel-ml collector"
        assert html_of(run) == f"{run._card.html}<div>Not shown: {reason}</div>"
    run._whole = Reader("nobody", endpoint=collector.endpoint)._whole({})
    run.project = "nobody"
    assert html_of(run).startswith(run._card.html + "<div>Not shown: There is no run ")


def test_client_shows_its_project_and_page() -> None:
    """A client's repr and HTML have its project and its page, without a connection."""
    with answering(lambda _: (200, {}, b"")) as server:
        client = Client("shop", endpoint=server.endpoint, join=False)
        page = f"{server.endpoint}/projects/shop"
        assert repr(client) == f"<Client shop {page}>"
        assert f'href="{page}"' in html_of(client)
        assert server.asked == []
    assert client.stats().configuration == {}  # the repr did not set up the client


def test_run_shows_its_state_and_page(sink: Sink) -> None:
    """A run's repr and HTML have its id, state and page, while it is open and when it has ended."""
    client = Client("shop", endpoint=sink.address, join=False)
    with client.run("fit") as run:
        page = f"{sink.address}/projects/shop/runs/{run.id}"
        assert repr(run) == f"<OpenedRun {run.id} open {page}>"
        assert re.fullmatch(
            f'<div>OpenedRun <a href="{page}" .*>{run.id}</a> · open</div>', html_of(run)
        )
    assert repr(run) == f"<OpenedRun {run.id} ok {page}>"
    assert repr(client) == f"<Client shop {sink.address}/projects/shop>"
    client.close()
