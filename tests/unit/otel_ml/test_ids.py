"""Ids of runs beside a host that seeds Python's random numbers."""

import os
import random
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_ml import Client
from tests.support.otel_ml.recording import Recording
from tests.support.otel_ml.scripts import ask_script

SEEDED = """
import json
import random

from otel_ml import Client

ids = []
for _ in range(2):
    random.seed(42)
    with Client(join=False, endpoint="http://127.0.0.1:9").run("fit") as run:
        ids.append(run.id)
print(json.dumps(ids), flush=True)
import os
os._exit(0)
"""


def test_seeded_programs_have_ids_of_their_own(tmp_path: Path) -> None:
    """Runs of programs that seed the random numbers alike have different ids."""
    ids = {*ask_script(tmp_path, SEEDED), *ask_script(tmp_path, SEEDED)}
    assert len(ids) == 4


def test_host_draws_the_same_numbers(recording: Recording) -> None:
    """A traced call leaves the host's random numbers as they are."""
    random.seed(42)
    expected = [random.random() for _ in range(3)]  # noqa: S311 - it guards nothing
    traced = recording.client.trace(random.random)
    random.seed(42)
    assert [traced() for _ in range(3)] == expected


def test_forked_child_has_ids_of_its_own(client: Client) -> None:
    """A forked child does not go on with its parent's ids."""
    client.run("before").end()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, client.run("child").id.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 49).decode() != client.run("parent").id
    os.close(read)
    os.close(write)


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
