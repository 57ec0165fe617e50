"""Thirty real functions work the same with and without tracing."""

from otel_ml import Client
from tests.support.collector import CollectorProcess
from tests.support.hostile.thirty import CALLS, run


def test_thirty_functions(collector: CollectorProcess) -> None:
    """Traced functions return the same results as untraced ones, and each records one run."""
    assert len(CALLS) == 30
    client = Client("thirty", endpoint=collector.endpoint, join=False)
    assert run(client) == dict.fromkeys(CALLS, True)
    assert client.flush()
    found = sorted((run["model"], run["outcome"]) for run in collector.runs("thirty"))
    assert found == sorted((name, "ok") for name in CALLS)
    client.close()
