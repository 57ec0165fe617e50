"""Raymon's import path: ``from otel_ml.compat.raymon import Trace, RaymonAPILogger, Tag``.

Logger and trace are here: a thin face of `otel_ml.Client`, and a run that stays open.
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
    """Takes the logged values of traces, each call with the id of its trace."""

    def info(self, trace_id: str, text: str) -> None:
        """Take a line of text."""

    def tag(self, trace_id: str, tags: Iterable[AnyTag]) -> None:
        """Take tags."""

    def log(self, trace_id: str, ref: str, data: object) -> None:
        """Take data under a reference."""

    def flush(self) -> None:
        """Deliver the queue."""


class RaymonAPILogger:
    """Sends logged values from a thread of its own; a missing server is no error.

    Args:
        project_id: Where the traces gather.
        url: Base address of the collector; as in `otel_ml.Client` when not given.
        auth_path: Taken and not read; the key is ``OTEL_ML_API_KEY``.
        env: Taken and not read, too.
        batch_size: Taken and not needed: records leave in batches by themselves.

    Attributes:
        client: The client that sends.
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
        """Add a line of text to a trace, wherever it is; see `otel_ml.Client.about`."""
        self.client.about(trace_key=str(trace_id)).info(text)

    def log(self, trace_id: str | UUID, ref: str, data: object) -> None:
        """Log data under a reference of a trace, wherever it is."""
        self.client.about(trace_key=str(trace_id)).log(ref, data)

    def tag(self, trace_id: str | UUID, tags: Iterable[AnyTag]) -> None:
        """Tag a trace, wherever it is.

        Raises:
            ValueError: One of them is no tag.
        """
        self.client.about(trace_key=str(trace_id)).tag(read_tags(tags))

    def flush(self) -> None:
        """Deliver the queue. Runs at exit by itself; undelivered records are kept."""
        self.client.flush()


class TraceException(LookupError):
    """There is no current trace."""


class Trace:
    """A trace with an id of the user's.

    It can be read at once and ends with its ``with`` block, by `end`, when nobody holds it any
    more, or with the process. The current trace of a task or thread is held by it.

    Args:
        logger: Sends logged values: a `RaymonAPILogger`, or any object with its methods `info`,
            `tag`, `log` and `flush`. Another object is called as it is, nothing else is recorded.
        trace_id: Any text or UUID; a random UUID when not given. Traces of several processes
            may share it.
        set_global: Make it the current trace of this task or thread.

    Attributes:
        run: The run that it is, as `otel_ml.Client.run` returns it; with a logger of your own
            it records nothing.

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
        # Weak: a chain of all traces before would keep each of them open.
        self._outer = None if outer is None else weakref.ref(outer)
        if set_global:
            set_current_trace(self)

    def info(self, text: str) -> None:
        """Add a line of text."""
        if self._other is None:
            self.run.info(text)
        else:
            self._other.info(trace_id=self.trace_id, text=text)

    def tag(self, tags: Iterable[AnyTag]) -> None:
        """Set tags.

        Args:
            tags: `Tag` objects and dicts with name, value, type and group, in any order.

        Raises:
            ValueError: One of them is no tag.
        """
        if self._other is None:
            self.run.tag(read_tags(tags))
        else:
            self._other.tag(trace_id=self.trace_id, tags=tags)

    def log(self, ref: str, data: object) -> None:
        """Log data under a reference, by which it can be fetched.

        Args:
            ref: Its name within the trace.
            data: A wrapper of `otel_ml.compat.raymon.types`, or the value itself.
        """
        if self._other is None:
            self.run.log(ref, data)
        else:
            self._other.log(trace_id=self.trace_id, ref=ref, data=data)

    def end(self, error: BaseException | None = None) -> None:
        """End the trace, failed when an error is given. A second call does nothing.

        A logger of your own is flushed.
        """
        self.run.end(error)
        if self._other is not None:
            self._other.flush()
        if _current.get() is self:
            _current.set(None if self._outer is None else self._outer())

    def __str__(self) -> str:
        return self.trace_id

    def __enter__(self) -> "Trace":
        """Make its run the current run, too: runs within the block are children of it."""
        if self._other is None:
            self.run.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        """End the trace; an exception of the block becomes its outcome and goes on."""
        if self._other is None:
            self.run.__exit__(kind, error, stack)
        self.end(error)


def current_trace() -> Trace:
    """Return the current trace of the calling task or thread.

    Raises:
        TraceException: There is none.
    """
    trace = _current.get()
    if trace is None:
        raise TraceException("No current trace: expected one that was made in this task or thread")
    return trace


def set_current_trace(trace: Trace) -> None:
    """Make a trace the current trace of this task or thread.

    Raises:
        TypeError: It is no trace.
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"Invalid trace of type {type(trace).__name__}: expected a Trace")
    _current.set(trace)


def clear_trace() -> None:
    """Let this task or thread have no current trace."""
    _current.set(None)
