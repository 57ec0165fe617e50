"""Decides which of the user's own objects, such as judges, can be pickled with a traced function.

A traced function of a script or notebook is pickled by value: by cloudpickle, dill, joblib, Dask,
Ray and Spark. The decorator must not make that fail. So a judge or a `redact` function that the
pickler cannot write is left out. docs/how-to/trace.md tells users what is pickled.
"""

import io
import pickle
import sys
from contextvars import ContextVar
from types import FrameType
from typing import Any, Final

from otel_ml.errors import reraise_host_error

# True while `can_pickle` tries an object, so that its parts are not tried one by one
_TRYING: Final[ContextVar[bool]] = ContextVar("otel_ml_can_pickle", default=False)


def can_pickle(value: object) -> bool:
    """Return whether an object can be pickled.

    Call it only while an object is being pickled, for example in ``__getstate__``. It pickles the
    object into memory as a trial, with a pickler of the same kind as the running one, such as
    cloudpickle.
    """
    if _TRYING.get():
        return True
    token = _TRYING.set(True)
    try:
        _make_pickler().dump(value)
    except Exception as error:  # noqa: BLE001 - the user's objects and picklers, see errors.py
        reraise_host_error(error)
        return False
    finally:
        _TRYING.reset(token)
    return True


def _make_pickler() -> Any:
    """Return a pickler like the one that is running now, but one that writes to memory.

    Picklers by value are Python classes, so the frame of their ``dump`` is on the stack. If there
    is none, it is the standard pickler, written in C. dill's options are its bool attributes.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        at_work: Any = frame.f_locals.get("self")
        if issubclass(type(at_work), pickle.Pickler | pickle._Pickler):
            made: Any = type(at_work)(io.BytesIO())
            options = {name: item for name, item in vars(at_work).items() if type(item) is bool}
            vars(made).update(options)
            return made
        frame = frame.f_back
    return pickle.Pickler(io.BytesIO())
