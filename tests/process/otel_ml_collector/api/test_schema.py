"""Tests of the API's description: each operation has an example of its request and response."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from tests.support.otel_ml_collector.api.world import EXAMPLES, Asked, ask_all, examples_of
from tests.support.otel_ml_collector.stores import open_service
from tests.support.sampling import at_night

TEXTS = ("application/json", "application/x-ndjson", "text/")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, Asked]]]:
    """The description of a service, and the requests and responses of all its operations."""
    with open_service(tmp_path_factory.mktemp("data")) as service:
        folder = tmp_path_factory.mktemp("backup")
        yield service.app.openapi(), ask_all(service, folder)


@pytest.fixture(scope="module")
def described(world: tuple[Any, dict[str, Asked]]) -> Any:
    return world[0]


def operations(described: Any) -> list[tuple[str, Any]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in described["paths"].items()
        if path.startswith("/api/v1/")
        for method, operation in methods.items()
    ]


def parts(operation: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of an operation that have a schema: parameters, body, text responses."""
    for parameter in operation.get("parameters", []):
        if parameter.get("required") or "example" in parameter:
            yield parameter["name"], parameter
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        if content.get("schema", {}).get("format") != "binary":
            yield f"body {kind}", content
    for status, answer in operation["responses"].items():
        contents = answer.get("content", {})
        is_one_of_several = len(contents) > 1 and any("example" in c for c in contents.values())
        for kind, content in contents.items():
            is_exemplary = "example" in content or not is_one_of_several
            if kind.startswith(TEXTS) and is_exemplary and not is_picture(contents):
                yield f"{status} {kind}", content


def is_picture(contents: Any) -> bool:
    return "image/png" in contents


def lacking(described: Any) -> list[str]:
    second = {"200 application/json"}  # a document that exists already: same as the 201 response
    return [
        f"{name}: {part}"
        for name, operation in operations(described)
        for part, content in parts(operation)
        if "example" not in content and not (part in second and "201" in operation["responses"])
    ]


@at_night
def test_every_operation_has_examples(described: Any) -> None:
    """Each required parameter, each body and each text response has an example."""
    assert lacking(described) == []


@at_night
def test_examples_are_valid(described: Any) -> None:
    """Each example is valid for its own schema."""
    schemas, examples = {}, {}
    for name, operation in operations(described):
        for part, content in parts(operation):
            if "example" in content:
                schemas[f"{name}: {part}"] = content.get("schema", {})
                examples[f"{name}: {part}"] = content["example"]
    # One schema for all: separate ones would each take a copy of all components.
    schema = {"properties": schemas, "components": described["components"]}
    problems = list(jsonschema_rs.Draft202012Validator(schema).iter_errors(examples))
    assert not problems, problems[0]
    assert len(examples) > 100


@at_night
def test_examples_are_shaped_as_answers(world: tuple[Any, dict[str, Asked]]) -> None:
    """Each example response has the fields and types of a real response."""
    described, asked = world
    wanted = json.loads(EXAMPLES.read_text())
    found = json.loads(json.dumps(examples_of(asked, described["paths"])))
    assert {name: shape(example) for name, example in wanted.items()} == {
        name: shape(example) for name, example in found.items()
    }


def shape(value: Any) -> Any:
    """Return the structure of a value: its fields and types, without texts and numbers."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shape(part) for part in value]
    return type(value).__name__


@at_night
def test_no_framework_errors(described: Any) -> None:
    """Every error response has the same schema."""
    for name, operation in operations(described):
        for status, answer in operation["responses"].items():
            if status >= "4":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}, (name, status)
    assert "HTTPValidationError" not in described["components"]["schemas"]
