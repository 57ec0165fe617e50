"""Slow cases of tests/process/end_to_end/test_keys_in_use.py."""

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from tests.process.end_to_end.test_keys_in_use import export, exporters
from tests.support.collector import CollectorProcess
from tests.support.keys import (
    make_key,
    names_of,
)


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Return a separate project for the test."""
    name: str = request.node.name
    return name


def test_exporters(admin: str, closed: CollectorProcess, project: str) -> None:
    """The official exporters can send with a key in their headers."""
    key = make_key(closed, admin, project, scopes="ingest")
    for exporter in exporters(closed, key):
        assert export(exporter, 1) is SpanExportResult.SUCCESS
        exporter.shutdown()
    assert names_of(closed, admin, project) == ["call 0"] * 3
