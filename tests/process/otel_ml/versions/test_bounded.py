"""Outputs with ever-changing structures create a bounded number of versions."""

import random

from otel_ml import Client
from tests.support.collector import CollectorProcess
from tests.support.examples import examples
from tests.support.sampling import harder

CALLS = examples(10_000, 2_000)


def flapping(seed: int) -> object:
    """An output of any shape, often with nulls and empty lists in it."""
    chance = random.Random(seed)  # noqa: S311 - guards nothing
    names = chance.sample([f"field_{n}" for n in range(40)], chance.randrange(6))
    return {name: chance.choice([None, [], 1, "a", [1], {name: True}, [None]]) for name in names}


@harder
def test_flapping_outputs_open_few_versions(collector: CollectorProcess) -> None:
    """Thousands of outputs with random structures create only two versions."""
    client = Client("flapping", endpoint=collector.endpoint)
    model = client.trace(name="model")(flapping)
    for seed in range(CALLS):
        model(seed)
    assert client.flush()
    client.close()
    versions = collector.get("/projects/flapping/models/model/versions")["versions"]
    assert len({version["digest"] for version in versions}) == 1
    assert sorted(version["version"] for version in versions) == [1, 2]
    assert sum(version["runs"] for version in versions) == CALLS


@harder
def test_empty_outputs_open_no_version(collector: CollectorProcess) -> None:
    """Nulls and empty lists do not create a version."""
    client = Client("empty", endpoint=collector.endpoint)
    model = client.trace(name="model")(lambda output: output)
    for output in ({"a": 1}, None, [], {"a": None}, {"a": [], "b": 2}, {"a": 2}, [[], [1]]):
        model(output)
    assert client.flush()
    client.close()
    versions = collector.get("/projects/empty/models/model/versions")["versions"]
    assert [(version["version"], version["runs"]) for version in versions] == [(1, 7)]
