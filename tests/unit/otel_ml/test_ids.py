"""Ids of runs, and hosts that seed Python's random numbers or generate ids."""

import random

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_ml import Client
from tests.support.otel_ml.recording import Recording


def test_host_draws_the_same_numbers(recording: Recording) -> None:
    """A traced call does not change the host's random numbers."""
    random.seed(42)
    expected = [random.random() for _ in range(3)]  # noqa: S311 - it guards nothing
    traced = recording.client.trace(random.random)
    random.seed(42)
    assert [traced() for _ in range(3)] == expected


class Counting(IdGenerator):
    """An id generator of the host."""

    def generate_span_id(self) -> int:
        return 7

    def generate_trace_id(self) -> int:
        return 8


def test_generator_of_the_hosts_is_used() -> None:
    """Ids come from the provider's own id generator, if it has one."""
    client = Client(tracer_provider=TracerProvider(id_generator=Counting()))
    assert client.run("fit").id == f"{8:032x}-{7:016x}"


def test_ids_are_as_long_as_the_sdk_makes_them(client: Client) -> None:
    """Ids use all of their bits, as the SDK's ids do."""
    ids = [client.run("fit").id.split("-") for _ in range(50)]
    assert max(int(trace_id, 16) for trace_id, _ in ids).bit_length() > 120
    assert max(int(span_id, 16) for _, span_id in ids).bit_length() > 56
