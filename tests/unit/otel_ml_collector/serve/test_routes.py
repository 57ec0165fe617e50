"""Tests of deferred routes, which FastAPI analyses only when they are first used."""

import pytest
from fastapi import APIRouter, FastAPI

from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.serve.routes import ROUTES
from tests.support.otel_ml_collector.asgi import ask


def test_analysed_at_the_first_request() -> None:
    """A deferred route reads its parameters like any other. The first request analyses it."""
    router = APIRouter(prefix="/numbers", route_class=DeferredRoute)

    @router.get("/{number}/doubled")
    def double(number: int) -> int:
        return 2 * number

    [route] = router.routes
    assert "dependant" not in vars(route)
    app = FastAPI()
    app.router.routes.append(route)
    answer = ask(app, "/numbers/21/doubled")
    assert (answer.status, answer.body) == (200, b"42")
    assert ask(app, "/numbers/one/doubled").status == 422
    assert "dependant" in vars(route)


def test_attribute_that_no_route_has() -> None:
    """A deferred route raises AttributeError like any route, before and after it is analysed."""
    route = DeferredRoute("/", lambda: None)
    for _ in range(2):
        with pytest.raises(AttributeError, match="colour"):
            _ = route.colour
    assert route.status_code is None


def test_all_routes_are_deferred() -> None:
    """All routes of the collector are deferred when it starts."""
    assert len(ROUTES) > 200
    assert [route for route in ROUTES if not isinstance(route, DeferredRoute)] == []
