"""Cases of tests/unit/otel_ml/test_signals.py that start processes."""

import _thread
import signal
import sys
from pathlib import Path
from types import FrameType

import pytest

from otel_ml import Client
from tests.support.otel_ml.otlp_sink import Sink
from tests.support.waiting import wait_until
from tests.unit.otel_ml.test_signals import (
    Limit,
    handler,
    stop,
    strike_everywhere,
)


def test_limit_while_a_thread_starts_reaches_the_host(sink: Sink) -> None:
    """A time limit that expires while the sender thread is starting raises in the host."""
    struck: list[str] = []

    def strike(frame: FrameType, event: str, started: object) -> None:
        if event == "c_return" and started is _thread.start_new_thread and not struck:
            struck.append(frame.f_code.co_name)
            wait_until(frame.f_locals["self"].is_alive)  # the new thread is running
            signal.raise_signal(signal.SIGALRM)

    client = Client("shop", endpoint=sink.address, join=False)
    model = client.trace(lambda given: given)

    def profiled() -> None:
        sys.setprofile(strike)
        try:
            model(1)
        finally:
            sys.setprofile(None)

    with handler(stop), pytest.raises(Limit):
        profiled()
    assert struck == ["start"]
    assert model(5) == 5
    assert client.flush()
    client.close()


@pytest.mark.parametrize("kind", ["plain", "stream"])
def test_interrupted_call_is_spooled(tmp_path: Path, sink: Sink, kind: str) -> None:
    """With a spool, every call whose code began is delivered, wherever a time limit expires."""
    client = Client("shop", endpoint=sink.address, spool=tmp_path / "spool", join=False)
    entered = 1
    for model, _, where, _, is_caught in strike_everywhere(client, kind):
        assert is_caught == bool(where)
        entered += model.entered
    client.close()
    assert len(sink.runs) >= entered
