"""The page of a run with log records."""

from html import escape
from urllib.parse import quote

from otel_ml_collector.span import Value
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.logs import make_log, take
from tests.support.otel_ml_collector.spans import id_of, make_call, make_span
from tests.support.otel_ml_collector.stores import Service

HOSTILE = "<script>alert('\"&')</script>"


def page_of(service: Service, project: str, run_id: str) -> str:
    answer = ask(service.app, f"/projects/{quote(project)}/runs/{run_id}")
    assert answer.status == 200
    return answer.text


def test_lines(service: Service, project: str) -> None:
    """A log line is shown with its event, attributes and stack trace, all escaped."""
    run = make_call()
    told: dict[str, Value] = {
        "retry": 2,
        HOSTILE: HOSTILE,
        "exception.stacktrace": f"Traceback:\n{HOSTILE}",
    }
    log = make_log(HOSTILE, told, of=run, event=f"event {HOSTILE}", severity_number=17)
    service.store.take(project, run)
    take(service.store, project, log)
    page = page_of(service, project, id_of(run))
    text = escape(HOSTILE, quote=True).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    assert HOSTILE not in page
    assert f"<b>event {text}</b>" in page
    assert f'<span class="lines">{text}</span>' in page
    assert f'<pre class="trace">Traceback:\n{text}</pre>' in page
    assert "<i>retry:</i> <b>2</b>" in page


def test_messages(service: Service, project: str) -> None:
    """Messages from log records are shown once in each tab: as steps, and as input and output."""
    run = make_span("chat", {"gen_ai.operation.name": "chat"})
    logs = [
        make_log({"content": "Where is it?"}, of=run, event="gen_ai.user.message"),
        make_log({"message": {"content": "It is here."}}, of=run, event="gen_ai.choice"),
    ]
    service.store.take(project, run)
    take(service.store, project, *logs)
    page = page_of(service, project, id_of(run))
    assert '<h3>user</h3>\n<div class="md"><p>Where is it?</p>' in page
    assert '<h3><b>answer</b></h3>\n<div class="md"><p>It is here.</p>' in page
    assert (page.count("Where is it?"), page.count("It is here.")) == (2, 2)
    assert "<h2>Log</h2>" not in page
