"""A peer that makes the global provider its own, and a client of ours in the same process.

Arguments: the peer, the order in which things begin, where the peer sends, where ours sends.
"""

import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_ml import Client
from tests.support.interop.programs.describe import Facts, answer


class Peer(Protocol):
    """What is asked of a peer."""

    def begin(self, address: str) -> None:
        """Initialise it, to send all that passes its provider to `address`."""

    def span(self, name: str) -> AbstractContextManager[object]:
        """Open a span of the peer's own and make it the current one."""

    def flush(self) -> None:
        """Send what waits."""


class Langfuse:
    """Adds its processor to the global provider, or sets one of the SDK's."""

    def begin(self, address: str) -> None:
        import langfuse  # type: ignore[import-not-found]  # only the environment of peers has it

        self._client: Any = langfuse.Langfuse(
            public_key="pk-lf-made-up",
            secret_key="sk-lf-made-up",
            base_url=address,
            should_export_span=lambda span: True,
        )

    def span(self, name: str) -> AbstractContextManager[object]:
        span: AbstractContextManager[object] = self._client.start_as_current_observation(name=name)
        return span

    def flush(self) -> None:
        self._client.flush()


class Logfire:
    """Sets a global provider of its own class."""

    def begin(self, address: str) -> None:
        import logfire  # type: ignore[import-not-found]  # only the environment of peers has it

        exporter = OTLPSpanExporter(endpoint=f"{address}/v1/traces")
        logfire.configure(
            send_to_logfire=False,
            console=False,
            additional_span_processors=[SimpleSpanProcessor(exporter)],
        )
        self._logfire: Any = logfire

    def span(self, name: str) -> AbstractContextManager[object]:
        span: AbstractContextManager[object] = self._logfire.span(name)
        return span

    def flush(self) -> None:
        self._logfire.force_flush()


def peer_first(peer: Peer, theirs: str, ours: str) -> Client:
    peer.begin(theirs)
    return Client("shop", endpoint=ours)


def ours_first(peer: Peer, theirs: str, ours: str) -> Client:
    client = Client("shop", endpoint=ours)
    client.trace(name="before")(lambda: None)()
    peer.begin(theirs)
    return client


def service_first(peer: Peer, theirs: str, ours: str) -> Client:
    """A service sets a provider of the SDK's, the peer begins, then we."""
    trace.set_tracer_provider(TracerProvider())
    return peer_first(peer, theirs, ours)


def joined_first(peer: Peer, theirs: str, ours: str) -> Client:
    """A service sets a provider of the SDK's, we join it, then the peer begins."""
    trace.set_tracer_provider(TracerProvider())
    return ours_first(peer, theirs, ours)


def given(peer: Peer, theirs: str, ours: str) -> Client:
    """The peer begins, then we are given its provider."""
    peer.begin(theirs)
    return Client("shop", endpoint=ours, tracer_provider=trace.get_tracer_provider())


def given_loud(peer: Peer, theirs: str, ours: str) -> Client:
    """The same, while the peer writes every span into its log."""
    client = given(peer, theirs, ours)
    logging.getLogger("langfuse").setLevel(logging.DEBUG)
    return client


ORDERS: dict[str, Callable[[Peer, str, str], Client]] = {
    order.__name__: order
    for order in (peer_first, ours_first, service_first, joined_first, given, given_loud)
}
PEERS: dict[str, Callable[[], Peer]] = {"langfuse": Langfuse, "logfire": Logfire}


def record_nested(peer: Peer, client: Client) -> None:
    """Nest the peer's spans and ours, then make one of each on its own."""

    def model() -> str:
        with peer.span("query"):
            pass
        client.trace(name="inner")(lambda: None)()
        return "answer"

    with peer.span("request"):
        client.trace(name="model", tags={"tier": "gold"})(model)()
    client.trace(name="alone")(lambda: None)()
    with peer.span("other"):
        pass


if __name__ == "__main__":
    chosen, begun, theirs_address, ours_address = sys.argv[1:]

    def run() -> Facts:
        peer = PEERS[chosen]()
        client = ORDERS[begun](peer, theirs_address, ours_address)
        provider = trace.get_tracer_provider()
        record_nested(peer, client)
        peer.flush()
        return {
            "flushed": bool(client.flush()),
            "trouble": dict(client.stats().trouble),
            "ours": client.stats().configuration["provider"],
            "global": f"{type(provider).__module__}.{type(provider).__name__}",
            "kept": trace.get_tracer_provider() is provider,
        }

    answer(run)
