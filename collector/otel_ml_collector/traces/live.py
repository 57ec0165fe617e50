"""Streams new runs as server-sent events. All streams of a project share one poller."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Annotated, Any, Final

from anyio import create_task_group
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from otel_ml_collector.access import access_of, has_still
from otel_ml_collector.api.parameters import FromReader, Where
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import BadInput, CollectorError, Unavailable
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.runs.answers import RunSummary, summarise, summary_writer
from otel_ml_collector.services import find_service
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.reader import IDS, Reader, Row, run_id_of, winners
from otel_ml_collector.store.runs import OF_KEYS, Key, key_parameters
from otel_ml_collector.store.sql import Condition, Sql
from otel_ml_collector.store.tables import LIGHT
from otel_ml_collector.times import LATEST_NS

_MOST_LISTENERS: Final = 64
_RUNS_AT_ONCE: Final = 500

_EVENTS: Final = "text/event-stream"
_STREAM: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {_EVENTS: {}}}}
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

_logger = logging.getLogger(__name__)
router = APIRouter(prefix="/api/v1", route_class=DeferredRoute)

LastEventId = Annotated[
    str,
    Header(
        max_length=32, description="`id` of the last received event; the stream continues after it"
    ),
]


@dataclass(frozen=True, slots=True)
class RecordedRow:
    """A run, and when it was stored. No two runs of a collector have the same time.

    The rank of the key is 0, so that a row that is written again later is the same.
    """

    arrived_ns: int
    key: Key


def read_last_arrival(reader: Reader, project: str) -> int:
    """Read when the last run of a project was stored; 0 if there is none."""
    sql = Sql(
        "SELECT max(arrived_ns) AS last FROM {deliveries} WHERE project = {project:String}"
    ).fill(deliveries=DELIVERIES)
    return int(reader.rows(sql, {"project": project})[0]["last"])


def list_recorded(reader: Reader, project: str, after_ns: int, limit: int) -> list[RecordedRow]:
    """List the runs of a project that were stored after a time, in order of arrival."""
    sql = Sql("""
        SELECT DISTINCT arrived_ns, start_ns, {ids} FROM {deliveries}
        WHERE project = {project:String} AND arrived_ns > {after:Int64}
        ORDER BY arrived_ns LIMIT {limit:UInt32}
        """).fill(deliveries=DELIVERIES, ids=IDS)
    parameters = {"project": project, "after": after_ns, "limit": limit}
    rows = reader.rows(sql, parameters)
    return [RecordedRow(row.pop("arrived_ns"), Key(**row)) for row in rows]


def read_recorded(
    reader: Reader, project: str, keys: Sequence[Key], condition: Condition
) -> list[Row]:
    """Read the list columns of some runs, with all stored deliveries of each.

    Returns:
        Rows with `arrived_ns`, and with `matches`: whether the condition holds.
    """
    sql = Sql("""
        SELECT {light}, arrived_ns, ({condition}) AS matches FROM {deliveries} WHERE {these}
        """).fill(deliveries=DELIVERIES, light=LIGHT, condition=condition.sql, these=OF_KEYS)
    parameters = {
        **key_parameters(project, keys),
        "start": min((key.start_ns for key in keys), default=0),
        "end": max((key.start_ns for key in keys), default=0) + 1,
        **condition.parameters,
    }
    return reader.rows(sql, parameters)


@dataclass(frozen=True, slots=True)
class News:
    """A run that was recorded, and when it was stored."""

    arrived_ns: int
    run: RunSummary


def find_news(
    reader: Reader, project: str, where: str, recorded: Sequence[RecordedRow]
) -> list[News]:
    """Find the runs that match and are new to this stream, in order.

    Leaves out deliveries of runs that had been stored before.
    """
    condition, _ = compile_where(reader, project, where, is_bounded=True)
    rows = read_recorded(reader, project, [row.key for row in recorded], condition)
    first: dict[str, int] = {}
    for row in rows:
        run_id = run_id_of(row)
        first[run_id] = min(first.get(run_id, row["arrived_ns"]), row["arrived_ns"])
    best = {run_id_of(row): row for row in winners(rows)}
    new = {
        run_id: row.arrived_ns
        for row in recorded
        for run_id in (row.key.run_id,)
        if run_id in best and best[run_id]["matches"] and first[run_id] == row.arrived_ns
    }
    runs = summarise(reader, project, [best[run_id] for run_id in new])
    return [News(new[run.run_id], run) for run in runs]


@dataclass(frozen=True, slots=True)
class LivePace:
    """The intervals and limits of live streams.

    Attributes:
        poll_s: Seconds between two polls of the store.
        check_s: Seconds between two checks of whether the client may still read.
        heartbeat_s: Seconds without an event after which a heartbeat line is sent. If this fails,
            the client has disconnected.
        lifetime_s: Seconds after which a stream ends.
        overlap_ns: Each poll also reads the runs of this time span before the newest run that it
            has seen, in nanoseconds. The clock of another collector can be behind, so its runs can
            get an earlier time of storing. If more than `kept` / 2 runs arrived in this time span,
            the poll reads fewer of them again, to leave room for new runs.
        kept: Number of a project's newest runs that are remembered, so that no run is sent twice. A
            poll reads at most this number of runs.
    """

    poll_s: float = 0.5
    check_s: float = 0.5
    heartbeat_s: float = 5.0
    lifetime_s: float = 600.0
    overlap_ns: int = 0
    kept: int = 20_000


class Listening:
    """Limits the number of open live streams, and ends all of them when the collector stops.

    Args:
        reader: The store, with access to all projects. It is used only to look for new runs. The
            runs that a client receives are read with the rights of that client.
        pace: The intervals and limits.
    """

    def __init__(self, reader: Reader, pace: LivePace) -> None:
        self._reader = reader
        self.pace = pace
        self._feeds: dict[str, _Feed] = {}
        self._taken = 0
        self.is_ending = False

    async def take_seat(self, reader: Reader, project: str, after_ns: int | None) -> "Seat":
        """Open a live stream of the runs of a project.

        Args:
            reader: The store, limited to what the client may read.
            project: The project.
            after_ns: The stream begins after this point in time, in nanoseconds since 1970, and
                sends the runs that were stored since then. If None, it begins now.

        Raises:
            Unavailable: There are too many streams, or the collector is shutting down.
        """
        if self.is_ending:
            raise Unavailable("The collector is shutting down")
        if self._taken >= _MOST_LISTENERS:
            raise Unavailable(f"{_MOST_LISTENERS} listeners are connected: try again later")
        self._taken += 1
        try:
            now_ns = await run_sync(read_last_arrival, self._reader, project)
        except BaseException:
            self._taken -= 1
            raise
        feed = self._feeds.get(project)
        if feed is None:
            feed = self._feeds[project] = _Feed(self._reader, project, self.pace, now_ns)
        feed.listeners += 1
        return Seat(self, feed, reader, now_ns if after_ns is None else after_ns)

    def leave(self, feed: "_Feed") -> None:
        """Give a seat back. A feed without streams stops."""
        self._taken -= 1
        feed.listeners -= 1
        if not feed.listeners:
            feed.stop()
            del self._feeds[feed.project]

    def end(self) -> None:
        """Let all streams end."""
        self.is_ending = True
        for feed in self._feeds.values():
            feed.changed.set()


class _Feed:
    """The recently recorded runs of a project, for all streams that listen to it."""

    def __init__(self, reader: Reader, project: str, pace: LivePace, since_ns: int) -> None:
        self.project = project
        self.listeners = 0
        self.changed = asyncio.Event()
        self.seen_ns = since_ns
        self.count = 0  # all runs seen so far; only the last ones are kept
        self._reader = reader
        self._pace = pace
        self._kept: deque[RecordedRow] = deque(maxlen=pace.kept)
        self._task = asyncio.create_task(self._poll_forever())

    def stop(self) -> None:
        self._task.cancel()

    def behind(self, number: int) -> list[RecordedRow] | None:
        """Return the runs after the first `number` seen; None if some are no longer kept."""
        missing = self.count - number
        if missing > len(self._kept):
            return None
        first = len(self._kept) - missing
        return list(islice(self._kept, first, first + _RUNS_AT_ONCE))

    async def _poll_forever(self) -> None:
        while True:
            try:
                while await self._poll():
                    pass
            except CollectorError as error:
                _logger.warning("New runs could not be read: %s", error)
            await asyncio.sleep(self._pace.poll_s)

    async def _poll(self) -> bool:
        """Read runs stored since the last poll. Return whether there are more."""
        since_ns, most = self._since_ns(), self._pace.kept
        rows = await run_sync(list_recorded, self._reader, self.project, since_ns, most)
        known = {item for item in self._kept if item.arrived_ns > since_ns}
        new = [item for item in rows if item not in known]
        if new:
            self._kept.extend(new)
            self.count += len(new)
            self.seen_ns = max(self.seen_ns, new[-1].arrived_ns)
            self.changed.set()
            self.changed = asyncio.Event()
        return bool(new) and len(rows) == most

    def _since_ns(self) -> int:
        """Return the time from which the next poll reads, so that it has room for new runs."""
        since_ns, half = self.seen_ns - self._pace.overlap_ns, self._pace.kept // 2
        return max(since_ns, self._kept[-half].arrived_ns) if len(self._kept) > half else since_ns


class Seat:
    """An open live stream, which sends the new runs of a project to one client.

    Args:
        listening: Counts the open streams. `leave` removes this stream from the count.
        feed: Delivers the runs that are stored from now on.
        reader: The store, limited to what the client may read.
        after_ns: The stream sends the runs that were stored after this time, in nanoseconds since
            1970. With several collectors, it begins a few seconds earlier (`LivePace.overlap_ns`).
    """

    def __init__(self, listening: Listening, feed: _Feed, reader: Reader, after_ns: int) -> None:
        self._listening = listening
        self._feed = feed
        self._reader = reader
        self._after_ns = after_ns - listening.pace.overlap_ns
        self._caught_up_ns = self._after_ns
        self._joined_ns = feed.seen_ns
        self._number = feed.count
        self._id_ns = after_ns
        self._sent: dict[str, None] = {}

    async def events(
        self, where: str, is_allowed: Callable[[], bool] = lambda: True
    ) -> AsyncGenerator[bytes, None]:
        """Yield events of matching runs until the stream ends. Call `leave` afterwards.

        Args:
            where: The filter.
            is_allowed: Returns whether the client may still read. If not, the stream ends.
        """
        pace = self._listening.pace
        sent_s = time.monotonic()
        end_s = sent_s + pace.lifetime_s
        try:
            yield b"retry: 1000\n: listening\n\n"
            while True:
                changed = self._feed.changed
                recorded = await self._next()
                if recorded is None:  # too far behind: a client that reconnects catches up
                    return
                for event in await self._make_events(where, recorded):
                    if not is_allowed():
                        return
                    yield event
                    sent_s = time.monotonic()
                if self._listening.is_ending or time.monotonic() >= end_s:
                    return
                if not recorded:
                    await _within(changed, min(pace.check_s, pace.heartbeat_s))
                if not is_allowed():
                    return
                if time.monotonic() - sent_s >= pace.heartbeat_s:
                    yield b": alive\n\n"
                    sent_s = time.monotonic()
        except CollectorError as error:  # a client that reconnects gets what is missing
            _logger.warning("New runs could not be sent to listeners: %s", error)

    def leave(self) -> None:
        """Give the seat back, once, even if the stream never started."""
        self._listening.leave(self._feed)

    async def _next(self) -> list[RecordedRow] | None:
        """Return the next runs: those stored before the seat was taken, then those of the feed."""
        if self._caught_up_ns < self._joined_ns:
            reader, project = self._reader, self._feed.project
            rows = await run_sync(list_recorded, reader, project, self._caught_up_ns, _RUNS_AT_ONCE)
            full = len(rows) == _RUNS_AT_ONCE
            self._caught_up_ns = rows[-1].arrived_ns if full else self._joined_ns
            return [item for item in rows if item.arrived_ns <= self._joined_ns]
        seen = self._feed.behind(self._number)
        self._number += len(seen or ())
        return seen

    async def _make_events(self, where: str, recorded: Sequence[RecordedRow]) -> list[bytes]:
        wanted = [row for row in recorded if row.arrived_ns > self._after_ns]
        if not wanted:
            return []
        project = self._feed.project
        events: list[bytes] = []
        for news in await run_sync(find_news, self._reader, project, where, wanted):
            if news.run.run_id not in self._sent:
                self._sent[news.run.run_id] = None
                self._id_ns = max(self._id_ns, news.arrived_ns)
                summary = summary_writer().dump_json(news.run)
                events.append(b"event: run\nid: %d\ndata: %b\n\n" % (self._id_ns, summary))
        while len(self._sent) > self._listening.pace.kept:
            del self._sent[next(iter(self._sent))]
        return events


async def _within(changed: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await changed.wait()


class Events(StreamingResponse):
    """Streams events of runs, and stops as soon as the client disconnects.

    The seat is given back at the end in any case.
    """

    def __init__(
        self, seat: Seat, where: str, is_allowed: Callable[[], bool] = lambda: True
    ) -> None:
        events = seat.events(where, is_allowed)
        super().__init__(events, headers=_HEADERS, media_type=_EVENTS)
        self._seat = seat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the stream ends or the client disconnects."""

        async def send_events() -> None:
            with suppress(OSError):  # the reader is gone
                await self.stream_response(send)
            group.cancel_scope.cancel()

        async def watch() -> None:
            await self.listen_for_disconnect(receive)
            group.cancel_scope.cancel()

        try:
            async with create_task_group() as group:
                group.start_soon(watch)
                await send_events()
        finally:
            self._seat.leave()  # the generator cannot do it: it may never have started
            await self.body_iterator.aclose()  # type: ignore[attr-defined]  # it is a generator


@router.get(
    "/projects/{project:path}/live",
    response_class=StreamingResponse,
    response_model=None,
    responses=_STREAM,
)
async def get_live(
    request: Request,
    project: str,
    reader: FromReader,
    where: Where = "",
    last_event_id: LastEventId = "",
) -> Events:
    """Stream the runs of a project as soon as they are stored. A stream sends each run once.

    The data of an event `run` has the same fields as a run in a list of runs. The filter is applied
    when a run is stored, so scores and tags that arrive later have no effect. The stream ends after
    ten minutes: if you reconnect with the `id` of the last event, you miss nothing. The stream ends
    within 3 s if your key is revoked or your session ends.
    """
    after_ns = _read_id(last_event_id)
    # Refuse a wrong filter before the response begins.
    await run_sync(partial(compile_where, reader, project, where, is_bounded=True))
    seat = await find_service(request, Listening).take_seat(reader, project, after_ns)
    return Events(seat, where, partial(has_still, request.scope, access_of(request.scope)))


def _read_id(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= LATEST_NS):
        raise BadInput(f"Invalid event id {text!r}: expected the id of an event", "last-event-id")
    return int(text)
