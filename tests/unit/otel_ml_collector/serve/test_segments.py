"""The routes of the API and the pages, and the addresses that lead to them."""

from itertools import combinations
from typing import Any

import pytest
from starlette.routing import Match, Route

from otel_ml_collector.serve.routes import ROUTES

FIRST = ROUTES[0]
PAGE = "/projects/{project:path}"
API = f"/api/v1{PAGE}"


def words_of(route: Route) -> list[str | None]:
    return [None if word.startswith("{") else word for word in route.path[1:].split("/")]


def find(raw_path: str, method: str = "GET") -> tuple[str, dict[str, Any]]:
    """Return the path and the values of the route that answers a request."""
    scope = {"type": "http", "method": method, "path": "", "raw_path": raw_path.encode()}
    match, found = FIRST.matches(scope)
    assert match is Match.FULL
    return found["route"].path, found["path_params"]


def test_one_route_for_each_address() -> None:
    """No address leads to two routes of the same method, whatever the names in it are."""
    routes = [route for route in ROUTES[1:] if isinstance(route, Route) and "{" in route.path]
    double = [
        (first.path, second.path)
        for first, second in combinations(routes, 2)
        if (first.methods or set()) & (second.methods or set())
        and len(words_of(first)) == len(words_of(second))
        and all(
            one is None or other is None or one == other
            for one, other in zip(words_of(first), words_of(second), strict=True)
        )
    ]
    assert double == []


@pytest.mark.parametrize("name", ["runs", "models", "sessions", "new", "api", "settings", "static"])
def test_words_as_names(name: str) -> None:
    """A name that is a word of an address does not choose the route."""
    assert find(f"/projects/{name}") == (PAGE, {"project": name})
    assert find(f"/projects/{name}/runs") == (f"{PAGE}/runs", {"project": name})
    values = {"project": "shop", "session": name}
    assert find(f"/projects/shop/sessions/{name}") == (f"{PAGE}/sessions/{{session:path}}", values)
    assert find(f"/api/v1/projects/shop/models/{name}/versions") == (
        f"{API}/models/{{model:path}}/versions",
        {"project": "shop", "model": name},
    )


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        ("models%2F1", "models/1"),
        ("a%2Fversions", "a/versions"),
        ("..", ".."),
        ("%2e%2E", ".."),
        ("~..", ".."),
        ("~.", "."),
        ("%2Fa", "/a"),
        ("what%3Fnow%3D1", "what?now=1"),
        ("100%25", "100%"),
    ],
)
def test_encoded_names(segment: str, name: str) -> None:
    """A percent-encoded name is one segment and arrives decoded."""
    path, values = find(f"/projects/{segment}/sessions/{segment}")
    assert (path, values) == (
        f"{PAGE}/sessions/{{session:path}}",
        {"project": name, "session": name},
    )


def test_deleting_a_name_deletes_no_project() -> None:
    """A DELETE below a project never reaches the route that deletes a project."""
    route = find("/api/v1/projects/shop/models/runs", "DELETE")
    assert route == (f"{API}/models/{{model:path}}", {"project": "shop", "model": "runs"})
    path = b"/projects/shop/sessions/runs"
    _, found = FIRST.matches({"type": "http", "method": "DELETE", "path": "", "raw_path": path})
    assert found == {"route": None, "allowed": ["GET"]}
