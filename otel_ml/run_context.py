"""Tags, a session and a user for every run that starts inside a block of code.

They are kept in OpenTelemetry's context, which asyncio tasks inherit. Threads inherit it only with
`otel_ml.wrap` or `otel_ml.follow_threads`. So the first use of `context` extends `Thread.start` and
`ThreadPoolExecutor.submit`: they pass on the tags, but not the current run. This costs a dictionary
lookup per thread or task, and lasts until the process ends.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import thread as pool_threads
from contextlib import contextmanager
from typing import Any

from opentelemetry.context import Context

from otel_ml import attributes as names
from otel_ml.capture.description import text_of
from otel_ml.capture.values import clean
from otel_ml.runs import CONTEXT_KEY, RUN_KEY, Surroundings, check_tags
from otel_ml.spans import attach, current_context, detach


@contextmanager
def context(
    *, session: str | None = None, user: str | None = None, **tags: object
) -> Iterator[None]:
    """Add tags, a session and a user to every run that starts inside a ``with`` block.

    This includes runs in asyncio tasks and threads that the block starts. Blocks can be nested:
    inner tags replace outer ones. If a run sets a tag itself, its own value is used.

    Args:
        session: ID of the conversation that the runs belong to. A value that is not a string is
            converted to text.
        user: ID of the user that the runs serve. A value that is not a string is converted to text.
        tags: Tags by name. Values are strings, numbers or bools. Other values are converted to
            text.
    """
    own_tags, _ = check_tags((tags,))
    given = {names.SESSION_ID: session, names.USER_ID: user}
    people = {key: clean(text_of(item)) for key, item in given.items() if item is not None}
    before = current_context()
    outer = before.get(CONTEXT_KEY)
    surroundings = Surroundings(own_tags, people, before.get(RUN_KEY))
    if isinstance(outer, Surroundings):
        surroundings = surroundings.inside(outer)
    _follow_starts()
    token = attach(Context({**before, CONTEXT_KEY: surroundings}))
    try:
        yield
    finally:
        detach(token)


@functools.cache
def _follow_starts() -> None:
    """Make new threads and tasks of thread pools inherit the tags, once per process."""
    threads: Any = threading.Thread
    pools: Any = pool_threads.ThreadPoolExecutor
    start, submit = threads.start, pools.submit

    @functools.wraps(start)
    def start_inside(thread: threading.Thread) -> None:
        surroundings = current_context().get(CONTEXT_KEY)
        # A pool's thread outlives the block. Its tasks have their own tags.
        is_of_pool = getattr(thread, "_target", None) is pool_threads._worker
        if surroundings is not None and not is_of_pool:
            run = thread.run

            def run_inside() -> None:
                vars(thread).pop("run", None)  # breaks a reference cycle
                _call_inside(surroundings, run)

            thread.run = run_inside  # type: ignore[method-assign]  # of this thread alone
        start(thread)

    @functools.wraps(submit)
    def submit_inside(pool: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        surroundings = current_context().get(CONTEXT_KEY)
        if surroundings is not None:
            function = functools.partial(_call_inside, surroundings, function)
        return submit(pool, function, *args, **kwargs)

    threads.start = start_inside
    pools.submit = submit_inside


def _call_inside(
    surroundings: object, function: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    token = attach(Context({**current_context(), CONTEXT_KEY: surroundings}))
    try:
        return function(*args, **kwargs)
    finally:
        detach(token)
