"""Runs that are opened by hand, without a function."""

import time
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context

from otel_ml import attributes as names
from otel_ml.errors import quiet
from otel_ml.recorder import Recorder
from otel_ml.runs import Run
from otel_ml.spans import attach, detach, is_sampled
from otel_ml.tags import Details, Value


class OpenedRun(Run):
    """A run that lasts until it is told to end, or until nobody holds it.

    It ends with its ``with`` block, by `end`, when it is garbage, or with the process, whichever
    comes first. Within the block it is the current run.
    """

    __slots__ = ("__weakref__", "_attached")

    def __init__(
        self,
        recorder: Recorder | None,
        span: trace.Span,
        start_ns: int,
        constants: Mapping[str, Value],
    ) -> None:
        super().__init__(recorder, span, start_ns, constants)
        self._attached: Token[Context] | None = None

    @quiet("run")
    def tell_open(self, tags: dict[str, Value], details: Details) -> None:
        """Say at once that the run is open, and its tags: it may last."""
        if self._recorder is not None:
            if tags:
                self._add_tags(tags, details)
            self._recorder.open_runs.announce(self)

    def __enter__(self) -> "OpenedRun":
        """Make this the current run and its span the current span."""
        before = context_api.get_current()
        try:
            self._attached = attach(self.context_in(before))
        except BaseException as error:  # a handler of a signal raised; no `__exit__` follows
            attach(before)
            self.end(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        """End the run; an exception of the block becomes its outcome and goes on."""
        token, self._attached = self._attached, None
        if token is not None:
            detach(token)
        self.end(error)

    @quiet("run.end")  # the interpreter may be half gone
    def __del__(self) -> None:
        """End a run that nobody holds any more."""
        self.end()


def open_run(recorder: Recorder, name: str, kind: str, facts: Mapping[str, Value]) -> OpenedRun:
    """Start the span of a run under the current one.

    Args:
        recorder: Records it.
        name: The model's name.
        kind: Of the run.
        facts: Attributes that are known.
    """
    start = recorder.start or recorder.open()
    start_ns = time.time_ns()
    first = {**recorder.identity, names.KIND: kind, names.MODEL_NAME: name}
    span = start(name, context_api.get_current(), start_ns, first, True)
    run = OpenedRun(recorder if is_sampled(span) else None, span, start_ns, first)
    run.describe(facts)
    return run
