"""Judges before the call returns: on the caller, or on the loop that an async function runs on.

What is raised there is the judge's error and the call returns as without it, but for what is meant
for the host: a KeyboardInterrupt, and what a handler of a signal raises meanwhile.
"""

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from otel_ml.errors import is_of_signal
from otel_ml.judges.judged import INTERRUPTED, Judged
from otel_ml.judges.pool import JudgePool
from otel_ml.judges.steps import drive, is_async


@dataclass(slots=True)
class Desk:
    """Where a call of an async function leaves its judgement, for its wrapper to await."""

    function: Callable[..., Any]
    left: tuple[Judged, JudgePool] | None = None

    def lose(self) -> None:
        """Let the run of a call go that was interrupted after its judgement was left here."""
        if self.left is not None:
            self.left[0].lose(INTERRUPTED)


DESK: Final[ContextVar[Desk | None]] = ContextVar("otel_ml-judge-desk", default=None)


def judge_now(judged: Judged, pool: JudgePool, function: Callable[..., Any]) -> None:
    """Judge a call that returned on its own thread, or leave that to its wrapper.

    Args:
        judged: The call; its run is released with the scores.
        pool: Runs what may not run here.
        function: That was called, as the user wrote it.
    """
    desk = DESK.get()
    if desk is not None and desk.function is function:
        desk.left = judged, pool
    elif is_async(function) or is_stream(function):  # a copy of it that has no such wrapper
        pool.submit(judged)
    else:
        _judge_here(judged, pool)


def is_stream(function: object) -> bool:
    """Tell whether a call returns an async generator."""
    while isinstance(function, partial):
        function = function.func
    return inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(
        getattr(type(function), "__call__", None)  # noqa: B004 - the class's own, as calling finds it
    )


def _judge_here(judged: Judged, pool: JudgePool) -> None:
    try:
        for judge in judged.judges:
            steps = judge.steps(judged.inputs, judged.outputs)
            evaluation = drive(steps, pool.wait, judge.timeout_s, _is_of_host)
            judged.settle(judge, evaluation)
    finally:
        judged.lose(INTERRUPTED)


def _is_of_host(problem: BaseException) -> bool:
    """Tell whether a rubric on the host's thread was interrupted by the host."""
    return isinstance(problem, KeyboardInterrupt) or is_of_signal(problem)
