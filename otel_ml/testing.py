"""Runs in memory, for tests of your own: what a client records within a block, as plain values."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_ml import attributes as names
from otel_ml.arguments import check_text, invalid
from otel_ml.client import Client
from otel_ml.judges.pool import JudgePool
from otel_ml.outlet import Route
from otel_ml.recorded import RecordedEvaluation, RecordedRun, read_evaluations, read_runs
from otel_ml.recorder import OpenRuns, Recorder
from otel_ml.spans import RunSpan, start_of_own

__all__ = ["RecordedEvaluation", "RecordedRun", "Records", "record"]

_JUDGES_S: Final = 60.0


class Records:
    """What was recorded in a block, until now. Reading waits for the judges of finished calls."""

    def __init__(self, recorder: Recorder, spans: list[RunSpan]) -> None:
        self._recorder = recorder
        self._spans = spans

    @property
    def runs(self) -> list[RecordedRun]:
        """All runs that have ended, in the order in which they began."""
        return read_runs(self._settled())

    @property
    def run(self) -> RecordedRun:
        """The only run.

        Raises:
            AssertionError: There is none, or there are several.
        """
        runs = self.runs
        if len(runs) == 1:
            return runs[0]
        there = ", ".join(f"{run.name} ({run.outcome})" for run in runs)
        raise AssertionError(
            f"Expected one run, there are {len(runs)}: {there or 'none has ended'}"
        )

    def named(self, name: str) -> list[RecordedRun]:
        """Return the runs of a model; the last part of its name is enough.

        Raises:
            ValueError: The name is no text.
        """
        check_text("name", name)
        return [run for run in self.runs if run.name == name or run.name.endswith(f".{name}")]

    @property
    def evaluations(self) -> list[RecordedEvaluation]:
        """What judges and people said, run by run."""
        return read_evaluations(self._settled())

    def _settled(self) -> list[RunSpan]:
        if not self._recorder.judges.drain(_JUDGES_S):
            raise TimeoutError(f"Judges have not spoken within {_JUDGES_S:g} s")
        return list(self._spans)


@contextmanager
def record(client: Client | None = None) -> Iterator[Records]:
    """Keep the runs that begin in this block, on any thread, and send none of them anywhere.

    Within the block the client chooses no provider, starts no thread but for judges, and leaves
    out no run by sampling or ``OTEL_SDK_DISABLED``. Runs that began before go where they went.

    Args:
        client: Whose runs; the client of ``otel_ml.trace`` when not given.

    Raises:
        ValueError: It is no client.
        RuntimeError: The client is being recorded already.
    """
    if client is None:
        from otel_ml.default import _CLIENT  # who names a client makes no other one

        client = _CLIENT
    if not issubclass(type(client), Client):
        raise invalid("client", client, "a Client, or None")
    own = client._recorder
    spans: list[RunSpan] = []
    kept = _InMemory(own, spans)
    with own.lock:
        if own.diverted is not None:
            raise RuntimeError(
                f"Already recording project {own.project!r}: expected one block at a time"
            )
        own.diverted = kept
    try:
        yield Records(kept, spans)
    finally:
        own.diverted = None
        kept.judges.close(_JUDGES_S)


class _InMemory(Recorder):
    """Records in another one's place, with numbers and told versions of its own.

    Nothing of it may count for the other one: a version that is told here is told nowhere.
    """

    def __init__(self, own: Recorder, spans: list[RunSpan]) -> None:
        super().__init__(Route(own.project), own.redaction)
        self.enabled = True
        # No detectors, no environment: both may look outside this process.
        resource = Resource({names.PROJECT: own.project})
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        scope = InstrumentationScope(names.SCOPE_NAME)
        self.start = start_of_own(provider, scope, spans.append)
        self.open_runs = _Unwatched(self._beat)
        self._judges = JudgePool(hold_s=_JUDGES_S)

    @property
    def page(self) -> str:
        """Nowhere."""
        return ""

    def _begin(self) -> None:
        super()._begin()
        self._numbers = itertools.count(1)


class _Unwatched(OpenRuns):
    """Open runs that nobody announces, so that no thread has to."""

    def _wake(self) -> None:
        """Let the thread be."""
