"""Error responses, all in the same format."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import Field
from starlette.exceptions import HTTPException

from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import (
    BadInput,
    CollectorError,
    Conflict,
    InternalError,
    Missing,
    NotPermitted,
    Outdated,
    OverQuota,
    Rejected,
    StoreTimeout,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownMediaType,
)

# Status and code by error. The first match counts, so subclasses come before base classes.
_ANSWERS: Final[dict[type[CollectorError], tuple[int, str]]] = {
    Missing: (404, "not_found"),
    BadInput: (400, "bad_query"),
    Conflict: (409, "conflict"),
    Outdated: (412, "outdated"),
    TooLarge: (413, "too_large"),
    UnknownMediaType: (415, "unknown_media_type"),
    Unauthenticated: (401, "unauthenticated"),
    NotPermitted: (403, "forbidden"),
    Rejected: (400, "bad_request"),
    OverQuota: (429, "over_quota"),
    StoreTimeout: (503, "store_timeout"),
    InternalError: (503, "internal_error"),
    CollectorError: (503, "unavailable"),
}
# Code and message of errors that FastAPI raises itself. An empty message keeps FastAPI's.
_NOT_FOUND: Final = 404
_HTTP: Final = {
    _NOT_FOUND: ("not_found", "Unknown address"),
    405: ("wrong_method", "Invalid method {method}: expected {allowed}"),
    413: ("too_large", ""),
}


class Problem(AnswerBody):
    """An error in a request."""

    code: str
    message: str
    field: str | None
    column: int | None = Field(
        default=None,
        description="Position of the error in the field's text, counted from 0",
    )


class ErrorAnswer(AnswerBody):
    """The body of every error."""

    error: Problem


def add_error_handlers(app: FastAPI, show: Callable[[Request, int, Problem], Response]) -> None:
    """Answer all errors of the API in the same format.

    Args:
        app: The application.
        show: Renders an error as a page, for a browser that requests an unknown address.
    """

    async def answer(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            return _answer_error(error)
        code, code_text = _HTTP.get(error.status_code, ("bad_request", ""))
        headers = dict(error.headers or {})
        allowed = headers.get("Allow", "another one")
        message = code_text.format(method=request.method, allowed=allowed) or str(error.detail)
        problem = Problem(code=code, message=message, field=None)
        if error.status_code == _NOT_FOUND and _is_for_people(request):
            return show(request, error.status_code, problem)
        return _answer(error.status_code, problem, headers)

    for kind in (CollectorError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def problem_of(error: CollectorError) -> tuple[int, Problem]:
    """Return the status and the body of the answer to an error."""
    status, code = next(answer for kind, answer in _ANSWERS.items() if isinstance(error, kind))
    problem = Problem(code=code, message=str(error), field=None)
    if isinstance(error, BadInput):
        problem.field, problem.column = error.field, error.column
    return status, problem


def headers_of(error: CollectorError) -> dict[str, str]:
    """Return the headers of the answer to an error: when to retry, or the required login."""
    if isinstance(error, Unavailable):
        return {"Retry-After": str(math.ceil(error.retry_after_s))}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthenticated) else {}


def _answer_error(error: Exception) -> JSONResponse:
    """Answer one of the collector's own errors, an invalid parameter, or an unexpected error."""
    match error:
        case CollectorError():
            return _answer(*problem_of(error), headers_of(error))
        case RequestValidationError():
            first = error.errors()[0]
            where, *path = first["loc"]  # for example body, evaluations, 0, score
            field = ".".join(str(part) for part in path) or str(where)
            if first["type"] == "json_invalid":
                field = str(where)
            message = f"{field}: {_describe_fault(first)}"
            return _answer(400, Problem(code="bad_query", message=message, field=field))
    # The server logs the traceback.
    return _answer_error(InternalError("this request", type(error).__name__))


def _describe_fault(fault: Mapping[str, Any]) -> str:
    """Say what is wrong with a parameter or a field of a body."""
    match fault["type"]:
        case "json_invalid":
            return f"Invalid JSON at character {fault['loc'][1]}: {fault['ctx']['error']}"
        case "extra_forbidden":
            return "There is no such field"
    return str(fault["msg"]).removeprefix("Value error, ")


def _is_for_people(request: Request) -> bool:
    is_page = not request.url.path.startswith(("/api/", "/v1/", "/static/"))
    return is_page and "text/html" in request.headers.get("accept", "")


def _answer(status: int, problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(ErrorAnswer(error=problem).model_dump(), status, headers)
