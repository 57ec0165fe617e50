"""Parameters that several calls of the API take, checked and bounded."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Query, Request

from otel_ml_collector.access import READ, Access, access_of
from otel_ml_collector.errors import NotFound
from otel_ml_collector.store.reader import Reader


def needs(scope: str) -> Callable[[Request], Awaitable[Access]]:
    """Make the dependency of a route on a scope, over the project of its path when it has one.

    A project of others is answered as one that is not there.
    """

    async def check(request: Request) -> Access:
        access = access_of(request.scope).demand(scope)
        project = request.path_params.get("project")
        if project is not None and not access.may(scope, project):
            raise NotFound(f"There is no project {project[:80]!r}")
        return access

    return check


async def reader_of(request: Request, access: Annotated[Access, Depends(needs(READ))]) -> Reader:
    """Return the store's reader, held to the projects that may be read."""
    reader: Reader = request.app.state.reader
    return reader.narrow(access)


FromReader = Annotated[Reader, Depends(reader_of)]
Time = Annotated[str | None, Query(max_length=64, description="RFC 3339, UTC without offset")]
