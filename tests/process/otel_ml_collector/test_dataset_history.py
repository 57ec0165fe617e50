"""Tests of the results of a data set's items in its last experiments."""

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from otel_ml import Client, Dataset
from otel_ml.experiments.result import Result
from otel_ml.judges.ready import exact
from tests.support.collector import CollectorProcess, running
from tests.support.sampling import at_night

PROJECT: Final = "history"
ITEMS: Final = 40
# The pass probability of an item: some always pass, some never, the others sometimes.
SHARE: Final = {number: (1.0, 0.0, 0.5, 0.5)[number % 4] for number in range(ITEMS)}


def make(*changed: int) -> Dataset:
    """Make a data set; the items with the given numbers expect a different value."""
    return Dataset(
        "qa",
        [
            {
                "id": f"q {number:02}",
                "inputs": {"number": number},
                "expected": -number if number in changed else number,
            }
            for number in range(ITEMS)
        ],
    )


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    with running(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture(scope="module")
def results(collector: CollectorProcess) -> list[Result]:
    """Of eight experiments on two versions, only the newest six count."""
    luck = random.Random(7)  # noqa: S311 - the same each time
    client = Client(PROJECT, endpoint=collector.endpoint, join=False)

    def answer(number: int) -> int | None:
        if number == 6:
            raise ValueError(number)
        return number if luck.random() < SHARE[number] else None

    def tell(version: Dataset, repeats: int) -> Result:
        return client.evaluate(answer, version, [exact], repeats=repeats)

    client.save(make())
    found = [tell(make(), repeats) for repeats in (1, 1, 1, 3)]
    client.save(make(1, 2))
    found += [tell(make(1, 2), repeats) for repeats in (1, 1, 2, 1)]
    assert client.flush()
    client.close()
    return found


def marks_of(results: list[Result], version: Dataset) -> dict[str, list[str]]:
    """Return the marks of a version's items, computed from the results."""
    marks = {item.id: ["not in it"] * len(results) for item in version}
    for place, result in enumerate(results):
        said: defaultdict[str, set[bool]] = defaultdict(set)
        for run in result.runs:
            if version[run.item].digest == run.digest:
                said[run.item].add(run.passed is True)
        for item, words in said.items():
            is_both = len(words) > 1
            marks[item][place] = "differed" if is_both else "passed" if True in words else "failed"
    return marks


@at_night
@pytest.mark.parametrize("number", [1, 2])
def test_history(collector: CollectorProcess, results: list[Result], number: int) -> None:
    """The marks, the counts, and the items behind each count agree with the results."""
    version = make() if number == 1 else make(1, 2)
    last = results[-6:]
    expected = marks_of(last, version)
    path = f"/projects/{PROJECT}/datasets/qa/versions/{number}"
    told = collector.get(f"{path}/history?" + "&".join(f"item=q+{n:02}" for n in range(ITEMS)))
    assert [one["run_id"] for one in told["experiments"]] == [one.experiment.id for one in last]
    assert told["marks"] == expected
    passes = {item: {"passed", "differed"} & {*marks} != set() for item, marks in expected.items()}
    fails = {item: {"failed", "differed"} & {*marks} != set() for item, marks in expected.items()}
    shown = {
        "always": [item for item in expected if passes[item] and not fails[item]],
        "never": [item for item in expected if fails[item] and not passes[item]],
        "mixed": [item for item in expected if fails[item] and passes[item]],
        "flaky": [item for item, marks in expected.items() if "differed" in marks],
    }
    assert {name: told[name] for name in shown} == {name: len(of) for name, of in shown.items()}
    assert all(shown.values())
    shown |= {"all": [*expected], "changed": ["q 01", "q 02"], "runs": []}
    if number == 1:
        shown["changed"] = [*expected]
    for show, items in shown.items():
        assert read_all(collector, f"{path}/items", show) == items


def read_all(collector: CollectorProcess, path: str, show: str) -> list[str]:
    """Read the ids of all items shown, seven per page."""
    found: list[str] = []
    more: dict[str, Any] = {}
    while True:
        page = collector.get(path, show=show, limit=7, **more)
        found += [one["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            return found
        more = {"cursor": page["next_cursor"]}


def test_two_writers_at_once(collector: CollectorProcess) -> None:
    """If several writers start from the same version, one succeeds, and no item is lost."""
    address = f"/api/v1/projects/{PROJECT}/datasets/raced/items"

    def add(number: int, base: str | None) -> int:
        sent = {"content-type": "application/json"}
        sent |= {} if base is None else {"if-match": base}
        body = {"items": [{"id": f"{base}-{number}", "inputs": number}]}
        return collector.post(address, json.dumps(body).encode(), sent)[0]

    with ThreadPoolExecutor(8) as pool:
        for base in ("0", "1", "2"):
            answered = [*pool.map(add, range(8), [base] * 8)]
            assert sorted(answered) == [200, *[412] * 7]
        assert [*pool.map(add, range(8), [None] * 8)] == [200] * 8
    versions = collector.get(f"/projects/{PROJECT}/datasets/raced/versions")["versions"]
    assert [one["items"] for one in versions] == [*range(11, 0, -1)]


def test_nothing_is_known(collector: CollectorProcess) -> None:
    """Without experiments there are no marks, and filters by result show no item."""
    client = Client(PROJECT, endpoint=collector.endpoint, join=False)
    client.save(Dataset("new", [{"inputs": {"number": 1}}]))
    client.close()
    path = f"/projects/{PROJECT}/datasets/new/versions/1"
    told = collector.get(f"{path}/history", item="none")
    assert told == {
        "experiments": [],
        "always": 0,
        "never": 0,
        "mixed": 0,
        "flaky": 0,
        "left_out": 0,
        "marks": {},
    }
    assert read_all(collector, f"{path}/items", "never") == []
    assert collector.status(f"/api/v1{path}/items?show=colour") == 400
    assert collector.status(f"/api/v1/projects/{PROJECT}/datasets/new/versions/2/history") == 404
