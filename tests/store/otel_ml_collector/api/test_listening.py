"""Live listeners of new runs, over a store without a server."""

import asyncio
from typing import Final

from starlette.types import Message

from otel_ml_collector.traces.live import Events, Listening, LivePace, Seat
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night

SEATS: Final = 64
WAIT_S: Final = 30


async def heard_of_late(seat: Seat, store: Store, project: str) -> bytes:
    """Listen until nothing is new, record one more run, and return the next event."""
    events = seat.events("")
    async with asyncio.timeout(WAIT_S):
        while await anext(events) != b": alive\n\n":
            pass
        store.take(project, make_call("late"))
        while (event := await anext(events)) == b": alive\n\n":
            pass
    return event


@at_night
def test_burst(store: Store, project: str) -> None:
    """A batch that fills one poll, all within its overlap, does not delay a later run."""
    pace = LivePace(poll_s=0.05, heartbeat_s=0.2, overlap_ns=10**15, kept=20)
    store.take(project, *[make_call() for _ in range(pace.kept)])

    async def listen() -> bytes:
        seat = await Listening(store.reader, pace).take_seat(store.reader, project, None)
        try:
            return await heard_of_late(seat, store, project)
        finally:
            seat.leave()

    assert b'"model":"late"' in asyncio.run(listen())


def test_gone_before_the_answer(store: Store, project: str) -> None:
    """A client that disconnects before the response starts releases its seat."""

    async def gone(message: Message) -> None:
        raise OSError("the reader is gone")

    async def receive() -> Message:
        await asyncio.Event().wait()  # nothing arrives
        return {"type": "http.disconnect"}

    async def listen() -> None:
        listening = Listening(store.reader, LivePace())
        for _ in range(SEATS + 1):
            seat = await listening.take_seat(store.reader, project, None)
            await Events(seat, "")({"type": "http"}, receive, gone)

    asyncio.run(listen())
