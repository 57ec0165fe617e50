"""Ids of runs beside a host that seeds Python's random numbers."""

import random

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_ml import Client
from tests.support.otel_ml.recording import Recording


def test_host_draws_the_same_numbers(recording: Recording) -> None:
    """A traced call leaves the host's random numbers as they are."""
    random.seed(42)
    expected = [random.random() for _ in range(3)]  # noqa: S311 - it guards nothing
    traced = recording.client.trace(random.random)
    random.seed(42)
    assert [traced() for _ in range(3)] == expected


class Counting(IdGenerator):
    """Ids of the host's own making."""

    def generate_span_id(self) -> int:
        return 7

    def generate_trace_id(self) -> int:
        return 8


def test_generator_of_the_hosts_is_used() -> None:
    """Where a provider has a generator of the host's, ids come from there."""
    client = Client(tracer_provider=TracerProvider(id_generator=Counting()))
    assert client.run("fit").id == f"{8:032x}-{7:016x}"


def test_ids_are_as_long_as_the_sdk_makes_them(client: Client) -> None:
    """Ids use all of their bits."""
    ids = [client.run("fit").id.split("-") for _ in range(50)]
    assert max(int(trace_id, 16) for trace_id, _ in ids).bit_length() > 120
    assert max(int(span_id, 16) for _, span_id in ids).bit_length() > 56
