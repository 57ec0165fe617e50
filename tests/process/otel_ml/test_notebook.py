"""Cases of tests/unit/otel_ml/test_notebook.py that start processes."""

import re

from otel_ml import Client
from tests.process.otel_ml.reader.servers import answering
from tests.support.otel_ml.otlp_sink import Sink
from tests.unit.otel_ml.test_notebook import html_of


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
