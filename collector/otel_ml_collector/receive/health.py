"""Whether the collector lives and can store: ``/healthz`` and ``/readyz``.

Readiness is what became of the last write, and how much disk is free.
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
_LOOK_EVERY_S: Final = 0.5
# One may wait for the store; the other tells meanwhile what is known. Threads of their own:
# those of the API may all wait for answers.
_THREADS: Final = 2


class Health:
    """Knows the outcome of the last write, probes after a quiet time, and watches the disk.

    Safe to use from several threads.

    Args:
        probe: Writes something small to the store, or raises.
        folder: Where the store is; None for a server, whose disk cannot be seen from here.
        min_free_bytes: How much must be free there, 0 for no bound.
        now_s: Tells the time, in seconds that never go back.
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
        self._looked_s = float("-inf")
        self._shortage = ""

    def watch(self, write: Callable[P, R]) -> Callable[P, R]:
        """Wrap a write of the store so that its outcome is noted; refused data is no failure."""

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
        """Take nothing more while the disk is nearly full; looks at it twice a second at most.

        Raises:
            Unavailable: Less is free than must be.
        """
        if self._folder is None or not self._min_free_bytes:
            return
        now_s = self._now_s()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            self._shortage = _find_shortage(self._folder, self._min_free_bytes)
        if self._shortage:
            raise Unavailable(self._shortage)

    def check_ready(self) -> None:
        """Make sure that something can be stored now.

        After a write that went wrong, or none for `PROBE_EVERY_S`, a probe is written; of several
        callers meanwhile the first writes it, and the others get the last outcome.

        Raises:
            Unavailable: It cannot, with the reason.
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
        """Be ready no more: the collector ends."""
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


def make_health_routes(health: Health, clocks: ClockWatch) -> list[Route]:
    """Make both routes; the first asks nothing and nobody."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "alive", "program": "otel-ml"})

    async def readyz(request: Request) -> Response:
        await run_sync(health.check_ready, limiter=limiter)
        if not (trouble := clocks.trouble):
            return JSONResponse({"status": "ready"})
        if clocks.is_sure:
            raise Unavailable(trouble)
        # One sender that is wrong itself must not keep all others from being sent here.
        return JSONResponse({"status": "ready", "warning": trouble})

    limiter = CapacityLimiter(_THREADS)
    return [Route("/healthz", healthz), Route("/readyz", readyz)]
