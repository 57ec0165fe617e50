"""A deletion survives kills of the collector: data is complete or gone, and finally gone."""

import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final
from urllib.parse import quote
from urllib.request import Request, urlopen

from otel_ml_collector.span import Span
from tests.support.collector import CollectorProcess
from tests.support.examples import examples
from tests.support.otel_ml_collector.deleting import make_told
from tests.support.otel_ml_collector.spans import id_of
from tests.support.otel_ml_collector.wire import encode
from tests.support.waiting import wait_until

HEADERS: Final = {"content-type": "application/x-protobuf", "x-otel-ml-project": "killed"}
# Delays before the kill, after the request: before anything is on disk, and later.
DELAYS_S: Final = (0.0, 0.1, 0.3, 0.7)


def delete(collector: CollectorProcess, path: str) -> Any:
    """Request a deletion; return None if the collector is killed during the request."""
    target = f"{collector.endpoint}/api/v1/projects/killed{path}"
    with suppress(OSError), urlopen(Request(target, method="DELETE"), timeout=60) as answer:
        return json.load(answer)
    return None


def test_kill_during_deletion(own_collector: CollectorProcess) -> None:
    """A kill during a deletion leaves the session complete or gone; a second one removes it."""
    for number, delay_s in enumerate(DELAYS_S[: examples(len(DELAYS_S), on_commit=2)]):
        mark = f"mark {number}"
        told = make_told(mark, f"session {mark}", "user", f"model {mark}")
        own_collector.deliver(encode(told), HEADERS)
        wait_until(partial(is_told_all, own_collector, told[0]))
        whole = find(own_collector, *told[:2])
        assert [run["name"] for run in whole] == [f"model {mark}", mark]
        path = f"/sessions/{quote(f'session {mark}')}"
        asking = threading.Thread(target=delete, args=(own_collector, path))
        asking.start()
        asking.join(delay_s)
        own_collector.kill()
        asking.join(60)
        own_collector.restart()
        is_whole = find(own_collector, *told[:2]) == whole
        assert is_whole or is_gone(own_collector, told)
        delete(own_collector, path)
        own_collector.deliver(encode(told), HEADERS, is_whole=False)
        assert is_gone(own_collector, told)


def find(collector: CollectorProcess, *spans: Span) -> list[Any]:
    return [collector.get(f"/projects/killed/runs/{id_of(span)}") for span in spans]


def is_told_all(collector: CollectorProcess, span: Span) -> bool:
    """Return whether all late records of a run, including those sent by key, are read with it."""
    [run] = find(collector, span)
    judges = {evaluation["judge"] for evaluation in run.get("evaluations", ())}
    return "late" in run.get("tags", {}) and "people" in judges


def is_gone(collector: CollectorProcess, told: Sequence[Span]) -> bool:
    """Return whether the runs, their artifacts and their trace are all gone."""
    logged = collector.get(f"/projects/killed/objects?trace_id={told[0].trace_id.hex()}")
    trace = collector.get(f"/traces/{told[0].trace_id.hex()}")
    answers = [*find(collector, *told[:2]), logged, trace]
    return all("error" in answer or answer.get("objects") == [] for answer in answers)
