"""Measure how long the collector's threads wait while the largest bodies are decoded and mapped.

A thread that wants the interpreter lock notes how much CPU time the decoding thread uses between
two of its own turns. Other load on the machine therefore hardly counts. Each figure is the minimum
of several tries.
"""

import gc
import gzip
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_ml import attributes as names
from otel_ml_collector.access import OPEN
from otel_ml_collector.decode.bounds import MOST_RECORDS
from otel_ml_collector.decode.compression import decompress
from otel_ml_collector.decode.requests import read_spans
from otel_ml_collector.decode.signals import Form
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.shared_ids import SpanOwners
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.receive.pipeline import BODY_LIMIT_BYTES
from tests.bench.pace import pace
from tests.bench.payload import Template
from tests.bench.table import print_table, verdict
from tests.support.load import make_request
from tests.support.otlp_json import to_otlp_json

TRIES: Final = 3
MOST_MS: Final = 100.0
_SWITCH_S: Final = 0.001  # as in the collector
_GC_OBJECTS: Final = 100_000  # as in the collector
_LOOK_S: Final = 0.0001
_NO_LOAD_S: Final = 0.3
_LLM_BYTES: Final = {Form.PROTOBUF: 2_950, Form.JSON: 3_600}


def measure(work: Callable[[], object]) -> tuple[float, float]:
    """Return the longest hold of the interpreter lock and the CPU time of the work, in ms."""
    holds, times = [], []
    clock = time.pthread_getcpuclockid(threading.get_ident())
    for _ in range(TRIES):
        is_over, longest = threading.Event(), [0.0]

        def look(is_over: threading.Event = is_over, longest: list[float] = longest) -> None:
            last = time.clock_gettime(clock)
            while not is_over.is_set():
                pace(_LOOK_S)
                now = time.clock_gettime(clock)
                longest[0] = max(longest[0], now - last)
                last = now

        looking = threading.Thread(target=look)
        looking.start()
        began_s = time.thread_time()
        made = work()
        times.append(time.thread_time() - began_s)
        del made  # freeing it holds the lock, too
        is_over.set()
        looking.join()
        holds.append(longest[0])
    return min(holds) * 1e3, min(times) * 1e3


def report() -> None:
    """Measure and print."""
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_OBJECTS)
    rows = [["Python code alone", "", "", *_row(_spin)]]
    for name, form, body in _bodies():
        packed = gzip.compress(body, 1)

        def work(form: Form = form, packed: bytes = packed) -> object:
            body = decompress(packed, "gzip", 2 * BODY_LIMIT_BYTES)
            filing = Filing(None, time.time_ns(), OPEN, None, False, SpanOwners())
            return map_spans(read_spans(body, form, []), filing)

        rows.append([name, form.name, f"{len(body) / 2**20:.1f}", *_row(work)])
    print_table(("gzip body", "form", "MiB", "hold, ms", "bound", "", "CPU, ms"), rows)


def _row(work: Callable[[], object]) -> list[str]:
    hold_ms, took_ms = measure(work)
    return [f"{hold_ms:.0f}", f"{MOST_MS:.0f}", verdict(hold_ms <= MOST_MS), f"{took_ms:.0f}"]


def _bodies() -> Iterator[tuple[str, Form, bytes]]:
    for form in Form:
        size = BODY_LIMIT_BYTES // _LLM_BYTES[form]
        model_calls = ExportTraceServiceRequest.FromString(Template("bodies", size).fresh())
        yield "spans of 2.9 KB", form, _write(model_calls, form)
        yield "25,000 small spans", form, _write(make_request("bodies", MOST_RECORDS), form)
        yield "one span with a text", form, _write(_one("x" * (BODY_LIMIT_BYTES - 5_000)), form)
        numbers = "[" + "1," * (BODY_LIMIT_BYTES // 2 - 5_000) + "1]"
        yield "one span with a list of numbers", form, _write(_one(numbers), form)
        objects = ",".join(['{"role":"user","text":"hello"}'] * (BODY_LIMIT_BYTES // 45))
        yield "one span with a list of objects", form, _write(_one(f"[{objects}]"), form)


def _one(payload: str) -> ExportTraceServiceRequest:
    request = make_request("bodies", 1)
    [span] = request.resource_spans[0].scope_spans[0].spans
    for attribute in span.attributes:
        if attribute.key == names.INPUTS:
            attribute.value.string_value = payload
    return request


def _write(request: ExportTraceServiceRequest, form: Form) -> bytes:
    if form is Form.PROTOBUF:
        return request.SerializeToString()
    return orjson.dumps(to_otlp_json(request))


def _spin() -> None:
    ends_s = time.thread_time() + _NO_LOAD_S
    while time.thread_time() < ends_s:
        pass


if __name__ == "__main__":
    report()
