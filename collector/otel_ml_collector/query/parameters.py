"""Parameters that several calls of the API take, checked and bounded."""

from typing import Annotated

from fastapi import Depends, Query, Request

from otel_ml_collector.store.reader import Reader


def reader_of(request: Request) -> Reader:
    """Return the store's reader that the application was made with."""
    reader: Reader = request.app.state.reader
    return reader


FromReader = Annotated[Reader, Depends(reader_of)]
Time = Annotated[str | None, Query(max_length=64, description="RFC 3339, UTC without offset")]
