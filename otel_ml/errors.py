"""Errors of the SDK, and the only place where telemetry trouble ends.

The host's call returns or raises exactly as without us: trouble of ours, and of the host's values
while we look at them, is counted and logged once, never raised. Errors for the host itself go on
to it, see `is_of_host`.

`quiet` stands around what we do for a call, `untrusted` around each piece of the host's code that
we ask about a value. Where a function of its own would be felt, at each call and each value, an
``except BaseException`` stands with `report` or `hand_on` in it: in `calls`, `runs`, `redaction`,
`export.encoder` and `capture.values`. Elsewhere broad excepts stand only where the error is an
answer (in the user's judges and exporters, in the stream that goes on with it) or is raised again.
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
_MOST_TOLD: Final = 1_000

_OWN_FOLDER: Final = f"{Path(__file__).parent}{os.sep}"
_RAISE: Final = bytes([opmap["RAISE_VARARGS"]])
# The module of what PyO3 makes of a panic, which is no `Exception`.
_RUST_PANIC: Final = "pyo3_runtime"


class InvalidMetricError(ValueError):
    """A metric value is no number: the call is refused, nothing is recorded."""


class Tally:
    """Counts by name that any thread may add to, also one that is adding already.

    A finalizer runs in the middle of whatever its thread does. Where two locks are taken so, in
    opposite orders by two threads, both wait for ever: so nobody waits here.
    """

    def __init__(self) -> None:
        self._new: deque[tuple[str, int]] = deque()
        self._sums: Counter[str] = Counter()
        self._folding = threading.Lock()

    def add(self, name: str, count: int = 1) -> None:
        """Count."""
        self._new.append((name, count))
        if len(self._new) > _UNFOLDED and self._folding.acquire(blocking=False):
            self._fold()

    def sums(self) -> dict[str, int]:
        """Return all counts; those that are being added at the moment may be missing."""
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
_told: dict[tuple[str, ...], object] = {}


def report(where: str, error: BaseException) -> None:
    """Count trouble of ours and log its first occurrence at each place.

    Args:
        where: A fixed name of the place, never built from data.
        error: What happened; its type is logged, its message only at debug level, because it
            may hold inputs of a model.

    Raises:
        BaseException: The error itself, when it is the host's.
    """
    hand_on(error)
    _count(where, error)


def report_named(where: str, error: BaseException) -> None:
    """Count trouble of ours as `report` does, where `warn_once` names its place.

    Raises:
        BaseException: The error itself, when it is the host's.
    """
    hand_on(error)
    _tally.add(where)
    _logger.debug("Trouble in %s", where, exc_info=error)


def warn_once(message: str, *values: str) -> None:
    """Log a warning; the same warning, with the same values, only once, and at most 1,000."""
    mark = object()
    if len(_told) < _MOST_TOLD and _told.setdefault((message, *values), mark) is mark:
        _logger.warning(message, *values)


def _count(where: str, error: BaseException) -> None:
    _tally.add(where)
    mark = object()
    if _told.setdefault((where,), mark) is mark:
        _logger.warning(
            "Telemetry trouble in %s (%s): the call went on, counted from now on",
            where,
            type(error).__name__,
        )
        _logger.debug("First trouble in %s", where, exc_info=error)


# Read past a `__getattribute__` of an error's own, which may raise.
traceback_of: Final[Callable[[BaseException], TracebackType | None]] = BaseException.__dict__[
    "__traceback__"
].__get__
_context_of: Final[Callable[[BaseException], BaseException | None]] = BaseException.__dict__[
    "__context__"
].__get__


class quiet:  # noqa: N801 - read as a word: `with quiet("flush"):`, `@quiet("run.tag")`
    """Telemetry never raises: trouble within is reported, errors of the host go on.

    A context manager, and a decorator of functions that return nothing.

    Args:
        where: As for `report`.
    """

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> bool:
        """Count an error, unless it is the host's."""
        if error is None or is_of_host(error):
            return False
        hand_on(error)
        _count(self._where, error)
        return True

    def __call__(self, function: Callable[P, None]) -> Callable[P, None]:
        """Wrap a function."""
        where = self._where

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - this is the place
                report(where, error)

        return wrapper


class _Untrusted:
    """A block around code of the host's values: an error there means that there is no answer."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> bool:
        """Swallow an error, unless it is the host's."""
        if error is None or is_of_host(error):
            return False
        hand_on(error)
        return True


untrusted: Final = _Untrusted()


def hand_on(error: BaseException) -> None:
    """Raise an error again that is the host's, see `is_of_host`."""
    cause = host_error(error)
    if cause is not None:
        try:
            raise cause
        finally:
            # This frame is in its traceback: it would hold the host's until the next gc.
            del error, cause


def host_error(error: BaseException) -> BaseException | None:
    """Find an error that is meant for the host: the error, or an error that it replaced.

    The error that a signal's handler raised may be replaced on its way: a thread's start that it
    breaks off ends with a KeyError, the making of a class with a RuntimeError.
    """
    if is_of_host(error):
        return error
    passed, at = set(), traceback_of(error)
    while at is not None:
        passed.add(at.tb_frame)
        at = at.tb_next
    before = _context_of(error)
    # An error that we replaced while we handled it was caught in a frame that this one passed.
    # Behind those stand errors that the host was handling when it called us: they are its own.
    while before is not None and (trace := traceback_of(before)) is not None:
        frame = trace.tb_frame
        if not passed.intersection((frame, frame.f_back)):  # that below was called by C
            return None
        if is_of_signal(before):
            return before
        before = _context_of(before)
    return None


def is_of_host(error: BaseException) -> bool:
    """Tell whether an error that was raised while our code ran was meant for the host.

    That is what a handler of a signal raised, such as a time limit: Python calls it between any
    two steps of the main thread. And it is what ends a thread from outside, no `Exception`: a
    KeyboardInterrupt, a time limit of gevent's. What code of a value raised itself is the
    value's, whatever it is: a ``raise`` statement, an exit, a panic of a library in Rust.
    """
    if is_of_signal(error):
        return True
    at = _origin(error)
    if at is None or isinstance(error, Exception) or type(error).__module__ == _RUST_PANIC:
        return False
    if at.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):  # where nothing raises such
        return True
    return not (_is_stated(at) or isinstance(error, SystemExit))


def is_of_signal(error: BaseException) -> bool:
    """Tell whether a handler of a signal raised an error; that of Control-C has no frame."""
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
    """Find where an error came up first."""
    at = traceback_of(error)
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at


def _is_stated(at: TracebackType) -> bool:
    """Tell whether a ``raise`` statement raised an error."""
    return at.tb_frame.f_code.co_code[at.tb_lasti : at.tb_lasti + 1] == _RAISE


def _is_handler(frame: FrameType, below: FrameType) -> bool:
    """Tell whether a frame is that of a signal's handler, which gets the interrupted frame."""
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
    """Collect the code of the signal handlers in force, as a handler may drop its arguments."""
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    return {
        getattr(inspect.unwrap(handler), "__code__", None)
        for handler in handlers
        if callable(handler)
    }


def trouble() -> dict[str, int]:
    """Return how often trouble was reported, by place, since the process began."""
    return _tally.sums()
