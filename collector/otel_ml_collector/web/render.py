"""Renders pages: the templates with what they may use, and errors as pages that help."""

import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import Response

from otel_ml_collector.errors import BadQuery, CollectorError
from otel_ml_collector.keyring import SESSION_COOKIE
from otel_ml_collector.query.answers.problem import Problem
from otel_ml_collector.query.problems import problem_of
from otel_ml_collector.query.times import to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.payload import make_payload

STATIC: Final = Path(__file__).parent / "static"


def _templates() -> Jinja2Templates:
    environment = Environment(
        loader=PackageLoader("otel_ml_collector.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        address=view.address,
        api_address=view.api_address,
        make_payload=make_payload,
        narrow=view.narrow,
        percent=view.percent,
        quoted=view.quoted,
        without=view.without,
    )
    environment.filters.update(
        ago=view.ago,
        count=view.count,
        cut_id=view.cut_id,
        duration=view.duration,
        elapsed_ms=view.elapsed_ms,
        moment=view.moment,
        money=view.money,
        number=view.number,
        rfc3339=to_rfc3339,
        score=view.score,
        size=view.size,
        tag_value=view.tag_value,
    )
    return Jinja2Templates(env=environment)


def python_call(method: str, *values: object, **named: object) -> str:
    """Write a call of `otel_ml.reader` as it is typed; what is empty is left out."""
    given = [json.dumps(value, ensure_ascii=False) for value in values if value not in {None, ""}]
    given += [
        f"{name}={json.dumps(value, ensure_ascii=False)}"
        for name, value in named.items()
        if value not in {None, ""}
    ]
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
                status, problem = problem_of(BadQuery(f"{field}: {first['msg']}", field))
                return show_problem(request, status, problem)

        return answer


def show_problem(request: Request, status: int, problem: Problem) -> Response:
    """Say what happened: on a page, or in the place of the part that was asked for."""
    is_part = "hx-request" in request.headers
    return show_page(
        request, "problem.html" if is_part else "error.html", {"problem": problem}, status
    )


def show_page(request: Request, name: str, context: dict[str, Any], status: int = 200) -> Response:
    """Render a page in its frame."""
    defaults: dict[str, Any] = {
        "project": None,
        "projects": [],
        "api": None,
        "python": None,
        "path": request.url.path,
        "is_signed_in": SESSION_COOKIE in request.cookies,
    }
    return _PAGES.TemplateResponse(request, name, defaults | context, status)
