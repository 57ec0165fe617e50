"""Health checks of the collector: ``/healthz`` (is it alive) and ``/readyz`` (can it store).

The collector is ready if the last write succeeded and enough disk space is free.
"""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from otel_ml_collector.clock import ClockWatch
from otel_ml_collector.errors import Rejected, Unavailable

P = ParamSpec("P")
R = TypeVar("R")

PROBE_EVERY_S: Final = 5.0
_CHECK_EVERY_S: Final = 0.5
# One thread may be waiting for the store while the other answers with the last known outcome. They
# are not threads of the API, because those may all be busy.
_THREADS: Final = 2


class Health:
    """Tells whether the collector can store data: by its last write, and by the free disk space.

    After a time without writes it writes a probe, something small, to find out. Safe to use from
    several threads.

    Args:
        probe: Writes something small to the store, or raises.
        folder: Folder of the store. None for a database server, whose disk is not visible.
        min_free_bytes: Free bytes required there; 0 means no requirement.
        now_s: Returns a monotonic time in seconds.
    """

    def __init__(
        self,
        probe: Callable[[], None],
        folder: Path | None = None,
        min_free_bytes: int = 0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write_probe = self.watch(probe)
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._now_s = now_s
        self._probing = threading.Lock()
        self._probed_s = 0.0
        self._draining = False
        self._trouble = ""
        self._written_s = float("-inf")
        self._checked_s = float("-inf")
        self._shortage = ""

    def watch(self, write: Callable[P, R]) -> Callable[P, R]:
        """Wrap a function that writes to the store, so that its outcome counts for readiness.

        The wrapped function raises `Unavailable` if the disk is nearly full. Rejected data does not
        count as a failure.
        """

        def watched(*args: P.args, **kwargs: P.kwargs) -> R:
            self.check_room()
            try:
                result = write(*args, **kwargs)
            except Rejected:
                raise
            except Exception as error:
                self._note(str(error) if isinstance(error, Unavailable) else type(error).__name__)
                raise
            self._note("")
            return result

        return watched

    def check_room(self) -> None:
        """Raise if the disk is nearly full. Free space is measured at most twice a second.

        Raises:
            Unavailable: Less space is free than required.
        """
        if self._folder is None or not self._min_free_bytes:
            return
        now_s = self._now_s()
        if now_s - self._checked_s >= _CHECK_EVERY_S:
            self._checked_s = now_s
            self._shortage = _find_shortage(self._folder, self._min_free_bytes)
        if self._shortage:
            raise Unavailable(self._shortage)

    def check_ready(self) -> None:
        """Raise if nothing can be stored now.

        After a failed write, or after `PROBE_EVERY_S` without a write, a probe is written. If
        several callers ask at the same time, only the first writes a probe and the others get the
        last outcome.

        Raises:
            Unavailable: Nothing can be stored. The error says why.
        """
        if self._draining:
            raise Unavailable("The collector is shutting down")
        self.check_room()
        if self._now_s() - self._written_s >= PROBE_EVERY_S:
            if self._probing.acquire(blocking=False):
                self._probed_s = self._now_s()
                try:
                    self._write_probe()
                except Exception as error:
                    raise Unavailable(self._trouble or type(error).__name__) from error
                finally:
                    self._probing.release()
            elif self._now_s() - self._probed_s >= PROBE_EVERY_S:
                raise Unavailable(f"The store has not answered for {PROBE_EVERY_S:g} s")
        if self._trouble:
            raise Unavailable(self._trouble)

    def drain(self) -> None:
        """Report not ready from now on, because the collector shuts down."""
        self._draining = True

    def _note(self, trouble: str) -> None:
        self._written_s = self._now_s()
        self._trouble = trouble


def _find_shortage(folder: Path, min_free_bytes: int) -> str:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"The data directory cannot be seen: {error.strerror}"
    if free >= min_free_bytes:
        return ""
    return f"The disk has {free} bytes free: expected at least {min_free_bytes}"


def make_health_routes(
    health: Health, clocks: ClockWatch, warn: Callable[[], str] = lambda: ""
) -> list[Route]:
    """Return the routes ``/healthz`` and ``/readyz``; ``/healthz`` checks nothing.

    Args:
        health: Knows whether data can be stored.
        clocks: Knows whether the clock seems to be wrong.
        warn: Returns a further warning for ``/readyz``, or an empty text.
    """

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "alive", "program": "otel-ml"})

    async def readyz(request: Request) -> Response:
        await run_sync(health.check_ready, limiter=limiter)
        trouble = clocks.trouble
        # A single sender with a wrong clock must not make the collector unready for all others.
        if trouble and clocks.is_sure:
            raise Unavailable(trouble)
        warnings = [text for text in (trouble, warn()) if text]
        answer = {"warning": "; ".join(warnings)} if warnings else {}
        return JSONResponse({"status": "ready", **answer})

    limiter = CapacityLimiter(_THREADS)
    return [Route("/healthz", healthz), Route("/readyz", readyz)]
