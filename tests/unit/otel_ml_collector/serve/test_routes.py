"""Tests of deferred routes, which FastAPI analyses only when they are first used."""

from collections.abc import Iterator
from inspect import isclass

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant

from otel_ml_collector.answer_body import AnswerBody
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
    """All routes behind the one that finds them are deferred when the collector starts."""
    assert len(ROUTES) > 200
    assert [route for route in ROUTES[1:] if not isinstance(route, DeferredRoute)] == []


def test_parameters_are_built_with_their_route() -> None:
    """No parameter is an `AnswerBody`, so the first request to a route logs no warning."""
    parameters = [
        parameter
        for route in ROUTES
        if isinstance(route, DeferredRoute)
        for parameter in find_parameters(route.dependant)
    ]
    assert len(parameters) > 100
    assert [one for one in parameters if isclass(one) and issubclass(one, AnswerBody)] == []


def find_parameters(dependant: Dependant) -> Iterator[object]:
    """Yield the type of each parameter and body of a route, also of its dependencies."""
    for field in (*dependant.query_params, *dependant.body_params):
        yield field.field_info.annotation
    for inner in dependant.dependencies:
        yield from find_parameters(inner)
