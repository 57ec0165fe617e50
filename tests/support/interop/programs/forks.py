"""The resources of runs, and of spans of the SDK's, in a process and in a forked child of it."""

import json
import os
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client
from tests.support.interop.programs.describe import Facts, answer, describe
from tests.support.interop.programs.services import Service


def joined() -> list[list[Facts]]:
    """The resources of a run and of a span of the same provider."""
    service = Service()
    return _in_both(lambda: service.pair(lambda: None))


def own() -> list[list[Facts]]:
    """The resource of a run through a provider of ours."""
    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter, join=False)
    model = client.trace(name="model")(lambda: None)

    def record() -> Sequence[ReadableSpan]:
        model()
        assert client.flush()
        return exporter.get_finished_spans()[-1:]

    return _in_both(record)


def _in_both(record: Callable[[], Sequence[ReadableSpan]]) -> list[list[Facts]]:
    """Record here, then in a child; returns both times the resources."""
    here = [describe(span)["resource"] for span in record()]
    receiving, sending = os.pipe()
    if os.fork() == 0:
        try:
            os.write(
                sending, json.dumps([describe(span)["resource"] for span in record()]).encode()
            )
        finally:
            os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as told:
        there = json.load(told)
    os.wait()
    return [here, there]


if __name__ == "__main__":
    answer(joined, own)
