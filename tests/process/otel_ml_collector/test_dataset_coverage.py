"""Tests of a data set's coverage: slices of production runs next to similar items."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

import pytest

from otel_ml import Client, Dataset, current_run
from otel_ml.judges.ready import exact
from otel_ml.reader import Reader
from otel_ml_collector.cli import main
from tests.support.collector import CollectorProcess, running
from tests.support.sampling import at_night

PROJECT: Final = "coverage"
# The number of production runs and of items for each topic.
RUNS: Final[dict[object, int]] = {"syntax": 80, 'a "b"/c': 20, 3: 10, True: 9, "rare": 1}
ITEMS: Final[dict[object, int]] = {"syntax": 20, 'a "b"/c': 2, 3: 1, "elsewhere": 7}


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    with running(tmp_path_factory.mktemp("data")) as opened:
        yield opened


def make_items(said: str) -> Dataset:
    """Make a data set whose items have a topic, and a tag that no run has."""
    rows = [
        {"inputs": {"number": place}, "expected": said, "tags": {"topic": topic, "author": "ann"}}
        for topic, count in ITEMS.items()
        for place in range(count)
    ]
    return Dataset("qa", [{**row, "id": f"i{place:02}"} for place, row in enumerate(rows)])


def read(collector: CollectorProcess, name: str) -> Any:
    return collector.get(f"/projects/{PROJECT}/datasets/{name}/versions/1/coverage")


@pytest.fixture(scope="module")
def tried(collector: CollectorProcess) -> None:
    """Runs of two models with topics, and an experiment on one model with a data set."""
    client = Client(PROJECT, endpoint=collector.endpoint, join=False)

    def call(number: int, topic: object = None) -> str:
        if (run := current_run()) is not None and topic is not None:
            run.tag({"topic": topic})
        return str(number)

    answer, other = (client.trace(name=name)(call) for name in ("answer", "other"))
    for topic, count in RUNS.items():
        for number in range(count):
            answer(number, topic)
    for number in range(5):
        other(number, "elsewhere")
    client.evaluate(answer, make_items("1"), [exact])
    client.save(Dataset("untagged", [{"inputs": {"number": 1}}]))
    assert client.flush()
    client.close()


@pytest.mark.usefixtures("tried")
def test_slices(collector: CollectorProcess) -> None:
    """Each slice has its numbers of runs and items, and its filter matches exactly its runs."""
    told = read(collector, "qa")
    total, items = sum(RUNS.values()), sum(ITEMS.values())
    assert (told["models"], told["runs"], told["items"]) == (["answer"], total, items)
    shown = {"syntax": "enough", 'a "b"/c': "few", "3": "few", "true": "no item"}
    of = {"3": 3, "true": True}
    assert [(one["tag"], one["value"], one["enough"]) for one in told["slices"]] == [
        ("topic", value, word) for value, word in shown.items()
    ]
    for one in told["slices"]:
        topic = of.get(one["value"], one["value"])
        runs, like = RUNS[topic], ITEMS.get(topic, 0)
        assert (one["runs"], one["items"]) == (runs, like)
        assert (one["run_share"], one["item_share"]) == (runs / total, like / items)
        found = collector.get(f"/projects/{PROJECT}/runs", where=one["where"], limit=1_000)
        assert len(found["runs"]) == runs


@pytest.mark.usefixtures("tried")
def test_items_of_runs(collector: CollectorProcess) -> None:
    """Without an experiment, the runs are those of the models whose runs became items."""
    wanted = {"where": 'model == "other"', "expected": "outputs"}
    address = f"/api/v1/projects/{PROJECT}/datasets/kept/runs"
    sent = {"content-type": "application/json"}
    assert collector.post(address, json.dumps(wanted).encode(), sent)[0] == 200
    told = read(collector, "kept")
    assert (told["models"], told["runs"]) == (["other"], 5)
    [one] = told["slices"]
    assert (one["value"], one["runs"], one["items"]) == ("elsewhere", 5, 5)


@pytest.mark.usefixtures("tried")
def test_nothing_to_compare(collector: CollectorProcess) -> None:
    """Without tags on items, or without experiments on the data set, there are no slices."""
    told = read(collector, "untagged")
    assert (told["models"], told["runs"], told["items"], told["slices"]) == ([], 0, 1, [])
    path = f"/api/v1/projects/{PROJECT}/datasets/untagged/versions/2/coverage"
    assert collector.status(path) == 404


@at_night
@pytest.mark.usefixtures("tried")
def test_same_from_everywhere(
    collector: CollectorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reader and the command return the same coverage as the API."""
    told = read(collector, "qa")
    with Reader(PROJECT, endpoint=collector.endpoint) as reader:
        assert json.loads(json.dumps(asdict(reader.dataset_coverage("qa", 1)))) == told
    asked = ["--project", PROJECT, "--endpoint", collector.endpoint]
    assert main(["dataset", "coverage", "qa", *asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert main(["dataset", "coverage", "qa:v1", *asked, "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tag,value,runs,run_share,items,item_share,enough"
    assert len(lines) == 1 + len(told["slices"])
    assert main(["dataset", "coverage", "qa:v2", *asked]) == 5
