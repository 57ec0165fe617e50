"""Forwarded experiments give the same answers and do not count as production.

The project has one production call, a data set and two experiments on it.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from otel_ml import Client, Dataset
from otel_ml.judges.ready import exact
from tests.support.collector import CollectorProcess, running
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

PROJECT: Final = "evaluated"
ITEMS: Final = 40
WRONG: Final = 10
API: Final = f"/api/v1/projects/{PROJECT}"

_FIRST: Final = re.compile(r'"time":"[^"]+"')

# Return the response to an API path of one collector, as text.
Read = Callable[[str], str]


def double(number: int) -> int:
    return 2 * number


def forget(number: int) -> int:
    """Answer a quarter of the items wrong."""
    return 0 if number <= WRONG else 2 * number


def record(client: Client) -> str:
    """Record the call and both experiments in several deliveries; return the second one's id."""
    client.trace(name="live")(double)(1)
    rows = [
        {
            "inputs": {"number": one},
            "expected": 2 * one,
            "id": f"i{one:02}",
            "tags": {"odd": one % 2},
        }
        for one in range(1, ITEMS + 1)
    ]
    dataset = Dataset("numbers", rows)
    assert client.flush(60)
    before = client.evaluate(double, dataset, [exact], name="before")
    assert client.flush(60)
    now = client.evaluate(forget, dataset, [exact], name="now", baseline=before)
    assert client.flush(60)
    client.close()
    return now.experiment.id


def check(read: Read, run_id: str) -> list[str]:
    """Check the collector's responses about `record`; return them unparsed."""
    paths = [
        f"{API}/runs",
        API,
        f"{API}/models",
        f"{API}/datasets",
        f"{API}/datasets/numbers/versions",
        f"{API}/datasets/numbers/versions/1/items",
        f"{API}/experiments",
        f"{API}/experiments/{run_id}",
        f"{API}/experiments/{run_id}/rows?show=regression",
    ]
    texts = [read(path) for path in paths]
    runs, project, models, _, versions, items, experiments, detail, worse = map(json.loads, texts)
    assert [run["model"] for run in runs["runs"]] == ["live"]
    assert project["runs"] == 1
    counted = {one["model"]: one["runs"] for one in models["models"]}
    assert counted == {"live": 1, "double": 0, "forget": 0}
    named = re.findall(r'otel_ml_runs_total{model="(\w+)",project="evaluated"', read("/metrics"))
    assert set(named) <= {"live"}
    [version] = versions["versions"]
    assert (version["is_complete"], version["items"], len(items["items"])) == (True, ITEMS, ITEMS)
    listed = {
        one["name"]: (one["outcome"], one["done"], one["doubled"])
        for one in experiments["experiments"]
    }
    assert listed == dict.fromkeys(("before", "now"), ("ok", ITEMS, 0))
    assert (detail["verdict"]["word"], detail["verdict"]["regressions"]) == ("worse", WRONG)
    assert sorted(row["item"] for row in worse["rows"]) == [f"i{one:02}" for one in range(1, 11)]
    return texts


@at_night
def test_forwarded(tmp_path: Path) -> None:
    """The collector that receives forwarded records gives the same answers, except for times."""
    with running(tmp_path / "far") as far:
        target = json.dumps({"far": {"endpoint": far.endpoint}})
        with running(tmp_path / "near", "--forward-otlp", target) as near:
            run_id = record(Client(PROJECT, endpoint=near.endpoint, join=False))
            answered = check(near.get_text, run_id)
            wait_until(lambda: has_arrived(far, run_id))
            for one, other in zip(check(far.get_text, run_id), answered, strict=True):
                assert _FIRST.sub("", one) == _FIRST.sub("", other)


def has_arrived(collector: CollectorProcess, run_id: str) -> bool:
    if collector.status(f"{API}/experiments/{run_id}") != 200:
        return False
    told = collector.get(f"/projects/{PROJECT}/experiments")["experiments"]
    return [(one["outcome"], one["done"]) for one in told] == [("ok", ITEMS)] * 2
