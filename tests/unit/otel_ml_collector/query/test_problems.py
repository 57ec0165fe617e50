"""Tests of errors as API responses."""

import pytest

from otel_ml_collector.api.problems import problem_of
from otel_ml_collector.errors import (
    BadInput,
    CollectorError,
    Missing,
    Rejected,
    StoreTimeout,
    TooLarge,
    Unavailable,
    UnknownMediaType,
)


@pytest.mark.parametrize(
    ("error", "status", "code", "field", "column"),
    [
        (BadInput("wrong", "where", 7), 400, "bad_query", "where", 7),
        (BadInput("wrong", "limit"), 400, "bad_query", "limit", None),
        (Missing("wrong"), 404, "not_found", None, None),
        (Rejected("wrong"), 400, "bad_request", None, None),
        (TooLarge("wrong"), 413, "too_large", None, None),
        (UnknownMediaType("wrong"), 415, "unknown_media_type", None, None),
        (StoreTimeout("wrong"), 503, "store_timeout", None, None),
        (Unavailable("wrong"), 503, "unavailable", None, None),
    ],
)
def test_problem(
    error: CollectorError, status: int, code: str, field: str | None, column: int | None
) -> None:
    """Each error has its HTTP status, code, message, field and column."""
    found, problem = problem_of(error)
    assert (found, problem.model_dump()) == (
        status,
        {"code": code, "message": "wrong", "field": field, "column": column},
    )
