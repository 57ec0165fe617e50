"""A forwarding destination gets all records, even if processes are killed meanwhile."""

import time
from pathlib import Path

from examples.backend import IDENTITIES, text_of
from otel_ml_collector.decode.protobuf import decode_traces
from otel_ml_collector.forward.record_client import Messages
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from tests.support.backend import running_backend
from tests.support.collector import CollectorProcess, running
from tests.support.prometheus import numbers_in
from tests.support.senders import Senders, all_run_ids
from tests.support.waiting import wait_until

TARGET_KILLS = 4
RUNS_BETWEEN = 64


def forwarded(collector: CollectorProcess) -> float:
    """Return how many runs the destination acknowledged to this collector process."""
    told = numbers_in(collector.get_text("/metrics"), "otel_ml_forward_records_total")
    return told.get('kind="runs",target="mine"', 0.0)


def identities(requests: list[bytes]) -> set[tuple[str, str]]:
    """Return the kind and identity of each record in some requests."""
    found = set()
    for body in requests:
        records = map_spans(decode_traces(body), Filing(None, time.time_ns()))
        for kind, message in Messages().of(records):
            fields, _ = IDENTITIES[kind]
            found.add((kind, "\x1f".join(text_of(message, field) for field in fields)))
    return found


def test_kills_under_load(tmp_path: Path) -> None:
    """After kills of destination and collector under load, the destination has all records."""
    with running_backend(tmp_path / "records.db") as backend:
        setting = f"mine={backend.target}"
        with running(tmp_path / "data", "--forward-records", setting) as collector:
            senders = Senders(collector, "killed", threads=2, spans=16)
            for number in range(TARGET_KILLS):
                before = forwarded(collector)
                wait_until(lambda before=before: forwarded(collector) > before)  # type: ignore[misc]
                backend.kill()
                senders.wait_for(RUNS_BETWEEN)  # the collector continues
                if number % 2:
                    collector.kill()
                    collector.restart()
                backend.start()
            collector.kill()  # while it sends
            collector.restart()
            senders.drain()
            wanted = set(all_run_ids(senders.acknowledged))
            wait_until(lambda: backend.ids() >= wanted, 60)
            told = identities(senders.acknowledged)
            wait_until(lambda: backend.identities() >= told)
            stored = {run["run_id"] for run in collector.runs("killed")}
            wait_until(lambda: backend.ids() >= stored)
            assert backend.ids() == stored
            assert len(wanted) >= TARGET_KILLS * RUNS_BETWEEN
