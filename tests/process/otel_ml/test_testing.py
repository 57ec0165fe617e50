"""Cases of tests/unit/otel_ml/test_testing.py that start processes."""

from pathlib import Path

from otel_ml import Client, testing
from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import run_script


def test_nothing_is_sent(sink: Sink) -> None:
    """Calls in a `record` block are not sent, even if the client is flushed and closed."""
    client = Client("shop", endpoint=sink.address)

    @client.trace
    def answer() -> int:
        return 7

    with testing.record(client):
        answer()
        assert client.flush()
    client.close()
    assert sink.requests == []


THREADS = """
import threading
import otel_ml
from otel_ml import testing

@otel_ml.trace
def answer():
    return 7

with testing.record() as records:
    answer()
    print(records.run.outputs, [thread.name for thread in threading.enumerate()])
"""


def test_default_client(tmp_path: Path) -> None:
    """Without a client, `record` uses the default client and starts no thread."""
    assert run_script(tmp_path, THREADS).stdout.strip() == "7 ['MainThread']"
