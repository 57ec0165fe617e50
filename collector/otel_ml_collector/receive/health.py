"""Health checks of the collector: ``/healthz`` (is it alive) and ``/readyz`` (can it store).

The collector is ready if the last write succeeded and enough disk space is free. Asking writes
nothing: a probe row is written at the start, and again and again after a write failed.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from otel_ml_collector.background import BackgroundJob
from otel_ml_collector.clock import ClockTracker
from otel_ml_collector.errors import Rejected, Unavailable

P = ParamSpec("P")
R = TypeVar("R")

# Seconds between two probes after an error. A probe that takes longer counts as failed.
PROBE_EVERY_S: Final = 5.0
_MEASURE_EVERY_S: Final = 0.5


class Health:
    """Knows whether the collector can store data: by its last write, and by the free disk space.

    Safe to use from several threads.

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
        self._probing_since_s: float | None = None
        self._draining = False
        self._trouble = "Nothing has been written to the store yet"
        self._measured_s = float("-inf")
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
        if now_s - self._measured_s >= _MEASURE_EVERY_S:
            self._measured_s = now_s
            self._shortage = _find_shortage(self._folder, self._min_free_bytes)
        if self._shortage:
            raise Unavailable(self._shortage)

    def check_ready(self) -> None:
        """Raise if nothing can be stored now. Writes nothing.

        Raises:
            Unavailable: Nothing can be stored. The error contains the reason.
        """
        if self._draining:
            raise Unavailable("The collector is shutting down")
        self.check_room()
        since_s = self._probing_since_s
        if since_s is not None and self._now_s() - since_s >= PROBE_EVERY_S:
            raise Unavailable(f"The store has not responded for {PROBE_EVERY_S:g} s")
        if self._trouble:
            raise Unavailable(self._trouble)

    def has_trouble(self) -> bool:
        """Return whether no write has succeeded since the start or since the last error."""
        return bool(self._trouble)

    def list_jobs(self) -> Sequence[BackgroundJob]:
        """List the job that probes the store, only after a failed write."""
        return [
            BackgroundJob(
                self.probe,
                PROBE_EVERY_S,
                "The store could not be checked",
                has_work=self.has_trouble,
            )
        ]

    def probe(self) -> None:
        """Write a probe row if no write has succeeded since the start or since the last error.

        Only one thread may call it. The outcome is kept for `check_ready`.
        """
        if not self._trouble:
            return
        self._probing_since_s = self._now_s()
        # `watch` has noted the error, and it is repeated in each answer of `check_ready`.
        with contextlib.suppress(Exception):
            self._write_probe()
        self._probing_since_s = None

    def drain(self) -> None:
        """Report not ready from now on, because the collector shuts down."""
        self._draining = True

    def _note(self, trouble: str) -> None:
        self._trouble = trouble


def _find_shortage(folder: Path, min_free_bytes: int) -> str:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"The data directory is not accessible: {error.strerror}"
    if free >= min_free_bytes:
        return ""
    free_mb, least_mb = free / 1e6, min_free_bytes / 1e6
    return f"The disk has {free_mb:,.1f} MB free: expected at least {least_mb:,.1f} MB"


async def alive(request: Request) -> Response:
    """Answer ``/healthz``: the process runs."""
    return JSONResponse({"status": "alive", "program": "otel-ml"})


def make_health_routes(
    health: Health, clocks: ClockTracker, warn: Callable[[], str] = lambda: ""
) -> list[Route]:
    """Return the routes ``/healthz`` and ``/readyz``; ``/healthz`` checks nothing.

    Args:
        health: Knows whether data can be stored.
        clocks: Knows whether the clock seems to be wrong.
        warn: Returns a further warning for ``/readyz``, or an empty text.
    """

    async def readyz(request: Request) -> Response:
        health.check_ready()
        trouble = clocks.trouble
        # A single sender with a wrong clock must not make the collector unready for all others.
        if trouble and clocks.is_sure:
            raise Unavailable(trouble)
        warnings = [text for text in (trouble, warn()) if text]
        answer = {"warning": "; ".join(warnings)} if warnings else {}
        return JSONResponse({"status": "ready", **answer})

    return [Route("/healthz", alive), Route("/readyz", readyz)]
