"""The contenders: the span written by hand, otel-ml in its modes, and peers."""

import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from otel_ml import Client
from tests.bench.by_hand import ByHand, add_stock_exporter, stock_provider
from tests.bench.workloads import Decorator

_FLUSH_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Contender:
    """One way of tracing.

    Attributes:
        trace: The decorator.
        flush: Delivers the queued spans.
        configuration: The effective configuration; empty for the span by hand.
    """

    trace: Decorator
    flush: Callable[[], None]
    configuration: Callable[[], Mapping[str, object]] = dict


def open_contender(name: str, endpoint: str) -> Contender:
    """Return the named contender, which sends to `endpoint`."""
    return CONTENDERS[name](endpoint)


def _by_hand(endpoint: str) -> Contender:
    reference = ByHand(endpoint)
    return Contender(reference.trace, reference.flush)


def _by_hand_off(endpoint: str) -> Contender:
    reference = ByHand(endpoint, ParentBased(ALWAYS_OFF))
    return Contender(reference.trace, reference.flush)


def _ours(endpoint: str) -> Contender:
    return _of(Client("bench", endpoint=endpoint))


def _ours_off(endpoint: str) -> Contender:
    os.environ["OTEL_TRACES_SAMPLER"] = "always_off"
    return _ours(endpoint)


def _default(endpoint: str) -> Contender:
    """Return a client without arguments; its configuration is compared with the others."""
    os.environ["OTEL_ML_ENDPOINT"] = endpoint
    return _of(Client())


def _spooled(endpoint: str) -> Contender:
    directory = tempfile.TemporaryDirectory(prefix="otel-ml-bench-")  # removed after the client
    client = Client("bench", endpoint=endpoint, spool=directory.name)

    def flush() -> None:
        assert any(Path(directory.name).rglob("*")), "the spool is not in force: it has no file"
        client.flush(_FLUSH_S)

    return Contender(client.trace, flush, lambda: client.stats().configuration)


def _joined(endpoint: str) -> Contender:
    provider = stock_provider(endpoint)
    client = Client("bench", tracer_provider=provider)
    return _of(client)


# Peers, with their defaults. They are installed in the environment of `tests.bench.peers`.


def _openlit(endpoint: str) -> Contender:
    openlit: Any = importlib.import_module("openlit")
    # It records the coroutine of an async function, and the SDK warns at each call.
    logging.getLogger("opentelemetry.attributes").setLevel(logging.ERROR)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as prices, redirect_stdout(sys.stderr):
        prices.write("{}")  # otherwise it downloads a price list
        prices.flush()
        openlit.init(application_name="bench", otlp_endpoint=endpoint, pricing_json=prices.name)
    return Contender(openlit.trace, _flush_global)


def _openinference(endpoint: str) -> Contender:
    openinference: Any = importlib.import_module("openinference.instrumentation")
    provider = openinference.TracerProvider()
    add_stock_exporter(provider, endpoint)
    return Contender(provider.get_tracer("bench").chain, lambda: _flush_provider(provider))


def _langfuse(endpoint: str) -> Contender:
    os.environ["LANGFUSE_BASE_URL"] = endpoint
    os.environ["LANGFUSE_PUBLIC_KEY"] = os.environ["LANGFUSE_SECRET_KEY"] = "bench"
    langfuse: Any = importlib.import_module("langfuse")
    return Contender(langfuse.observe, langfuse.get_client().flush)


def _logfire(endpoint: str) -> Contender:
    os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = f"{endpoint}/v1/traces"
    logfire: Any = importlib.import_module("logfire")
    logfire.configure(send_to_logfire=False, console=False)
    # Without `record_return` it records no output. It records none for a generator either, and
    # warns about that without `allow_generator`.
    trace_function = logfire.instrument(record_return=True, allow_generator=True)
    return Contender(trace_function, lambda: logfire.force_flush(int(_FLUSH_S * 1e3)))


def _mlflow(endpoint: str) -> Contender:
    os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = f"{endpoint}/v1/traces"
    os.environ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = "http/protobuf"  # the default is gRPC
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it sends usage statistics over the network
    mlflow: Any = importlib.import_module("mlflow")
    providers: Any = importlib.import_module("mlflow.tracing.provider")
    return Contender(mlflow.trace, lambda: _flush_provider(providers.provider.get()))


def _flush_global() -> None:
    _flush_provider(trace.get_tracer_provider())


def _flush_provider(provider: Any) -> None:
    provider.force_flush(int(_FLUSH_S * 1e3))


def _of(client: Client) -> Contender:
    def flush() -> None:
        client.flush(_FLUSH_S)

    return Contender(client.trace, flush, lambda: client.stats().configuration)


CONTENDERS: Final[Mapping[str, Callable[[str], Contender]]] = {
    "by hand": _by_hand,
    "by hand, sampled out": _by_hand_off,
    "default": _default,
    "joined": _joined,
    "langfuse": _langfuse,
    "logfire": _logfire,
    "mlflow": _mlflow,
    "openinference": _openinference,
    "openlit": _openlit,
    "ours": _ours,
    "sampled out": _ours_off,
    "spooled": _spooled,
}
