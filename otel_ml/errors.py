"""Errors of the SDK, and the code that keeps telemetry errors away from the user's program.

A traced call returns or raises exactly what it would without otel-ml. Errors inside otel-ml, and
errors of the user's objects while otel-ml inspects them, are counted and logged once, but never
raised. Errors that are meant for the user's program pass through, see `is_of_host`.

Use `quiet` around our own work for a call, and `untrusted` around each call into the user's
objects. Where an extra function call would be too slow, an ``except BaseException`` with `report`
or `reraise_host_error` does the same: in `calls`, `wrappers`, `runs`, `redaction`,
`export.encoder` and `capture.values`. Other broad excepts are allowed only if
the error is the result (judges, exporters, streams, trial pickles) or is raised again.
"""

import functools
import inspect
import logging
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable
from opcode import opmap
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Final, ParamSpec

P = ParamSpec("P")

_logger = logging.getLogger("otel_ml")
_UNFOLDED: Final = 1_000
_MOST_LOGGED: Final = 1_000

_OWN_FOLDER: Final = f"{Path(__file__).parent}{os.sep}"
_RAISE: Final = bytes([opmap["RAISE_VARARGS"]])
# PyO3 raises this for a Rust panic; it is not an Exception
_RUST_PANIC: Final = "pyo3_runtime"


class InvalidMetricError(ValueError):
    """A metric value is not a number. Nothing is recorded."""


class Tally:
    """Counters by name that any thread can increment. Incrementing never waits for a lock."""

    # The garbage collector can run a finalizer in the middle of `_fold`. If the finalizer
    # increments a counter too, waiting for the lock would deadlock.

    def __init__(self) -> None:
        self._new: deque[tuple[str, int]] = deque()
        self._sums: Counter[str] = Counter()
        self._folding = threading.Lock()

    def add(self, name: str, count: int = 1) -> None:
        """Increment a counter."""
        self._new.append((name, count))
        if len(self._new) > _UNFOLDED and self._folding.acquire(blocking=False):
            self._fold()

    def sums(self) -> dict[str, int]:
        """Return all counters. Increments that happen at the same time may be missing."""
        if self._folding.acquire(timeout=1.0):
            self._fold()
        return dict(self._sums)

    def _fold(self) -> None:
        try:
            while self._new:
                name, count = self._new.popleft()
                self._sums[name] += count
        finally:
            self._folding.release()


_tally = Tally()
_logged: dict[tuple[str, ...], object] = {}


def report(where: str, error: BaseException) -> None:
    """Count an error inside otel-ml instead of raising it in the user's program.

    The first error at each place is also logged.

    Args:
        where: Name of the place in the code, such as ``version``. Use a constant, because each new
            name adds a counter.
        error: The error. Its type is logged as a warning. Its message is logged only at debug
            level, because it may contain model inputs.

    Raises:
        BaseException: The same error, if it must reach the user's program, such as
            KeyboardInterrupt.
    """
    reraise_host_error(error)
    _count(where, error)


def report_named(where: str, error: BaseException) -> None:
    """Count an error inside otel-ml like `report`, but log it only at debug level.

    Use it instead of `report` if you log your own message about the error with `warn_once`.

    Args:
        where: Name of the place in the code, as for `report`.
        error: The error.

    Raises:
        BaseException: The same error, if it must reach the user's program, such as
            KeyboardInterrupt.
    """
    reraise_host_error(error)
    _tally.add(where)
    _logger.debug("Trouble in %s", where, exc_info=error)


def warn_once(message: str, *values: str) -> None:
    """Log a warning, unless the same message was logged before.

    At most 1,000 different messages are logged per process.
    """
    mark = object()
    if len(_logged) < _MOST_LOGGED and _logged.setdefault((message, *values), mark) is mark:
        _logger.warning(message, *values)


def _count(where: str, error: BaseException) -> None:
    _tally.add(where)
    mark = object()
    if _logged.setdefault((where,), mark) is mark:
        _logger.warning(
            "Telemetry error in %s (%s): your call is not affected, further errors are only "
            "counted",
            where,
            type(error).__name__,
        )
        _logger.debug("First trouble in %s", where, exc_info=error)


# read from BaseException, because a subclass may define a __getattribute__ that raises
traceback_of: Final[Callable[[BaseException], TracebackType | None]] = BaseException.__dict__[
    "__traceback__"
].__get__
_context_of: Final[Callable[[BaseException], BaseException | None]] = BaseException.__dict__[
    "__context__"
].__get__


class quiet:  # noqa: N801 - read as a word: `with quiet("flush"):`, `@quiet("run.tag")`
    """Log and count errors inside otel-ml instead of raising them in the user's program.

    Use it as a context manager, or as a decorator of functions that return None. Errors that must
    reach the user's program, such as KeyboardInterrupt, are still raised.

    Args:
        where: Name of the place in the code, such as ``flush``. Errors are counted by this name.
    """

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> bool:
        """Count and suppress an error, unless it is meant for the user's program."""
        if error is None or is_of_host(error):
            return False
        reraise_host_error(error)
        _count(self._where, error)
        return True

    def __call__(self, function: Callable[P, None]) -> Callable[P, None]:
        """Wrap a function."""
        where = self._where

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - telemetry errors end here
                report(where, error)

        return wrapper


class _Untrusted:
    """A block around code of the user's objects. An error there means that there is no answer."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> bool:
        """Suppress an error, unless it is meant for the user's program."""
        if error is None or is_of_host(error):
            return False
        reraise_host_error(error)
        return True


untrusted: Final = _Untrusted()


def reraise_host_error(error: BaseException) -> None:
    """Raise an error again if it must reach the user's program, such as a KeyboardInterrupt.

    Otherwise do nothing. `is_of_host` decides which errors must reach the user's program.
    """
    cause = host_error(error)
    if cause is not None:
        try:
            raise cause
        finally:
            # this frame is part of its traceback and would keep the user's objects alive until the
            # next gc
            del error, cause


def host_error(error: BaseException) -> BaseException | None:
    """Return the error to raise in the user's program after an error inside otel-ml.

    This is usually `error` itself, such as a KeyboardInterrupt. But Python sometimes replaces a
    KeyboardInterrupt with another error, such as a KeyError while a thread starts. Then the
    KeyboardInterrupt is returned.

    Returns:
        The error to raise. None if the user's program must not see the error.
    """
    if is_of_host(error):
        return error
    passed, at = set(), traceback_of(error)
    while at is not None:
        passed.add(at.tb_frame)
        at = at.tb_next
    before = _context_of(error)
    # An error that otel-ml replaced was caught in one of these frames. Errors further back were
    # being handled by the user's program when it called otel-ml, so they stay there.
    while before is not None and (trace := traceback_of(before)) is not None:
        frame = trace.tb_frame
        if not passed.intersection((frame, frame.f_back)):  # the frame below was called by C code
            return None
        if is_of_signal(before):
            return before
        before = _context_of(before)
    return None


def is_of_host(error: BaseException) -> bool:
    """Return whether an error that occurred inside otel-ml must be raised in the user's program.

    Errors that come from outside must be raised. Examples are errors of the user's signal handlers,
    such as a time limit, and errors that stop a thread, such as a gevent timeout.

    All other errors must not reach the user's program. That includes a SystemExit raised by a
    method of a recorded object.
    """
    if is_of_signal(error):
        return True
    at = _origin(error)
    if at is None or isinstance(error, Exception) or type(error).__module__ == _RUST_PANIC:
        return False
    # otel-ml's own code never raises such errors
    if at.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        return True
    return not (_is_stated(at) or isinstance(error, SystemExit))


def is_of_signal(error: BaseException) -> bool:
    """Return whether a signal handler raised an error, including Ctrl-C."""
    above = traceback_of(error)
    while above is not None:
        at = above.tb_next
        if at is not None and _is_handler(at.tb_frame, above.tb_frame):
            return True
        above = at
    if not isinstance(error, KeyboardInterrupt):
        return False
    at = _origin(error)
    return at is not None and not _is_stated(at)


def _origin(error: BaseException) -> TracebackType | None:
    """Return the traceback entry where an error was raised first."""
    at = traceback_of(error)
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at


def _is_stated(at: TracebackType) -> bool:
    """Return whether a ``raise`` statement raised an error."""
    return at.tb_frame.f_code.co_code[at.tb_lasti : at.tb_lasti + 1] == _RAISE


def _is_handler(frame: FrameType, below: FrameType) -> bool:
    """Return whether a frame runs a signal handler, which receives the interrupted frame."""
    code = frame.f_code
    has_more = code.co_flags & inspect.CO_VARARGS
    if not (has_more or code.co_argcount > 1) or code.co_filename.startswith(_OWN_FOLDER):
        return False
    values = frame.f_locals
    given = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
    if has_more:
        rest = values.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount])
        given += rest if isinstance(rest, tuple) else ()
    return any(item is below for item in given) or code in _handlers()


def _handlers() -> set[CodeType | None]:
    """Return the code objects of all installed signal handlers.

    A handler may ignore its arguments.
    """
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    return {
        getattr(inspect.unwrap(handler), "__code__", None)
        for handler in handlers
        if callable(handler)
    }


def trouble() -> dict[str, int]:
    """Return how many errors occurred inside otel-ml since the process started.

    The keys are the places in otel-ml's code. Empty means no errors.
    """
    return _tally.sums()
