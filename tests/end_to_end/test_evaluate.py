"""Data sets and experiments of the SDK in a real collector."""

import numpy as np

from otel_ml import Client, Dataset
from otel_ml.judges.ready import exact
from tests.support.collector import CollectorProcess


def add(a: int, b: int) -> int:
    return a + b


def test_data_set_is_a_version(collector: CollectorProcess) -> None:
    """A saved data set is version 1, whole, with all of its items; saved anew it is the same."""
    rows = [{"inputs": {"a": number, "b": 1}, "expected": number + 1} for number in range(5)]
    sums = Dataset("sums", [*rows, {"inputs": {"image": np.arange(4)}}])
    client = Client("saved", endpoint=collector.endpoint, join=False)
    assert client.save(sums) == "sums:v1"
    other = Client("saved", endpoint=collector.endpoint, join=False)
    assert other.save(Dataset("sums", reversed(sums.items))) == "sums:v1"
    assert other.save(Dataset("sums", rows)) == "sums:v2"
    [second, first] = collector.get("/projects/saved/datasets/sums/versions")["versions"]
    assert (first["digest"], second["digest"]) == (sums.digest, Dataset("sums", rows).digest)
    items = collector.get("/projects/saved/datasets/sums/versions/1/items")["items"]
    assert sorted(one["id"] for one in items) == sorted(one.id for one in sums)


def test_experiment_is_stored(collector: CollectorProcess) -> None:
    """The runs over items are stored with their scores, apart from the project's own runs."""
    client = Client("evaluated", endpoint=collector.endpoint, join=False)
    rows = [{"inputs": {"a": number, "b": 1}, "expected": number + 1} for number in range(5)]
    result = client.evaluate(add, Dataset("sums", rows), [exact], concurrency=2)
    delivery = client.flush()
    assert delivery, delivery.reason
    run = collector.get(f"/runs/{result.runs[0].run_id}")
    assert (run["outputs"], run["scores"], run["outcome"]) == (1, {"exact": 1.0}, "ok")
    assert collector.get(f"/runs/{result.experiment.id}")["kind"] == "experiment"
    assert collector.runs("evaluated") == []
    found = collector.runs("evaluated", where='dataset == "sums" and kind != "experiment"')
    assert {one["run_id"] for one in found} == {one.run_id for one in result.runs}
