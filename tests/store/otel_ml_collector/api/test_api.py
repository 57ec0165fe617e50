"""The JSON API: its addresses, parameters and errors."""

import html
import math
from typing import Any
from urllib.parse import quote

import pytest

from otel_ml_collector.runs.find import write_cursor
from otel_ml_collector.store.runs import Key
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS, id_of, make_call, make_record
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import sampled

NAMES = [
    "plain",
    "Concept Project",
    "a/b",
    "a/runs/b",
    "50%",
    "what?",
    "#1",
    "日本",
    "a+b&c=d",
    "'\"",
]


def get(service: Service, path: str) -> Any:
    """Request a path below ``/api/v1`` and return the parsed response."""
    answered = ask(service.app, f"/api/v1{path}")
    assert (answered.status, answered.headers["content-type"]) == (200, "application/json")
    return answered.json


def error_of(service: Service, path: str) -> tuple[int, Any]:
    answered = ask(service.app, f"/api/v1{path}")
    return answered.status, answered.json["error"]


@sampled(1)
@pytest.mark.parametrize("name", NAMES)
def test_names(service: Service, name: str) -> None:
    """A project and a model of any name are found by their quoted names."""
    call = make_call(name, {"otel_ml.model.version": "aa"})
    service.store.take(name, call)
    base = f"/projects/{quote(name, safe='')}"
    model = quote(name, safe="")
    assert [run["model"] for run in get(service, f"{base}/runs")["runs"]] == [name]
    assert get(service, f"{base}/runs/{id_of(call)}")["run_id"] == id_of(call)
    assert [found["model"] for found in get(service, f"{base}/models")["models"]] == [name]
    versions = get(service, f"{base}/models/{model}/versions")["versions"]
    assert [found["digest"] for found in versions] == ["aa"]
    assert get(service, f"{base}/models/{model}/versions/1")["digest"] == "aa"
    assert get(service, f"{base}/metrics") == {"series": [], "runs": []}
    assert name in {found["project"] for found in get(service, "/projects")["projects"]}


def test_run_by_its_id(service: Service, project: str) -> None:
    """A run is found by its id alone."""
    call = make_call()
    service.store.take(project, call)
    assert get(service, f"/runs/{id_of(call)}")["project"] == project


@pytest.mark.parametrize("key", ["order-7", "a/b", "what? 50%"])
def test_trace_by_its_key(service: Service, project: str, key: str) -> None:
    """A trace is found by its id and by a key of any text."""
    call = make_call(attributes={"otel_ml.trace_key": f"{key} {project}"})
    service.store.take(project, call)
    for asked in (call.trace_id.hex(), f"{key} {project}"):
        trace = get(service, f"/traces/{quote(asked, safe='')}")
        assert (trace["key"], [run["run_id"] for run in trace["runs"]]) == (asked, [id_of(call)])


def test_pages(service: Service, project: str) -> None:
    """A list is read page by page with the cursor of the previous page."""
    calls = [make_call(start_ns=NOW_NS - age * SECOND_NS) for age in range(5)]
    service.store.take(project, *calls)
    path = f"/projects/{project}/runs?limit=2&order=oldest"
    found = []
    page = get(service, path)
    while page["next_cursor"]:
        found += page["runs"]
        page = get(service, f"{path}&cursor={page['next_cursor']}")
    found += page["runs"]
    assert [run["run_id"] for run in found] == [id_of(call) for call in reversed(calls)]


def test_parameters(service: Service, project: str) -> None:
    """A list is limited by filter, start and end."""
    calls = [make_call(f"m{age}", start_ns=NOW_NS - age * SECOND_NS) for age in range(5)]
    service.store.take(project, *calls)
    where = quote('model != "m2"')
    path = f"/projects/{project}/runs?where={where}"
    path += "&start=2026-11-20T06:59:57Z&end=2026-11-20T07:00:00Z"
    assert [run["model"] for run in get(service, path)["runs"]] == ["m1", "m3"]


@pytest.mark.parametrize(
    ("parameters", "field", "message"),
    [
        ("limit=0", "limit", "limit: Input should be greater than or equal to 1"),
        ("limit=1001", "limit", "limit: Input should be less than or equal to 1000"),
        ("limit=many", "limit", "limit: Input should be a valid integer"),
        ("order=sideways", "order", "Invalid order 'sideways': expected one of newest, oldest"),
        ("cursor=nonsense", "cursor", "Invalid cursor 'nonsense'"),
        ("cursor=" + "x" * 801, "cursor", "cursor: String should have at most 800 characters"),
        ("start=yesterday", "start", "Invalid time 'yesterday'"),
        ("end=1969-01-01T00:00:00Z", "end", "Invalid time '1969-01-01T00:00:00Z'"),
        (
            "start=2026-11-20&end=2026-11-19",
            "end",
            "Invalid end '2026-11-19': expected a time after start '2026-11-20'",
        ),
        ("where=" + "x" * 4001, "where", "where: String should have at most 4000 characters"),
        ("where=5", "where", "Expected a comparison such as latency_ms > 200, found 5"),
    ],
)
def test_bad_parameter(service: Service, parameters: str, field: str, message: str) -> None:
    """An invalid parameter gets a 400 response with its name and the expected value."""
    status, error = error_of(service, f"/projects/p/runs?{parameters}")
    assert (status, error["code"], error["field"]) == (400, "bad_query", field)
    assert error["message"].startswith(message)


def test_column(service: Service) -> None:
    """An error in a filter is reported with its column."""
    status, error = error_of(service, f"/projects/p/runs?where={quote('model == 1')}")
    assert (status, error) == (
        400,
        {
            "code": "bad_query",
            "message": "Expected a text in quotes, found 1",
            "field": "where",
            "column": 9,
        },
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"/runs/{'a' * 32}-{'b' * 16}", f"There is no run {'a' * 32}-{'b' * 16}"),
        (f"/projects/p/runs/{'a' * 32}-{'b' * 16}", f"There is no run {'a' * 32}-{'b' * 16}"),
        ("/traces/nothing", "There is no trace 'nothing'"),
        ("/projects/p/models/m/versions", "Project 'p' has no version of a model 'm'"),
        ("/nothing", "Unknown address"),
    ],
)
def test_not_found(service: Service, path: str, message: str) -> None:
    """A missing resource gets a 404 response in the common error format."""
    assert error_of(service, path) == (
        404,
        {"code": "not_found", "message": message, "field": None, "column": None},
    )


def test_unknown_path_below_a_project(service: Service) -> None:
    """The API and pages report an unknown path below a project."""
    service.store.take("shop/orders", make_call())
    message = "There is no path '/datasets/nope' in project 'shop/orders'"
    status, error = error_of(service, "/projects/shop/orders/datasets/nope")
    assert (status, error["message"]) == (404, message)
    page = ask(service.app, "/projects/shop/orders/runz").text
    assert "There is no path '/runz' in project 'shop/orders'" in html.unescape(page)
    status, error = error_of(service, "/projects/nowhere/runz")
    assert (status, error["message"]) == (404, "There is no project 'nowhere/runz'")


def test_bad_run_id(service: Service) -> None:
    """An invalid run id gets a 400 response."""
    status, error = error_of(service, "/runs/nonsense")
    assert (status, error["field"]) == (400, "run_id")


def test_other_method(service: Service) -> None:
    """An unsupported method gets a 405 response in the common error format."""
    answered = ask(service.app, "/api/v1/projects", method="POST")
    assert (answered.status, answered.json["error"]["code"]) == (405, "wrong_method")


@sampled(1)
@pytest.mark.parametrize(
    ("value", "shown"),
    [(math.nan, None), (math.inf, "Infinity"), (-math.inf, "-Infinity")],
    ids=str,
)
def test_no_number(service: Service, project: str, value: float, shown: str | None) -> None:
    """Metrics, scores and tags that are NaN or infinite are returned as valid JSON."""
    call = make_call(attributes={"otel_ml.score.j": value, "otel_ml.tag.t": value})
    update = make_record(
        "update",
        call,
        {"otel_ml.metric.names": ["loss"] * 2, "otel_ml.metric.values": [value, 0.5]},
    )
    own_project = f"no number {value}"
    service.store.take(own_project, call, update)
    base = f"/projects/{quote(own_project)}"
    assert len(get(service, f"{base}/runs")["runs"]) == 1
    assert get(service, f"{base}/runs/{id_of(call)}")["metrics"] == {"loss": [shown, 0.5]}
    (series,) = get(service, f"{base}/metrics?run_id={id_of(call)}")["series"]
    assert [point["value"] for point in series["points"]] == [shown, 0.5]


def test_huge_numbers(service: Service, project: str) -> None:
    """64-bit integers are returned without loss."""
    call = make_call(
        attributes={
            "otel_ml.inputs": str(2**63 - 1),
            "otel_ml.tag.n": -(2**63),
            "gen_ai.system": "x",
        }
    )
    service.store.take(project, call)
    run = get(service, f"/runs/{id_of(call)}")
    assert (run["inputs"], run["tags"]["n"]) == (2**63 - 1, -(2**63))


def test_cursor_of_the_future(service: Service, project: str) -> None:
    """A cursor far from every run returns the runs after it."""
    service.store.take(project, make_call())
    for start_ns, number in ((2**63 - 1, 1), (-(2**63) + 1, 0)):
        cursor = write_cursor(Key(start_ns, "f" * 32, "f" * 16))
        page = get(service, f"/projects/{project}/runs?cursor={cursor}")
        assert (len(page["runs"]), page["next_cursor"]) == (number, None)


def test_description(service: Service) -> None:
    """The API serves its OpenAPI description, with each method of an address."""
    described = ask(service.app, "/openapi.json").json
    assert sorted(described["paths"]["/api/v1/projects/{project}/artifacts/{sha256}"]) == [
        "get",
        "put",
    ]
