"""Raymon's trace: a run that is open until nobody holds it, and the current one."""

import weakref
from collections.abc import Iterable
from contextvars import ContextVar
from types import TracebackType
from typing import Final
from uuid import UUID, uuid4

from otel_ml.compat.raymon.logger import RaymonAPILogger
from otel_ml.compat.raymon.tag import AnyTag, read_tags

_current: Final[ContextVar["Trace | None"]] = ContextVar("otel_ml-raymon-trace", default=None)


class TraceException(LookupError):
    """There is no current trace."""


class Trace:
    """A trace with an id of the user's.

    It can be read at once and ends with its ``with`` block, by `end`, when nobody holds it any
    more, or with the process. The current trace of a task or thread is held by it.

    Args:
        logger: Sends what is logged.
        trace_id: Any text or UUID; a random UUID when not given. Traces of several processes
            may share one.
        set_global: Make it the current trace of this task or thread.

    Attributes:
        run: The run that it is, as `otel_ml.Client.run` returns one.
    """

    def __init__(
        self,
        logger: RaymonAPILogger,
        trace_id: str | UUID | None = None,
        set_global: bool = True,
    ) -> None:
        self.trace_id = str(uuid4() if trace_id is None else trace_id)
        self.logger = logger
        self.set_global = set_global
        self.run = logger.client.run("trace", kind="chain", trace_key=self.trace_id)
        outer = _current.get()
        # Weak: a chain of all traces before would keep each of them open.
        self._outer = None if outer is None else weakref.ref(outer)
        if set_global:
            set_current_trace(self)

    def info(self, text: str) -> None:
        """Add a line of text."""
        self.run.info(text)

    def tag(self, tags: Iterable[AnyTag]) -> None:
        """Set tags.

        Args:
            tags: `Tag` objects and dicts with name, value, type and group, in any order.

        Raises:
            ValueError: One of them is no tag.
        """
        self.run.tag(read_tags(tags))

    def log(self, ref: str, data: object) -> None:
        """Log data under a reference, by which it can be fetched.

        Args:
            ref: Its name within the trace.
            data: A wrapper of `otel_ml.compat.raymon.types`, or the value itself.
        """
        self.run.log(ref, data)

    def end(self, error: BaseException | None = None) -> None:
        """End the trace, failed when an error is given. A second call does nothing."""
        self.run.end(error)
        if _current.get() is self:
            _current.set(None if self._outer is None else self._outer())

    def __str__(self) -> str:
        return self.trace_id

    def __enter__(self) -> "Trace":
        """Make its run the current one, too: runs within the block are children of it."""
        self.run.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        """End the trace; an exception of the block becomes its outcome and goes on."""
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
    """Make a trace the current one of this task or thread.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"Invalid trace of type {type(trace).__name__}: expected a Trace")
    _current.set(trace)


def clear_trace() -> None:
    """Let this task or thread have no current trace."""
    _current.set(None)
