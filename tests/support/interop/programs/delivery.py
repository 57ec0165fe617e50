"""Sends the same runs: official exporter and ours, through a joined provider and through our own.

Arguments: which way, where the service's exporter sends, where ours sends.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.version import __version__
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags, TraceState

from otel_ml import Client, Judge
from tests.support.interop.programs.describe import Facts, answer

ABOVE = SpanContext(0xA1, 0xB2, True, TraceFlags(1), TraceState([("vendor", "1")]))
LINKED = SpanContext(0xC3, 0xD4, False, TraceFlags(1))


def record_all(client: Client) -> None:
    """Make one run of each kind."""
    judge = Judge("short", "Is it short", _rate, _pass)
    plain = client.trace(
        name="plain", tags={"tier": "gold", "share": 0.5, "beta": True, "n": 2**62}
    )
    plain(_answer)("Où est mon colis ? 📦", top=3)
    client.trace(name="long")(_answer)("word " * 2_000)
    client.trace(name="host")(_say_all)()
    with suppress(LookupError):
        client.trace(name="failing")(_fail)()
    list(client.trace(name="stream")(_stream)())
    client.assess(judge, name="judged")(_answer)("short")
    with trace.use_span(trace.NonRecordingSpan(ABOVE)):
        client.trace(name="child")(_answer)("within")
    with client.run("training", params={"rate": 0.1}) as run:
        run.info("begun")
        run.log_metrics({"loss": 0.5, "steps": [1, 2]}, step=1)


def _answer(question: str, top: int = 1) -> dict[str, object]:
    return {"question": question, "answers": [1.5, None, True][:top]}


def _fail() -> None:
    raise LookupError("no such model")


def _stream() -> Iterator[str]:
    yield "a"
    yield "b"


def _rate(outputs: object) -> float:
    return float(len(str(outputs)))


def _pass(score: float) -> bool:
    return score < 100


def _say_all() -> None:
    span = trace.get_current_span()
    span.set_attribute("host.text", "line\n" * 20)
    span.set_attributes(
        {
            "host.texts": ["a", "b"],
            "host.numbers": [1, 2],
            "host.shares": [0.5, 1.0],
            "host.flags": [True, False],
            "host.none": [],
            "host.int": -(2**63),
            "host.float": float("inf"),
        }
    )
    for number in range(4):
        span.add_event(f"event {number}", {"text": "v" * 40, "number": number, "last": True})
    for _ in range(3):
        span.add_link(LINKED, {"why": "retry", "number": 1})
    span.record_exception(ValueError("bad"))
    span.set_status(StatusCode.ERROR, "half done")
    span.update_name("renamed")


def both(theirs: str, ours: str) -> Facts:
    """Each run goes through the service's batches and through our own pipeline."""
    limits = SpanLimits(max_events=3, max_links=2, max_event_attributes=2, max_link_attributes=1)
    provider = TracerProvider(
        resource=Resource({"service.name": "shop"}, schema_url="https://shop.example/1"),
        span_limits=limits,
    )
    exporter = OTLPSpanExporter(endpoint=f"{theirs}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return _deliver(Client("shop", endpoint=ours), provider)


def direct(theirs: str, ours: str) -> Facts:
    """Runs go through a provider of ours and through our pipeline."""
    del theirs
    return _deliver(Client("shop", endpoint=ours))


def official(theirs: str, ours: str) -> Facts:
    """Runs go through a provider of ours and through the official exporter."""
    del ours
    return _deliver(Client("shop", exporter=OTLPSpanExporter(endpoint=f"{theirs}/v1/traces")))


def _deliver(client: Client, provider: TracerProvider | None = None) -> Facts:
    record_all(client)
    delivery = client.flush()
    stats = client.stats()
    client.close()
    if provider is not None:
        assert provider.force_flush()
        provider.shutdown()
    return {
        "version": __version__,
        "flushed": bool(delivery),
        "lost": dict(stats.lost),
        "trouble": dict(stats.trouble),
        "provider": stats.configuration["provider"],
    }


WAYS: dict[str, Callable[[str, str], Facts]] = {
    way.__name__: way for way in (both, direct, official)
}

if __name__ == "__main__":
    chosen, theirs_address, ours_address = sys.argv[1:]

    def deliver() -> Facts:
        return WAYS[chosen](theirs_address, ours_address)

    answer(deliver)
