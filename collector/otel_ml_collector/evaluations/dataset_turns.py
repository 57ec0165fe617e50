"""Makes changes of a data set one at a time, also by several collectors on the same store.

Each change is made of the newest version, so nobody else may change the data set from reading that
until the new version is durable. Within a process a lock sees to it. Collectors before a server
write a row into `store_meta`, then read those of the others, and go on where none is held: of two
that write at the same moment at least one sees the other.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from typing import Final, TypeVar

from anyio import CancelScope
from anyio.to_thread import run_sync

from otel_ml.records import DatasetVersion
from otel_ml_collector import feedback
from otel_ml_collector.access import Access
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.evaluations.dataset_changes import (
    SavedRuns,
    WantedItems,
    WantedRuns,
    make_change,
    read_runs,
)
from otel_ml_collector.evaluations.datasets import find_digest
from otel_ml_collector.receive.pipeline import Intake
from otel_ml_collector.store.connection import (
    ORDERED_INSERT,
    ORDERED_READ,
    Connections,
    store_trouble,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql, StoreClient
from otel_ml_collector.times import SECOND_NS

Made = TypeVar("Made")

# Number of locks. Data sets share them, because each lock adds a row per start of a collector.
_LANES: Final = 16
# Seconds after which a lock expires, so that a killed collector does not block others for long.
_LEASE_S: Final = 20
# Seconds after which a change is given up: its lock could expire before the change is stored.
_IN_TIME_S: Final = 10.0
_PATIENCE_S: Final = 40.0
_PAUSE_S: Final = 0.05
_NOW: Final = Sql("SELECT toUnixTimestamp64Nano(now64(9)) AS now_ns")
# Locks of other collectors, by the clock of the store. An even value is held until that time. An
# odd value was released.
_OTHER_LANES: Final = Sql("""
    SELECT name FROM store_meta WHERE startsWith(name, {lane:String}) AND name != {own:String}
    GROUP BY name
    HAVING max(value) % 2 = 0 AND max(value) > toUnixTimestamp64Nano(now64(9))
    ORDER BY name LIMIT 1""")


class _Turn:
    """The turn to change a data set, which ends after a while where other collectors wait."""

    def __init__(self, is_lasting: bool = True) -> None:
        self._ends_s = None if is_lasting else time.monotonic() + _IN_TIME_S

    def check(self) -> None:
        """Make sure that there is time left to store a change.

        Raises:
            Unavailable: There is none.
        """
        if self._ends_s is not None and time.monotonic() > self._ends_s:
            raise Unavailable("The change of the data set took too long: nothing of it is stored")


class Turns:
    """Gives the turns to change data sets.

    Args:
        connections: The store: a folder has no other collector, a server may.
    """

    def __init__(self, connections: Connections) -> None:
        self._is_alone = connections.folder is not None
        self._locks = [asyncio.Lock() for _ in range(_LANES)]
        self._clients: list[StoreClient] = (
            [] if self._is_alone else [connections.open() for _ in range(_LANES)]
        )
        self._token = secrets.token_hex(8)

    async def change(
        self,
        pipeline: Intake,
        access: Access,
        dataset: tuple[str, str],
        make: Callable[[], tuple[Made, bytes]],
    ) -> Made:
        """Change a data set when it is its turn.

        Args:
            pipeline: Stores the change.
            access: Whose change it is.
            dataset: Project and name.
            make: Reads the newest version, on a thread; returns what is to be known of the change,
                and its records, an OTLP request in JSON: empty where there is nothing to store.

        Returns:
            What `make` returned first, once its records are durable.

        Raises:
            Unavailable: The store has trouble, or other collectors hold the turn all the time.
        """
        async with self._hold(*dataset) as turn:
            with pipeline.hold() as held:
                made, body = await run_sync(make)
                if body:
                    turn.check()
                    await feedback.store_request(pipeline, held, body, access, dataset[0])
        return made

    @asynccontextmanager
    async def _hold(self, project: str, name: str) -> AsyncIterator[_Turn]:
        lane = sha256(f"{project}\n{name}".encode()).digest()[0] % _LANES
        async with self._locks[lane]:
            if self._is_alone:
                yield _Turn()
                return
            held = _TurnRow(self._clients[lane], f"dataset_turn {lane:02} ", self._token)
            try:
                await _wait_for(held)
                yield _Turn(is_lasting=False)
            finally:
                with CancelScope(shield=True):
                    await run_sync(held.give_back)


async def _wait_for(held: "_TurnRow") -> None:
    """Write our row until no other is held; of several that wait the first by name stays."""
    ends_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < ends_s:
        other = await run_sync(held.find_other)
        if other is None:
            await run_sync(held.take)
            other = await run_sync(held.find_other)
            if other is None:
                return
        if other < held.name:
            await run_sync(held.give_back)
        await asyncio.sleep(_PAUSE_S * (1 + secrets.randbelow(4)))
    raise Unavailable("Another collector changes data sets all the time")


class _TurnRow:
    """The row by which this process tells other collectors that it changes data sets."""

    def __init__(self, client: StoreClient, lane: str, token: str) -> None:
        self.name = f"{lane}{token}"
        self._client = client
        self._lane = lane
        self._until = 0

    def take(self) -> None:
        """Hold it from now on; when this returns, all others see it."""
        with store_trouble():
            [[now_ns]] = self._client.query(_NOW).result_rows
            self._until = (now_ns + _LEASE_S * SECOND_NS) // 2 * 2
            row = [self.name, self._until]
            self._client.insert("store_meta", [row], settings=dict(ORDERED_INSERT))

    def find_other(self) -> str | None:
        """Find the first other row that is held."""
        with store_trouble():
            asked = {"lane": self._lane, "own": self.name}
            answer = self._client.query(_OTHER_LANES, asked, settings=dict(ORDERED_READ))
            rows = answer.result_rows
        return rows[0][0] if rows else None

    def give_back(self) -> None:
        """Hold it no longer; a second call does nothing."""
        if self._until:
            with store_trouble():
                row = [self.name, self._until + 1]
                self._client.insert("store_meta", [row], settings=dict(ORDERED_INSERT))
            self._until = 0


async def save_runs(
    turns: Turns, pipeline: Intake, reader: Reader, dataset: tuple[str, str], wanted: WantedRuns
) -> SavedRuns:
    """Make items from recorded runs, in a new version of a data set. Also return its project."""
    items, left_out = await run_sync(read_runs, reader, dataset[0], wanted, time.time_ns())
    change = WantedItems(items=items, reason=wanted.reason)
    version = await save_items(turns, pipeline, reader, dataset, change)
    return SavedRuns(version=version, items=len(items), left_out=left_out)


async def save_items(
    turns: Turns,
    pipeline: Intake,
    reader: Reader,
    dataset: tuple[str, str],
    wanted: WantedItems,
    *,
    base: str | None = None,
) -> DatasetVersion:
    """Make a version of a data set, named with its project, when it is its turn, and store it."""
    make = partial(make_change, reader, *dataset, wanted, base)
    digest = await turns.change(pipeline, reader.access, dataset, make)
    return await run_sync(find_digest, reader, *dataset, digest)
