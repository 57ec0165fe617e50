"""The client: one project, one destination, the decorators and runs that go there."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from opentelemetry import trace as trace_api

from otel_ml import attributes as names
from otel_ml.call import Traced, open_run
from otel_ml.current import Run, current_run
from otel_ml.decorators import wrap
from otel_ml.errors import report
from otel_ml.recorder import Recorder
from otel_ml.values import encode

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from otel_ml.export.delivery import Delivery
    from otel_ml.judge import Judge
    from otel_ml.provider import Chosen, Join
    from otel_ml.stats import Stats

P = ParamSpec("P")
R = TypeVar("R")

_MAX_PROJECT_CHARS = 128


class Client:
    """Records model calls of one project.

    Making a client opens no connection and starts no thread; that happens at the first call.

    Args:
        project: Where the runs gather; ``OTEL_ML_PROJECT`` or ``default`` when not given.
        api_key: Sent as a bearer token; ``OTEL_ML_API_KEY`` when not given. A collector on
            loopback needs none.
        endpoint: Base address of the collector. When not given: ``OTEL_ML_ENDPOINT``, then the
            standard ``OTEL_EXPORTER_OTLP_*`` variables, then ``http://localhost:4318``.
        exporter: Any OpenTelemetry span exporter, instead of the one for `endpoint`.
        tracer_provider: The provider to make spans with, instead of choosing one.
        join: ``"auto"`` makes spans with a global provider that is exactly the SDK's, so that
            they sit in one trace with the service's own; False never does.
        spool: A directory of this service: each call is written there before it returns and
            removed when it is delivered, so that neither ``kill -9`` nor hours without a
            collector lose it. One directory is for one destination.
        flush_on_sigterm: Deliver what is queued when the process is told to end by SIGTERM, for
            at most 2 s. Only where nobody else handles the signal, and from the main thread.

    Raises:
        ValueError: The project's name is longer than 128 characters or holds control
            characters, or there is both an exporter and a spool.
    """

    def __init__(
        self,
        project: str | None = None,
        api_key: str | None = None,
        endpoint: str | None = None,
        *,
        exporter: "SpanExporter | None" = None,
        tracer_provider: trace_api.TracerProvider | None = None,
        join: "Join" = "auto",
        spool: str | os.PathLike[str] | None = None,
        flush_on_sigterm: bool = False,
    ) -> None:
        chosen = project or os.environ.get("OTEL_ML_PROJECT") or names.DEFAULT_PROJECT
        if len(chosen) > _MAX_PROJECT_CHARS or not chosen.isprintable():
            raise ValueError(
                f"Invalid project {chosen!r}: expected 1 to {_MAX_PROJECT_CHARS} printable "
                "characters"
            )
        if spool is not None and exporter is not None:
            raise ValueError("Invalid spool: expected no exporter beside it, the spool sends OTLP")
        self.project = chosen
        self._judges: dict[str, Judge] = {}
        key = api_key or os.environ.get("OTEL_ML_API_KEY")

        def choose() -> "Chosen":
            from otel_ml.provider import Destination  # loaded at the first call
            from otel_ml.provider import choose as choose_provider

            return choose_provider(
                Destination(
                    project=chosen,
                    api_key=key,
                    endpoint=endpoint,
                    exporter=exporter,
                    tracer_provider=tracer_provider,
                    join=join,
                    spool=None if spool is None else os.fspath(spool),
                )
            )

        self._recorder = Recorder(chosen, choose)
        if flush_on_sigterm:
            from otel_ml.sigterm import close_on_sigterm  # only who asks for it loads it

            close_on_sigterm(self._recorder.close_within)

    @overload
    def trace(self, function: Callable[P, R], /) -> Callable[P, R]: ...

    @overload
    def trace(
        self,
        *,
        name: str | None = None,
        kind: str = "model",
        tags: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...

    def trace(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        kind: str = "model",
        tags: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
    ) -> Callable[..., Any]:
        """Record every call of a function as a run.

        Args:
            function: The function, when used as a bare decorator. Sync, async or generator.
            name: The model's name; the function's qualified name when not given.
            kind: One of model, chain, tool, retriever, embedding, agent, training.
            tags: Set on every run.
            params: Declared parameters, part of the model version.

        Returns:
            The function, which returns or raises exactly as before.
        """
        decorate: Callable[..., Any]
        decorate = self._decorator((), name=name, kind=kind, tags=tags, params=params)
        return decorate if function is None else decorate(function)

    def assess(
        self,
        *judges: "str | Judge",
        name: str | None = None,
        kind: str = "model",
        tags: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Record every call of a function as a run and let judges score it.

        Judges run on threads of their own after the call has returned.

        Args:
            judges: Tags that `add_judge` returned, or judges.
            name: As in `trace`, and so for the others.
            kind: See `trace`.
            tags: See `trace`.
            params: See `trace`.

        Raises:
            ValueError: A tag belongs to no judge of this client.
        """
        found = tuple(self._judge(judge) for judge in judges)
        return self._decorator(found, name=name, kind=kind, tags=tags, params=params)

    def add_judge(self, judge: "Judge") -> str:
        """Make a judge known to this client.

        Returns:
            Its tag, ``name@version``, for `assess`. The small number (``name:v1``) is given by
            the store, so no server is asked here.
        """
        self._judges[judge.tag] = judge
        return judge.tag

    def run(
        self,
        name: str,
        *,
        kind: str = "training",
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> Run:
        """Open a run without a function; use it in a ``with`` block, or call its `end`.

        Args:
            name: The model's name.
            kind: As in `trace`.
            params: Hyper-parameters of the run.
            tags: Set on the run.
        """
        _check_kind(kind)
        run = None
        try:
            if self._recorder.enabled:
                run = open_run(self._recorder, name, kind)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            report("run", error)
        if run is None:
            return Run(None, trace_api.get_current_span(), 0, {})
        run.tag(tags)
        if params:
            run.describe({names.PARAMS: encode(params).text})
        run.tell_open()
        return run

    def current_run(self) -> Run:
        """Return the innermost run of the calling task or thread, see `otel_ml.current_run`."""
        return current_run()

    def flush(self, timeout_s: float = 30.0) -> "Delivery":
        """Wait for judges and deliver what is queued.

        Returns early when nothing got through for 5 s.

        Returns:
            What was delivered since the last flush, what not, and why. It is true when all was.
        """
        return self._recorder.flush(timeout_s)

    def stats(self) -> "Stats":
        """Return counters, configuration, and what the SDK itself costs a call."""
        return self._recorder.stats()

    def close(self) -> None:
        """Deliver what is queued and stop. Runs at exit by itself."""
        self._recorder.close()

    def _judge(self, judge: "str | Judge") -> "Judge":
        if not isinstance(judge, str):
            self.add_judge(judge)
            return judge
        if judge not in self._judges:
            raise ValueError(f"Unknown judge {judge!r}: expected a tag that add_judge returned")
        return self._judges[judge]

    def _decorator(
        self,
        judges: "tuple[Judge, ...]",
        *,
        name: str | None,
        kind: str,
        tags: Mapping[str, object] | None,
        params: Mapping[str, object] | None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        _check_kind(kind)

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            if isinstance(function, staticmethod | classmethod):
                return type(function)(decorate(function.__func__))
            traced = Traced(
                self._recorder,
                function,
                name=name,
                kind=kind,
                tags=tags,
                params=params,
                judges=judges,
            )
            return wrap(traced, function)

        return decorate


def _check_kind(kind: str) -> None:
    if kind not in names.KINDS:
        raise ValueError(f"Invalid kind {kind!r}: expected one of {sorted(names.KINDS)}")
