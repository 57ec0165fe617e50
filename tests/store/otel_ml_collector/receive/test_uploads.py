"""Receiving uploads: refused, delayed and later deleted ones."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator

import pytest

from otel_ml_collector.errors import Rejected, TooLarge, Unavailable
from otel_ml_collector.receive.uploads import AT_ONCE, UploadIntake
from otel_ml_collector.store.artifacts import KEPT_NS, ArtifactWriter
from otel_ml_collector.telemetry.service import Telemetry
from tests.support.otel_ml_collector.spans import NOW_NS
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.otel_ml_collector.telemetry.page import read
from tests.support.waiting import async_wait_until

DOCUMENT = b'{"type":"x"}'
SHA256 = hashlib.sha256(DOCUMENT).hexdigest()
LIMIT = 1_000


class Clock:
    """A clock that only changes when it is set."""

    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(tmp_path_factory.mktemp("data")) as opened:
        yield opened


class Case:
    """Uploads to a store, with a separate clock and counters."""

    def __init__(self, store: Store) -> None:
        self.clock = Clock()
        self.telemetry = Telemetry()
        self.uploads = UploadIntake(
            ArtifactWriter(store.connections, self.clock), self.telemetry, 0.2
        )


@pytest.fixture
def case(store: Store) -> Iterator[Case]:
    made = Case(store)
    yield made
    made.uploads.close()


async def parts_of(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def test_accepted(case: Case, project: str) -> None:
    """A document that arrives in parts is stored, and its bytes are counted."""

    async def story() -> tuple[int | None, int, int | None]:
        before = await case.uploads.find(project, SHA256)
        parts = parts_of(DOCUMENT[:3], b"", DOCUMENT[3:])
        size = await case.uploads.accept(project, SHA256, parts, LIMIT)
        return before, size, await case.uploads.find(project, SHA256)

    assert asyncio.run(story()) == (None, len(DOCUMENT), len(DOCUMENT))
    assert read(case.telemetry)["otel_ml_artifact_bytes_total", ()] == len(DOCUMENT)


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([DOCUMENT[:-1]], Rejected),
        ([], Rejected),
        ([b"x" * LIMIT, b"x"], TooLarge),
    ],
    ids=["cut", "empty", "large"],
)
def test_refused(case: Case, project: str, parts: list[bytes], error: type[Exception]) -> None:
    """A body that does not match its hash, or is too large, is refused and not stored."""

    async def story() -> int | None:
        with pytest.raises(error):
            await case.uploads.accept(project, SHA256, parts_of(*parts), LIMIT)
        return await case.uploads.find(project, SHA256)

    assert asyncio.run(story()) is None


def test_silent_sender(case: Case, project: str) -> None:
    """A sender that stalls during its upload is asked to try again."""

    async def silent() -> AsyncIterator[bytes]:
        yield DOCUMENT[:3]
        await asyncio.Event().wait()

    with pytest.raises(Unavailable, match=r"^No data arrived for 0\.2 s$"):
        asyncio.run(case.uploads.accept(project, SHA256, silent(), LIMIT))


def test_too_many(case: Case, project: str) -> None:
    """An upload beyond the concurrency limit is asked to try again, and is accepted later."""

    async def story() -> None:
        go_on, begun = asyncio.Event(), 0

        async def slow() -> AsyncIterator[bytes]:
            nonlocal begun
            begun += 1
            yield DOCUMENT[:3]
            await go_on.wait()
            yield DOCUMENT[3:]

        accept = case.uploads.accept
        running = [
            asyncio.ensure_future(accept(project, SHA256, slow(), LIMIT)) for _ in range(AT_ONCE)
        ]
        await async_wait_until(lambda: begun == AT_ONCE)
        with pytest.raises(Unavailable, match=r"^8 uploads are already running: try again later$"):
            await accept(project, SHA256, parts_of(DOCUMENT), LIMIT)
        go_on.set()
        assert await asyncio.gather(*running) == [len(DOCUMENT)] * AT_ONCE
        assert await accept(project, SHA256, parts_of(DOCUMENT), LIMIT) == len(DOCUMENT)

    asyncio.run(story())


def test_swept(case: Case, project: str) -> None:
    """An upload that no record refers to is deleted by the first sweep after its retention."""

    async def story() -> None:
        await case.uploads.accept(project, SHA256, parts_of(DOCUMENT), LIMIT)
        case.uploads.sweep()
        assert await case.uploads.find(project, SHA256) is not None
        case.clock.now_ns += 3 * KEPT_NS
        case.uploads.sweep()
        assert await case.uploads.find(project, SHA256) is None

    asyncio.run(story())
