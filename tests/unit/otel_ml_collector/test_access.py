"""Tests of the permissions of API keys."""

import pytest

from otel_ml_collector.access import (
    INGEST,
    OPEN,
    OPEN_BEYOND,
    READ,
    SCOPES,
    USER,
    Access,
    access_of,
    put_access,
)
from otel_ml_collector.errors import NotPermitted, Unauthenticated

SOME = Access("id", "", frozenset({INGEST}), ("one", "two"))


@pytest.mark.parametrize(
    ("scope", "project", "is_allowed"),
    [
        (INGEST, "one", True),
        (INGEST, "two", True),
        (INGEST, "three", False),
        (INGEST, "*", False),
        (READ, "one", False),
    ],
)
def test_may(scope: str, project: str, is_allowed: bool) -> None:
    """A key may use its own scopes in its own projects, and nothing else."""
    assert SOME.may(scope, project) is is_allowed


def test_open() -> None:
    """Without keys everything is allowed, but remote senders cannot create the first key."""
    assert all(OPEN.may(scope, "any") for scope in SCOPES)
    assert [scope for scope in SCOPES if not OPEN_BEYOND.may(scope, "any")] == ["admin"]


@pytest.mark.parametrize(
    ("projects", "is_covered"),
    [(("one",), True), (("two", "one"), True), (("one", "three"), False), (None, False)],
)
def test_covers(projects: tuple[str, ...] | None, is_covered: bool) -> None:
    """A key covers keys for a subset of its projects. A key for all projects covers every key."""
    assert SOME.covers(projects) is is_covered
    assert OPEN.covers(projects)


def test_demand() -> None:
    """The error about a missing scope names the scope."""
    assert SOME.demand(INGEST) is SOME
    with pytest.raises(NotPermitted, match=r"^This key does not have the scope read$"):
        SOME.demand(READ)
    user = Access(f"{USER}ada", "ada", frozenset({INGEST}), ("one",))
    with pytest.raises(NotPermitted, match=r"^This user does not have the scope read$"):
        user.demand(READ)


@pytest.mark.parametrize("scope", [{}, {"otel_ml.access": None}])
def test_nobody(scope: dict[str, object]) -> None:
    """A request without a checked key has no permissions."""
    with pytest.raises(Unauthenticated):
        access_of(scope)


def test_somebody() -> None:
    """The access that a gate stored is returned to the route."""
    scope: dict[str, object] = {}
    put_access(scope, SOME)
    assert access_of(scope) is SOME
