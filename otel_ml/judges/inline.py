"""Judges before the call returns, on the thread of the caller.

What is raised there is the judge's error and the call returns as without it, but for what is meant
for the host: a KeyboardInterrupt, and what a handler of a signal raises meanwhile.
"""

from otel_ml.errors import is_of_signal
from otel_ml.judges.judged import INTERRUPTED, Judged
from otel_ml.judges.pool import JudgePool
from otel_ml.judges.steps import drive


def judge_here(judged: Judged, pool: JudgePool) -> None:
    """Judge a call that returned on its own thread; its run is released with the scores."""
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
