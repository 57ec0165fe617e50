"""Renders pages: the templates with what they may use, and errors as pages that help."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from otel_ml_collector.api.problems import Problem, problem_of
from otel_ml_collector.clock import ClockWatch
from otel_ml_collector.errors import BadInput, CollectorError
from otel_ml_collector.keyring import SESSION_COOKIE
from otel_ml_collector.price import write_cost, write_dollars
from otel_ml_collector.services import find_service
from otel_ml_collector.times import ago, to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.payload import make_payload
from otel_ml_collector.web.view import cut_slice, read_state, short, show, whole

STATIC: Final = Path(__file__).parent / "static"
# Each topic has its templates; no two have the same name.
_COLLECTOR: Final = Path(__file__).parents[1]
_PARTS: Final = ("runs", "models", "metrics", "datasets", "experiments", "judges")


def _templates() -> Jinja2Templates:
    environment = Environment(
        loader=FileSystemLoader(sorted(_COLLECTOR.glob("*/templates"))),
        autoescape=True,
        auto_reload=False,
        finalize=show,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        address=view.address,
        api_address=view.api_address,
        cut_slice=cut_slice,
        make_payload=make_payload,
        narrow=view.narrow,
        percent=view.percent,
        quoted=view.quoted,
        without=view.without,
    )
    environment.filters.update(
        ago=ago,
        count=view.count,
        cut_id=view.cut_id,
        dollars=write_dollars,
        duration=view.duration,
        elapsed_ms=view.elapsed_ms,
        moment=view.moment,
        money=write_cost,
        number=view.number,
        rfc3339=to_rfc3339,
        score=view.score,
        short=short,
        size=view.size,
        tag_value=view.tag_value,
        whole=whole,
    )
    return Jinja2Templates(env=environment)


def python_call(method: str, *values: object, **named: object) -> str:
    """Write a call of `otel_ml.reader` as it is typed; what is empty is left out."""
    given = [repr(value) for value in values if value not in (None, "")]
    given += [f"{name}={value!r}" for name, value in named.items() if value not in (None, "")]
    return f"reader.{method}({', '.join(given)})"


_PAGES: Final = _templates()


class PageRoute(APIRoute):
    """Answers errors with a page that says what happened and what to do."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the page."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except CollectorError as error:
                status, problem = problem_of(error)
                return show_problem(request, status, problem)
            except RequestValidationError as error:
                first = error.errors()[0]
                field = str(first["loc"][-1])
                status, problem = problem_of(BadInput(f"{field}: {first['msg']}", field))
                return show_problem(request, status, problem)

        return answer


def show_problem(request: Request, status: int, problem: Problem) -> Response:
    """Say what happened: on a page, or in the place of the part that was asked for."""
    is_part = "hx-request" in request.headers
    name = "problem.html" if is_part else "error.html"
    return show_page(request, name, {"problem": problem}, status)


def show_page(request: Request, name: str, context: dict[str, Any], status: int = 200) -> Response:
    """Render a page in its frame; its project is the one of its address, if any."""
    project = request.path_params.get("project")
    defaults: dict[str, Any] = {
        "project": project,
        "part": _part(request.url.path, project),
        "api": None,
        "python": None,
        "path": request.url.path,
        "state": read_state(request),
        "is_signed_in": SESSION_COOKIE in request.cookies,
        "clock_trouble": find_service(request, ClockWatch).trouble,
    }
    return _PAGES.TemplateResponse(request, name, defaults | context, status)


def _part(path: str, project: str | None) -> str:
    """Name the part of a project that a page belongs to."""
    rest = path.removeprefix(f"/projects/{project}/")
    return next((part for part in _PARTS if rest.startswith(part)), _PARTS[0])
