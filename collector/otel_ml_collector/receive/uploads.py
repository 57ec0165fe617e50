"""The way of an upload: onto disk, held against its hash, into the store, then the answer.

A document that the store knows is checked against its hash, so that whoever writes it once more
writes the same. Until then it stands in a file without a name, which is gone with the process.
"""

import asyncio
import hashlib
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO, Final, TypeVar

from otel_ml_collector.errors import Rejected, TooLarge, Unavailable
from otel_ml_collector.store.artifacts import CHUNK_BYTES, ArtifactWriter
from otel_ml_collector.telemetry.service import Telemetry

AT_ONCE: Final = 8
_SILENT_S: Final = 30.0

_logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class UploadIntake:
    """Takes uploads on the event loop, eight at once; stores them on a thread of its own.

    Args:
        writer: Stores documents; nobody else uses it.
        telemetry: Counts them.
        silent_s: How long a sender may say nothing in the middle of its upload.
        check_room: Raises `Unavailable` while the disk is nearly full.
    """

    def __init__(
        self,
        writer: ArtifactWriter,
        telemetry: Telemetry,
        silent_s: float = _SILENT_S,
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._writer = writer
        self._telemetry = telemetry
        self._silent_s = silent_s
        self._check_room = check_room
        self._running = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="otel-ml-artifacts")

    async def find(self, project: str, sha256: str) -> int | None:
        """Find the size of a document that is there, and let it stay half a day at least.

        Raises:
            Unavailable: The store has trouble.
        """
        return await self._run(lambda: self._writer.find(project, sha256))

    async def accept(
        self, project: str, sha256: str, body: AsyncIterator[bytes], limit_bytes: int
    ) -> int:
        """Store a document; when this returns, it is on disk and can be read.

        Args:
            project: Whose it is.
            sha256: Its expected hash, in hex.
            body: Its bytes, as they come.
            limit_bytes: How many it may have.

        Returns:
            How many it has.

        Raises:
            Rejected: Its hash is another.
            TooLarge: It has more bytes.
            Unavailable: It is not known to be stored; the sender should send it again.
        """
        with self._slot(), _open_spool() as file:
            size, digest = await self._spool(body, file, limit_bytes)
            if digest != sha256:
                raise Rejected(f"Invalid sha256 {sha256}: the body's is {digest}")
            file.seek(0)
            await self._run(lambda: self._writer.write(project, sha256, file))
        self._telemetry.count_artifact(size)
        return size

    def sweep(self) -> None:
        """Delete uploads that no record names a day later."""
        number = self._thread.submit(self._writer.sweep).result()
        if number:
            _logger.info("%d artifacts that no record names were deleted", number)

    def close(self) -> None:
        """Let the upload that is being stored come to its end."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _spool(
        self, body: AsyncIterator[bytes], file: BinaryIO, limit_bytes: int
    ) -> tuple[int, str]:
        """Write a body to a file; return its size and hash."""
        size = 0
        digest = hashlib.sha256()
        waiting = bytearray()
        async for part in self._parts(body):
            size += len(part)
            if size > limit_bytes:
                raise TooLarge(f"The artifact has more than {limit_bytes} bytes")
            waiting += part
            if len(waiting) >= CHUNK_BYTES:
                await asyncio.to_thread(_take, waiting, file, digest.update)
                waiting = bytearray()
        await asyncio.to_thread(_take, waiting, file, digest.update)
        return size, digest.hexdigest()

    async def _parts(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass the parts of a body on, as long as its sender goes on sending."""
        while True:
            try:
                async with asyncio.timeout(self._silent_s):
                    part = await anext(body)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise Unavailable(f"Nothing came for {self._silent_s:g} s") from error
            yield part

    @contextmanager
    def _slot(self) -> Iterator[None]:
        self._check_room()
        if self._running >= AT_ONCE:
            raise Unavailable(f"There are {AT_ONCE} uploads already")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


@contextmanager
def _open_spool() -> Iterator[BinaryIO]:
    try:
        with tempfile.TemporaryFile() as file:
            yield file
    except OSError as error:
        raise Unavailable(f"There is no room for the upload: {error.strerror}") from error


def _take(part: bytearray, file: BinaryIO, update: Callable[[bytearray], None]) -> None:
    update(part)
    file.write(part)
