"""Cases of tests/unit/otel_ml/experiments/test_dataset.py that start processes."""

import time
from urllib.parse import urlsplit

import pytest

from otel_ml import Client, Dataset
from tests.support.otel_ml.otlp_sink import closed_address, open_sink


def test_saving_without_a_server(caplog: pytest.LogCaptureFixture) -> None:
    """If connections are refused, data sets are saved at once, and this is logged once."""
    client = Client("shop", endpoint=closed_address(), join=False)
    client.save(Dataset("first", [{"inputs": {"q": 0}}]))  # loads the modules that send
    began_s = time.monotonic()
    for number in range(5):
        qa = Dataset("qa", [{"inputs": {"q": number}}])
        assert client.save(qa) == qa.tag
    assert time.monotonic() - began_s < 2.5
    refused = [text for text in caplog.messages if "connection refused" in text]
    assert len(refused) == 1
    client.close()


def test_what_was_saved_without_a_server_comes_later() -> None:
    """A data set saved while there was no server is delivered when there is one."""
    address = closed_address()
    client = Client("shop", endpoint=address, join=False)
    client.save(Dataset("qa", [{"inputs": {"q": 1}}]))
    with open_sink(urlsplit(address).port or 0) as sink:
        assert client.flush()
        assert {span["otel_ml.record"] for span in sink.spans} >= {"item"}
    client.close()
