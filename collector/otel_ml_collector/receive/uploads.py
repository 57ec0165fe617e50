"""Receives uploads: writes them to disk, checks their hash, stores them, then answers.

A document that is already stored is still checked against its hash. Until it is stored, an upload
is in a temporary file without a name, which disappears with the process.
"""

import asyncio
import hashlib
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO, Final, TypeVar

from otel_ml_collector.background import BackgroundJob
from otel_ml_collector.errors import Rejected, TooLarge, Unavailable
from otel_ml_collector.store.artifacts import CHUNK_BYTES, ArtifactWriter
from otel_ml_collector.telemetry.service import Telemetry

AT_ONCE: Final = 8
_SILENT_S: Final = 30.0

_logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class UploadIntake:
    """Receives uploads on the event loop, at most eight at once, and stores them on its own thread.

    Args:
        writer: Stores documents. Nothing else may use it.
        telemetry: Counts uploads.
        silent_s: How many seconds a sender may pause during an upload.
        check_room: Raises `Unavailable` if the disk is nearly full.
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
        """Return the size of a stored document in bytes; None if it is not stored.

        A document that is found is kept for at least another 12 hours, even if no record refers to
        it.

        Raises:
            Unavailable: The store failed.
        """
        return await self._run(lambda: self._writer.find(project, sha256))

    async def accept(
        self, project: str, sha256: str, body: AsyncIterator[bytes], limit_bytes: int
    ) -> int:
        """Store a document. When this method returns, the document is on disk and can be read.

        Args:
            project: Project of the document.
            sha256: Expected SHA-256 in hex.
            body: Bytes as they arrive.
            limit_bytes: Largest size allowed.

        Returns:
            Size of the document in bytes.

        Raises:
            Rejected: The hash of the body differs from `sha256`.
            TooLarge: The document is larger than `limit_bytes`.
            Unavailable: It is not certain that the document was stored; the sender should send it
                again.
        """
        with self._slot(), _open_spool() as file:
            size, digest = await self._spool(body, file, limit_bytes)
            if digest != sha256:
                raise Rejected(f"Invalid sha256 {sha256}: the body has {digest}")
            file.seek(0)
            await self._run(lambda: self._writer.write(project, sha256, file))
        self._telemetry.count_artifact(size)
        return size

    def list_jobs(self, trusts_clock: Callable[[], bool]) -> Sequence[BackgroundJob]:
        """List the job that deletes uploads, as long as the clock can be trusted."""
        return [
            BackgroundJob(
                lambda: self.sweep() if trusts_clock() else None,
                3_600.0,
                "Artifacts that no record refers to could not be deleted",
                first_s=60.0,  # after the first pass of retention, which checks the clock
            )
        ]

    def sweep(self) -> None:
        """Delete uploads that no record refers to after a day."""
        number = self._thread.submit(self._writer.sweep).result()
        if number:
            _logger.info("%d artifacts that no record refers to were deleted", number)

    def close(self) -> None:
        """Wait until the upload that is being stored is finished."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _spool(
        self, body: AsyncIterator[bytes], file: BinaryIO, limit_bytes: int
    ) -> tuple[int, str]:
        """Write a body to a file. Return its size in bytes and its hash."""
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
        """Yield the parts of a body. Raise `Unavailable` if the sender pauses too long."""
        while True:
            try:
                async with asyncio.timeout(self._silent_s):
                    part = await anext(body)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise Unavailable(f"No data arrived for {self._silent_s:g} s") from error
            yield part

    @contextmanager
    def _slot(self) -> Iterator[None]:
        self._check_room()
        if self._running >= AT_ONCE:
            raise Unavailable(f"{AT_ONCE} uploads are already running: try again later")
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
        raise Unavailable(f"There is no disk space for the upload: {error.strerror}") from error


def _take(part: bytearray, file: BinaryIO, update: Callable[[bytearray], None]) -> None:
    update(part)
    file.write(part)
