"""The variability of answers to the same inputs, on a model's page and in the API."""

import pytest

from tests.store.otel_ml_collector.query.test_variability import Pair, ask_often
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.stores import Service


@pytest.fixture
def repeated(service: Service, project: str) -> str:
    """Store a model of two versions with repeated inputs; the newer version is steadier."""
    for version, other in (("a", "y"), ("b", "x")):
        pairs: list[Pair] = [
            ({"q": place}, answer) for place in range(20) for answer in ("x", other)
        ]
        ask_often(service.store, project, pairs, version)
    return project


def test_api(service: Service, repeated: str) -> None:
    """The API has the versions, the comparison, and the groups of the requested version."""
    path = f"/api/v1/projects/{repeated}/models/answer/variability"
    found = ask(service.app, path).json
    assert [one["version"] for one in found["versions"]] == [2, 1]
    word, version, groups = found["comparison"]["word"], found["version"], found["groups"]
    assert (word, version, len(groups)) == ("steadier", 2, 20)
    old = ask(service.app, f"{path}?version=1&limit=3").json
    assert (old["version"], old["comparison"], len(old["groups"])) == (1, None, 3)
    assert ask(service.app, f"{path}?version=7").status == 404


def test_page(service: Service, repeated: str) -> None:
    """The model's page shows the API's data, and links to the runs of each input."""
    part = ask(service.app, f"/projects/{repeated}/model-variability?model=answer").text
    found = ask(service.app, f"/api/v1/projects/{repeated}/models/answer/variability").json
    assert found["comparison"]["sentence"].partition(" (")[0] in part
    query = f"/projects/{repeated}/model-variability?model=answer&version=1"
    old = ask(service.app, f"/api/v1/projects/{repeated}/models/answer/variability?version=1").json
    unsteady = [group for group in old["groups"] if group["different"] > 1]
    listed = ask(service.app, query).text
    assert unsteady
    assert all(f"inputs_digest+%3D%3D+%22{group['digest']}" in listed for group in unsteady)
    page = ask(service.app, f"/projects/{repeated}/models/answer").text
    address = f"/projects/{repeated}/model-variability?model=answer"
    assert f'hx-get="{address}"' in page
    chosen = ask(service.app, f"/projects/{repeated}/models/answer?to=1").text
    assert f'hx-get="{address}&amp;version=1"' in chosen


def test_nothing_repeated(service: Service, project: str) -> None:
    """If no input was repeated, the page reports that, with the number of runs left out."""
    ask_often(service.store, project, [({"q": 1}, "x"), ({"q": 2}, None)])
    part = ask(service.app, f"/projects/{project}/model-variability?model=answer").text
    found = ask(service.app, f"/api/v1/projects/{project}/models/answer/variability").json
    assert (found["comparison"], found["groups"]) == (None, [])
    assert [one["left_out"] for one in found["versions"]] == [{"without outputs": 1}]
    assert 'id="alike"' in part
    assert 'id="variability"' not in part
