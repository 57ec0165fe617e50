"""Passes what a request edge refuses on to the log, with who sent it."""

from collections.abc import Mapping

import grpc
from starlette.requests import Request

from otel_ml import attributes as names
from otel_ml_collector.access import Access, find_access_of
from otel_ml_collector.receive.refusals import REFUSALS, Refusal


def note_http(request: Request, answer: str, reason: object, rejected: int = 0) -> None:
    """Log that a request over HTTP was not taken whole, unless its sender is in the log already.

    Args:
        request: Which one.
        answer: The word under which it is counted.
        reason: Why, an error or a text.
        rejected: How many records of it were refused, when the others were taken.
    """
    access = find_access_of(request.scope)
    REFUSALS.note(
        Refusal(
            transport="http",
            peer=f"{request.client.host}:{request.client.port}" if request.client else "",
            reason=str(reason),
            answer=answer,
            key_id=access.key_id if access else "",
            project=request.headers.get(names.PROJECT_HEADER, ""),
            rejected=rejected,
        )
    )


def note_grpc(
    context: "grpc.aio.ServicerContext[bytes, bytes]",
    sender: tuple[Access | None, Mapping[str, str]],
    answer: str,
    reason: object,
    rejected: int = 0,
) -> None:
    """Log that a call was not taken whole, as `note_http` does.

    Args:
        context: Of the call.
        sender: What its sender may do, and the metadata of the call.
        answer: The word under which it is counted.
        reason: Why, an error or a text.
        rejected: How many records of it were refused, when the others were taken.
    """
    access, metadata = sender
    REFUSALS.note(
        Refusal(
            transport="grpc",
            peer=context.peer() or "",
            reason=str(reason),
            answer=answer,
            key_id=access.key_id if access else "",
            project=metadata.get(names.PROJECT_HEADER, ""),
            rejected=rejected,
        )
    )
