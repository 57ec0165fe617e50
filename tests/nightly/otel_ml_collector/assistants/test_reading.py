"""Slow cases of tests/store/otel_ml_collector/assistants/test_reading.py."""

from urllib.parse import urlsplit

from tests.store.otel_ml_collector.assistants.test_tools import call_all
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.assistants.fixtures import (
    Ask,
)
from tests.support.otel_ml_collector.stores import Service


def test_urls(service: Service, ask_tool: Ask) -> None:
    """The address in an answer leads to an existing page."""
    for tool, found in call_all(ask_tool):
        if tool == "read" and "url" not in found:
            continue
        parts = urlsplit(found["url"])
        assert (parts.scheme, parts.netloc) == ("http", "here")
        page = ask(service.app, f"{parts.path}?{parts.query}")
        assert (tool, found["url"], page.status) == (tool, found["url"], 200)
        assert page.headers["content-type"].startswith("text/html")
