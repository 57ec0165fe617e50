"""Slow cases of tests/process/otel_ml_collector/alerts/test_delivery.py."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.process.otel_ml_collector.alerts.test_delivery import ids_of
from tests.support.otel_ml_collector.alerts.world import FALLS
from tests.support.otlp_sink import http_sink
from tests.support.ports import free_port

# Announces, prints a line, and waits to be killed; the next process sends the rest.
_COLLECTOR: Final = """
import signal, sys
from pathlib import Path
from otel_ml_collector.store.notifications import read_deliveries
from tests.process.otel_ml_collector.alerts.test_delivery import delivering, states_of
from tests.support.otel_ml_collector.alerts.world import FALLS, make_target
from tests.support.otel_ml_collector.stores import open_store
from tests.support.waiting import wait_until

with open_store(Path(sys.argv[1])) as store:
    target = make_target("webhook", sys.argv[2])
    with delivering(store, target, first_rest_s=0.05) as delivery:
        delivery.announce(FALLS)
        print("announced", flush=True)
        if sys.argv[3] == "first":
            signal.pause()
        wait_until(lambda: states_of(store, FALLS.project) == ["sent"])
"""


def test_killed_before_it_was_sent(tmp_path: Path) -> None:
    """The next collector sends, once, a notification that was announced before a kill."""
    port = free_port()
    command = [sys.executable, "-c", _COLLECTOR, str(tmp_path / "store"), f"127.0.0.1:{port}"]
    with subprocess.Popen([*command, "first"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "announced\n"
        os.kill(process.pid, signal.SIGKILL)
    with http_sink(port, takes_otlp=False) as sink:
        subprocess.run([*command, "next"], check=True, timeout=120, capture_output=True)
        assert ids_of(sink) == [FALLS.id]
