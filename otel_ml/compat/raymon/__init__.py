"""Drop-in replacement for raymon.

Use ``from otel_ml.compat.raymon import Trace, RaymonAPILogger, Tag``. The logger is a thin wrapper
around `otel_ml.Client`. A trace is a run that stays open.
"""

import weakref
from collections.abc import Iterable
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Protocol
from uuid import UUID, uuid4

from opentelemetry.trace import INVALID_SPAN

from otel_ml.arguments import check_callable
from otel_ml.client import Client
from otel_ml.compat.raymon.api import RaymonAPI
from otel_ml.compat.raymon.extractors import Extractor
from otel_ml.compat.raymon.profiling import (
    ActualComponent,
    CategoricStats,
    Component,
    DataType,
    EvalComponent,
    FloatStats,
    InputComponent,
    IntStats,
    ModelProfile,
    OutputComponent,
    Stats,
)
from otel_ml.compat.raymon.tag import AnyTag, Tag, read_tags
from otel_ml.profiles import DataException, ProfileStateException
from otel_ml.runs import OpenedRun

__all__ = [
    "ActualComponent",
    "CategoricStats",
    "Component",
    "DataException",
    "DataType",
    "EvalComponent",
    "Extractor",
    "FloatStats",
    "InputComponent",
    "IntStats",
    "ModelProfile",
    "OutputComponent",
    "ProfileStateException",
    "RaymonAPI",
    "RaymonAPILogger",
    "Stats",
    "Tag",
    "Trace",
    "TraceException",
    "clear_trace",
    "current_trace",
    "set_current_trace",
]

_current: Final[ContextVar["Trace | None"]] = ContextVar("otel_ml-raymon-trace", default=None)


class TraceLogger(Protocol):
    """Interface of a logger that you can pass to `Trace`. Each method gets the id of the trace."""

    def info(self, trace_id: str, text: str) -> None:
        """Log a line of text for a trace."""

    def tag(self, trace_id: str, tags: Iterable[AnyTag]) -> None:
        """Add tags to a trace."""

    def log(self, trace_id: str, ref: str, data: object) -> None:
        """Log data of a trace under a name, the reference."""

    def flush(self) -> None:
        """Send the queued records."""


class RaymonAPILogger:
    """Sends what you log (text, tags and data) to the collector, on a background thread.

    Logging does not fail if no collector answers.

    Args:
        project_id: Project of the traces.
        url: Base address of the collector. Default: that of `otel_ml.Client`.
        auth_path: Accepted for compatibility and ignored. The key is ``OTEL_ML_API_KEY``.
        env: Accepted for compatibility and ignored.
        batch_size: Accepted for compatibility and ignored. Records are always sent in batches.

    Attributes:
        client: The `otel_ml.Client` that sends the records.
    """

    def __init__(
        self,
        project_id: str,
        url: str | None = None,
        auth_path: object = None,
        env: object = None,
        batch_size: int = 1,
    ) -> None:
        self.project_id = project_id
        self.client = Client(str(project_id), endpoint=url)

    def info(self, trace_id: str | UUID, text: str) -> None:
        """Add a line of text to the trace with this id, even if another process records it."""
        self.client.about(trace_key=str(trace_id)).info(text)

    def log(self, trace_id: str | UUID, ref: str, data: object) -> None:
        """Log data under a name to the trace with this id, even if another process records it."""
        self.client.about(trace_key=str(trace_id)).log(ref, data)

    def tag(self, trace_id: str | UUID, tags: Iterable[AnyTag]) -> None:
        """Add tags to the trace with this id, even if another process records it.

        Raises:
            ValueError: An element is not a tag.
        """
        self.client.about(trace_key=str(trace_id)).tag(read_tags(tags))

    def flush(self) -> None:
        """Send the queued records now.

        This happens automatically at exit. Records that cannot be sent are kept in the queue.
        """
        self.client.flush()


class TraceException(LookupError):
    """Raised if you ask for the current trace and there is none."""


class Trace:
    """A trace of one call or request, to which you log text, tags and data.

    It is visible in the collector as soon as you create it. It ends when its ``with`` block ends,
    when you call `end`, when the object is garbage-collected, or when the process ends. The current
    trace is never garbage-collected.

    Args:
        logger: A `RaymonAPILogger`, or your own object with the methods `info`, `tag`, `log` and
            `flush`. With your own object, these methods are called and nothing is sent to the
            collector.
        trace_id: Any text or UUID. Default: a random UUID. Traces of several processes can share
            one ID.
        set_global: Whether to make this the current trace of this task or thread, which
            `current_trace` returns.

    Attributes:
        run: The run of the trace, as `otel_ml.Client.run` returns it. It records nothing if you
            pass your own logger.

    Raises:
        ValueError: The logger lacks one of these methods.
    """

    def __init__(
        self,
        logger: RaymonAPILogger | TraceLogger,
        trace_id: str | UUID | None = None,
        set_global: bool = True,
    ) -> None:
        self.trace_id = str(uuid4() if trace_id is None else trace_id)
        self.logger = logger
        self.set_global = set_global
        self._other: TraceLogger | None = None
        if isinstance(logger, RaymonAPILogger):
            self.run = logger.client.run("trace", kind="chain", trace_key=self.trace_id)
        else:
            for name in ("info", "tag", "log", "flush"):
                check_callable(f"logger.{name}", getattr(logger, name, None), "a method")
            self._other, self.run = logger, OpenedRun(None, INVALID_SPAN, 0, {})
        outer = _current.get()
        # A weak reference: a chain of all earlier traces would keep them open.
        self._outer = None if outer is None else weakref.ref(outer)
        if set_global:
            set_current_trace(self)

    def info(self, text: str) -> None:
        """Add a line of text to the trace."""
        if self._other is None:
            self.run.info(text)
        else:
            self._other.info(trace_id=self.trace_id, text=text)

    def tag(self, tags: Iterable[AnyTag]) -> None:
        """Add tags to the trace.

        Args:
            tags: `Tag` objects, and dicts with name, value, type and group, in any mix.

        Raises:
            ValueError: An element is not a tag.
        """
        if self._other is None:
            self.run.tag(read_tags(tags))
        else:
            self._other.tag(trace_id=self.trace_id, tags=tags)

    def log(self, ref: str, data: object) -> None:
        """Log data under a name, so that you can fetch it later.

        Args:
            ref: Name of the data within the trace.
            data: The value, or a wrapper from `otel_ml.compat.raymon.types`.
        """
        if self._other is None:
            self.run.log(ref, data)
        else:
            self._other.log(trace_id=self.trace_id, ref=ref, data=data)

    def end(self, error: BaseException | None = None) -> None:
        """End the trace. If you pass an error, the trace counts as failed.

        Your own logger is flushed. A second call does nothing.
        """
        self.run.end(error)
        if self._other is not None:
            self._other.flush()
        if _current.get() is self:
            _current.set(None if self._outer is None else self._outer())

    def __str__(self) -> str:
        return self.trace_id

    def __enter__(self) -> "Trace":
        """Make the trace's run the current run: runs inside the block become its children."""
        if self._other is None:
            self.run.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        """End the trace. An exception of the block becomes its outcome and is raised again."""
        if self._other is None:
            self.run.__exit__(kind, error, stack)
        self.end(error)


def current_trace() -> Trace:
    """Return the current trace of the calling task or thread.

    Raises:
        TraceException: There is no current trace.
    """
    trace = _current.get()
    if trace is None:
        raise TraceException("No current trace: create a Trace in this task or thread first")
    return trace


def set_current_trace(trace: Trace) -> None:
    """Make a trace the current trace of this task or thread.

    Raises:
        TypeError: The argument is not a trace.
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"Invalid trace of type {type(trace).__name__}: expected a Trace")
    _current.set(trace)


def clear_trace() -> None:
    """Remove the current trace of this task or thread."""
    _current.set(None)
