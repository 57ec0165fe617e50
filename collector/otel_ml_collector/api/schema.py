"""The OpenAPI description of the API, with an example of each request and its answer."""

from pathlib import Path
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from otel_ml_collector.api.problems import ErrorAnswer

_EXAMPLES: Final = Path(__file__).with_name("examples.json")
_ABOUT: Final = (
    "Runs, models, metrics and artifacts of traced calls. To get the next page of a list, send its "
    "`next_cursor`; no record is skipped or repeated. All errors have the same form. See "
    "docs/api.md."
)
_JSON_TYPE: Final = "application/json"
_SCHEMA: Final = "#/components/schemas/{model}"
_PROBLEM: Final = {"$ref": _SCHEMA.format(model=ErrorAnswer.__name__)}
# Errors that every operation may return: meaning, code, field, example message.
_ERRORS: Final = {
    "400": ("A parameter or the body is wrong", "bad_query", "where", "Unknown field 'colour'"),
    "401": ("The request has no valid key", "unauthenticated", None, "This needs a valid key"),
    "403": ("The key lacks the scope", "forbidden", None, "This key does not have the scope read"),
    "404": (
        "Unknown, or the key has no access",
        "not_found",
        None,
        "There is no project 'a'",
    ),
    "503": ("Try again later", "unavailable", None, "The store has trouble"),
}
_WITH_BODY: Final = {
    "413": ("The body is too large", "too_large", None, "The body has more than 4194304 bytes"),
    "415": ("The body is of another type", "unknown_media_type", None, "Invalid content type ''"),
    "429": ("The key has sent more than it may", "over_quota", None, "The key sends too much"),
}
_WITH_CONDITION: Final = {
    "412": ("Another version is the newest", "outdated", None, "The newest version of 'qa' is 3"),
}
_WITH_BASE: Final = {
    "409": ("Another version is the newest", "conflict", None, "The newest version is 3, not 2"),
}
_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "omk_..."},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def describe(app: FastAPI) -> None:
    """Serve the OpenAPI description of an application at ``/openapi.json``."""

    def make() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _make(app)
        return app.openapi_schema

    app.openapi = make  # type: ignore[method-assign]  # as the framework's documentation says


def _make(app: FastAPI) -> dict[str, Any]:
    described = get_openapi(
        title=app.title, version=app.version, description=_ABOUT, routes=app.routes
    )
    examples = orjson.loads(_EXAMPLES.read_bytes())
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            _add_errors(operation, has_body=method == "post" or "requestBody" in operation)
            _add_examples(operation, examples.get(f"{method.upper()} {path}", {}))
    components = described["components"]
    _, of_errors = models_json_schema([(ErrorAnswer, "serialization")], ref_template=_SCHEMA)
    components["schemas"] |= jsonable_encoder(of_errors["$defs"], exclude_none=True)
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = _SECURITY
    described["security"] = [
        {},
        *({name: []} for name in _SECURITY),
    ]  # {}: no key is needed until the first one is created
    return described


def _add_errors(operation: dict[str, Any], *, has_body: bool) -> None:
    """Describe the errors of an operation. An invalid parameter is 400, never 422."""
    answers = operation["responses"]
    for status in ("422", *_WITH_BODY):
        answers.pop(status, None)
    errors = _ERRORS | (_WITH_BODY if has_body else {})
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    if "if-match" in names:
        errors |= _WITH_CONDITION
    if "base" in names:
        errors |= _WITH_BASE
    for status, (meaning, code, field, message) in errors.items():
        problem = {"code": code, "message": message, "field": field, "column": None}
        content = {_JSON_TYPE: {"schema": _PROBLEM, "example": {"error": problem}}}
        answers[status] = {"description": meaning, "content": content}


def _add_examples(operation: dict[str, Any], example: dict[str, Any]) -> None:
    given = example.get("parameters", {})
    for parameter in operation.get("parameters", []):
        if parameter["name"] in given:
            parameter["example"] = given[parameter["name"]]
    if "body" in example:
        operation["requestBody"]["content"][_JSON_TYPE]["example"] = example["body"]
    for status, answer in example.get("answers", {}).items():
        content = operation["responses"][status].setdefault("content", {})
        content.setdefault(answer["type"], {})["example"] = answer["body"]
