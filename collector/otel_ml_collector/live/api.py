"""The part of the JSON API that tells of runs as they are recorded: server-sent events."""

from contextlib import suppress
from typing import Annotated, Any, Final

from anyio import create_task_group
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from otel_ml_collector.api.parameters import FromReader, Where
from otel_ml_collector.errors import BadQuery
from otel_ml_collector.live.feed import Listening, Seat, check_where
from otel_ml_collector.services import service_of

_EVENTS: Final = "text/event-stream"
_STREAM: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {_EVENTS: {}}}}
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_MAX_NS: Final = 2**63 - 1

router = APIRouter(prefix="/api/v1")

LastEventId = Annotated[
    str, Header(max_length=32, description="`id` of the last event that came: what is told next")
]


class Events(StreamingResponse):
    """Events, of which no more are made once the reader is gone.

    Args:
        seat: Hears them; given back at the end, whatever that is.
        where: Which runs are told.
    """

    def __init__(self, seat: Seat, where: str) -> None:
        super().__init__(seat.events(where), headers=_HEADERS, media_type=_EVENTS)
        self._seat = seat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the end, or until the reader is gone, which silence would not show."""

        async def tell() -> None:
            with suppress(OSError):  # the reader is gone
                await self.stream_response(send)
            group.cancel_scope.cancel()

        async def watch() -> None:
            await self.listen_for_disconnect(receive)
            group.cancel_scope.cancel()

        try:
            async with create_task_group() as group:
                group.start_soon(watch)
                await tell()
        finally:
            self._seat.leave()  # not by the generator: one that never began has no end
            await self.body_iterator.aclose()  # type: ignore[attr-defined]  # it is a generator


@router.get(
    "/projects/{project:path}/live",
    response_class=StreamingResponse,
    response_model=None,
    responses=_STREAM,
)
async def get_live(
    project: str,
    reader: FromReader,
    listening: Annotated[Listening, Depends(service_of(Listening))],
    where: Where = "",
    last_event_id: LastEventId = "",
) -> Events:
    """Hear of the runs of a project when they are recorded, each once, in the order of storing.

    An event `run` has a run as a list shows it as its data. A filter looks at what is known of it
    by then; scores and tags that come later change nothing. The stream ends now and then: a reader
    that comes back with the `id` that it heard last misses nothing.
    """
    after_ns = _read_id(last_event_id)
    await run_sync(check_where, reader, project, where)
    seat = await listening.take_seat(reader, project, after_ns)
    return Events(seat, where)


def _read_id(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= _MAX_NS):
        raise BadQuery(f"Invalid event id {text!r}: expected the id of an event", "last-event-id")
    return int(text)
