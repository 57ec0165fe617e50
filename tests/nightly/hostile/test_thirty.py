"""Thirty real functions work traced as they do untraced."""

from otel_ml import Client
from tests.support.collector import CollectorProcess
from tests.support.hostile.thirty import CALLS, run


def test_thirty_functions(collector: CollectorProcess) -> None:
    """Real functions return what they return untraced, and leave one run each in the store."""
    assert len(CALLS) == 30
    client = Client("thirty", endpoint=collector.endpoint, join=False)
    assert run(client) == dict.fromkeys(CALLS, True)
    assert client.flush()
    found = sorted((run["model"], run["outcome"]) for run in collector.runs("thirty"))
    assert found == sorted((name, "ok") for name in CALLS)
    client.close()
