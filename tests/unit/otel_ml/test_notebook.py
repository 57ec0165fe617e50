"""How notebooks show clients and runs, with a link to their page if there is one."""

from typing import Final

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client, current_run
from otel_ml.notebook import write_frame

HOSTILE: Final = "<img src=x onerror=alert(1)>\"'&"
ESCAPED: Final = "&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;"
QUOTED: Final = "%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%22%27%26"


def html_of(shown: object) -> str:
    """Return the HTML that a notebook shows for an object."""
    html = getattr(shown, "_repr_html_")()  # noqa: B009 - the name is IPython's
    assert isinstance(html, str)
    return html


def plain_of(shown: object) -> str:
    """Return what front ends show that remove frames and styles."""
    html = html_of(shown)
    if "<iframe" not in html:
        return html
    return html.partition("</style><div>")[2].partition("</div><iframe ")[0]


def test_frame() -> None:
    """A frame runs the file in an origin of its own, and all of its markup is escaped."""
    html = write_frame(f"<p>{HOSTILE}</p>", "<b>plain</b>", HOSTILE)
    assert html.endswith(
        f'</style><div><b>plain</b></div><iframe title="{ESCAPED}" sandbox="allow-scripts '
        f'allow-popups allow-popups-to-escape-sandbox" srcdoc="&lt;p&gt;{ESCAPED}&lt;/p&gt;">'
        "</iframe></div>"
    )


def test_markup_is_escaped() -> None:
    """Markup in a project's name is escaped in the text and quoted in the link."""
    html = html_of(Client(HOSTILE, endpoint="http://collector", join=False))
    assert html == (
        f'<div>Client <a href="http://collector/projects/{QUOTED}" target="_blank" '
        f'rel="noopener noreferrer">{ESCAPED}</a></div>'
    )


@pytest.mark.parametrize(
    "endpoint", ["javascript:alert(1)", "ftp://collector", "http://[", "javascript://x/%0aalert(1)"]
)
def test_link_is_of_http(endpoint: str) -> None:
    """An endpoint without a valid HTTP address gives no link."""
    client = Client("shop", endpoint=endpoint, join=False)
    shown = repr(client) + html_of(client)
    assert "javascript:" not in shown.replace("http://javascript:", "")
    assert "ftp:" not in shown


def test_password_of_the_endpoint_is_not_shown() -> None:
    """User, password and query of an endpoint are not shown."""
    client = Client("shop", endpoint="https://user:s3cret@collector/ml?key=s3cret", join=False)
    assert repr(client) == "<Client shop https://collector/ml/projects/shop>"
    assert "s3cret" not in html_of(client)


def test_no_link_without_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that uses an exporter, a user's provider or gRPC is shown without a link."""
    given = Client("shop", exporter=InMemorySpanExporter())
    provided = Client("shop", tracer_provider=TracerProvider())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    for client in (given, provided, Client("shop", endpoint="http://collector:4317", join=False)):
        assert (repr(client), html_of(client)) == ("<Client shop>", "<div>Client shop</div>")


def test_run_without_a_collector_has_no_link(client: Client) -> None:
    """A run that goes to an exporter, or is not recorded, is shown without a link."""
    with client.run("fit") as run:
        assert repr(run) == f"<OpenedRun {run.id} open>"
        assert html_of(run) == f"<div>OpenedRun {run.id} · open</div>"
    nothing = f"{'0' * 32}-{'0' * 16}"
    assert repr(current_run()) == f"<Run {nothing} not recorded>"
