"""Serializes changes of data sets, also between several collectors on the same store.

A change starts from the newest version. So nobody else may change the data set between reading that
version and storing the new one. Within a process, a lock ensures this. Between collectors with a
ClickHouse server, a row in `store_meta` is the lock: a collector writes its row, reads the rows of
the others, and continues if no other row is held. If two write at the same moment, at least one
sees the other.
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
# Locks of other collectors, by the clock of the store. An even value is held until that time. An
# odd value was released.
_OTHER_LANES: Final = Sql("""
    SELECT name FROM store_meta WHERE startsWith(name, {lane:String}) AND name != {own:String}
    GROUP BY name
    HAVING max(value) % 2 = 0 AND max(value) > toUnixTimestamp64Nano(now64(9))
    ORDER BY name LIMIT 1""")


class _Turn:
    """The lock on a data set while it is changed. It expires if other collectors may be waiting."""

    def __init__(self, is_lasting: bool = True) -> None:
        self._ends_s = None if is_lasting else time.monotonic() + _IN_TIME_S

    def check(self) -> None:
        """Check that there is enough time left to store a change.

        Raises:
            Unavailable: The time is over.
        """
        if self._ends_s is not None and time.monotonic() > self._ends_s:
            raise Unavailable("The change of the data set took too long: nothing of it is stored")


class Turns:
    """Ensures that only one change of a data set runs at a time.

    Args:
        connections: The store. Only one collector can use an embedded store, so locks in this
            process are enough. With a ClickHouse server, other collectors may use the same store,
            so a row in the store serves as an additional lock.
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
        """Change a data set while no other change of it is running.

        Args:
            pipeline: Stores the change.
            access: Access of the user who makes the change.
            dataset: Project and name.
            make: Called on a thread. Reads the newest version, and returns a result and an OTLP
                request in JSON. The request is empty if there is nothing to store.

        Returns:
            The result of `make`, once its records are durable.

        Raises:
            Unavailable: The store has trouble, or other collectors keep the lock for too long.
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
    """Take the lock when no other collector holds it.

    If several collectors wait, the first one by the name of its row keeps the row.
    """
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
    raise Unavailable("Another collector keeps changing data sets. Try again later")


class _TurnRow:
    """The row that tells other collectors that this process changes data sets."""

    def __init__(self, client: StoreClient, lane: str, token: str) -> None:
        self.name = f"{lane}{token}"
        self._client = client
        self._lane = lane
        self._until = 0

    def take(self) -> None:
        """Write the row. All other collectors see it when this method returns."""
        with store_trouble():
            [[now_ns]] = self._client.query(
                Sql("SELECT toUnixTimestamp64Nano(now64(9)) AS now_ns")
            ).result_rows
            self._until = (now_ns + _LEASE_S * SECOND_NS) // 2 * 2
            row = [self.name, self._until]
            self._client.insert("store_meta", [row], settings=dict(ORDERED_INSERT))

    def find_other(self) -> str | None:
        """Return the name of the first row that another collector holds; None if there is none."""
        with store_trouble():
            asked = {"lane": self._lane, "own": self.name}
            answer = self._client.query(_OTHER_LANES, asked, settings=dict(ORDERED_READ))
            rows = answer.result_rows
        return rows[0][0] if rows else None

    def give_back(self) -> None:
        """Release the row. A second call does nothing."""
        if self._until:
            with store_trouble():
                row = [self.name, self._until + 1]
                self._client.insert("store_meta", [row], settings=dict(ORDERED_INSERT))
            self._until = 0


async def save_runs(
    turns: Turns, pipeline: Intake, reader: Reader, dataset: tuple[str, str], wanted: WantedRuns
) -> SavedRuns:
    """Add recorded runs as items to a new version of a data set, and store it."""
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
    """Store a new version of a data set, given by project and name, and return it."""
    make = partial(make_change, reader, *dataset, wanted, base)
    digest = await turns.change(pipeline, reader.access, dataset, make)
    return await run_sync(find_digest, reader, *dataset, digest)
