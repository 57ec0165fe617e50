"""Replaces methods of other libraries' classes, so that calls are recorded, and restores them.

A library defines a method on many classes: on the base class, on mixins and on subclasses. All of
them are replaced, also those of classes that are defined later. The replacement is a plain function
with the original's name and signature, because libraries inspect methods.

Only the outermost call in a thread is recorded. For calls inside it, the replacement checks a
number and calls the original.

A class of a script or notebook may be pickled by value, with its methods and everything that they
name. So a replacement names only its `Hook`, which is pickled as None. In the other process it then
just calls the original, and does not need otel-ml.
"""

import copy
import functools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from types import FunctionType
from typing import Any, Final, Protocol

from opentelemetry import context as context_api
from opentelemetry.context import Context

from otel_ml.errors import untrusted
from otel_ml.libraries.table import Library, TrainingFunction
from otel_ml.process import renew_in_child
from otel_ml.spans import attach, detach

INNERMOST: Final = 1 << 30  # at this depth, no call is recorded
_OWN: Final = itemgetter(0)


class Here(threading.local):
    """What the current thread is doing, to decide whether a call of a library is recorded.

    Attributes:
        depth: Number of recorded calls that are running in this thread, one inside the other.
            During a training, it is the maximum `INNERMOST`, so that no call inside is recorded.
        classes: Number of nested calls of ``__init_subclass__`` that are running in this thread.
    """

    depth = 0
    classes = 0


HERE: Final = Here()


class RecordCall(Protocol):
    """Calls an original method with the given arguments, and records the call."""

    def __call__(
        self, function: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return what the method returns, or raise what it raises."""


class Hook:
    """The data that a patched library method needs to record a call.

    It is pickled as None, because the process that unpickles it may not have otel-ml. There, the
    patched method only calls the original one.

    Attributes:
        here: The state of the current thread.
        depth: Maximum nesting of recorded calls. For example, 1 records only the outermost call,
            and 2 also the calls directly inside it.
        record: Calls the original method and records the call.
        patches: The patches that the hook belongs to.
    """

    def __init__(self, patches: "Patches", depth: int, record: RecordCall) -> None:
        self.here = HERE
        self.depth = depth
        self.record = record
        self.patches = patches

    def __reduce__(self) -> tuple[object, tuple[tuple[None]]]:
        return _OWN, ((None,),)


class Patched:
    """A library whose methods are replaced to record their calls.

    Args:
        library: The library.
        depth: Maximum nesting of recorded calls. For example, 1 records only the outermost call,
            and 2 also the calls directly inside it.
        call: Function that records a prediction.
        train: Function that records a training.
        functions: For each training function of the library, the function that records it.
    """

    def __init__(
        self,
        library: Library,
        depth: int,
        call: RecordCall,
        train: RecordCall,
        functions: Sequence[RecordCall],
    ) -> None:
        self.library = library
        self.depth = depth
        self.call = call
        self.train = train
        self.functions = functions


class Patches:
    """All replaced methods of this process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._active: list[Patched] = []
        self._originals: dict[tuple[type, str], object] = {}
        self._functions: dict[TrainingFunction, tuple[object, object]] = {}
        renew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def is_active(self, library: Library) -> bool:
        """Return whether the methods of a library are replaced."""
        return any(patched.library is library for patched in self._active)

    def add(self, patched: Patched) -> None:
        """Replace the methods of a library's classes, which must be imported."""
        with self._lock:
            self._active.append(patched)
            self._patch_all(patched)

    def refresh(self) -> None:
        """Replace the methods of classes whose modules were imported in the meantime."""
        with self._lock:
            for patched in self._active:
                self._patch_all(patched)

    def remove(self, patched: Patched) -> None:
        """Restore the original methods of a library. A second call does nothing."""
        with self._lock:
            if patched in self._active:
                self._active.remove(patched)
                self._restore()
                for other in self._active:  # they may share classes with the removed one
                    self._patch_all(other)

    def patch_class(self, kind: type) -> None:
        """Replace the methods of a class that was just defined."""
        with self._lock:
            for patched in self._active:
                self._patch(patched, kind)

    def _patch_all(self, patched: Patched) -> None:
        seen: set[type] = set()
        for model_class in patched.library.classes:
            root = getattr(sys.modules.get(model_class.module), model_class.name, None)
            if isinstance(root, type):
                for kind in _subclasses(root, seen):
                    self._patch(patched, kind)
        self._patch_functions(patched)
        parallel = getattr(sys.modules.get("joblib.parallel"), "Parallel", None)
        if parallel is not None:
            hook = Hook(self, patched.depth, patched.call)
            self._replace(parallel, "__call__", lambda function: _wrap_parallel(function, hook))

    def _patch_functions(self, patched: Patched) -> None:
        """Replace the training functions of a library, in all modules that have them."""
        for known, record in zip(patched.library.functions, patched.functions, strict=True):
            own = getattr(sys.modules.get(known.modules[0]), known.name, None)
            if type(own) is FunctionType and known not in self._functions:
                replacement = _wrap_method(own, Hook(self, patched.depth, record))
                self._functions[known] = own, replacement
                _exchange(known, own, replacement)

    def _patch(self, patched: Patched, kind: type) -> None:
        call = Hook(self, patched.depth, patched.call)
        train = Hook(self, patched.depth, patched.train)
        for model_class in patched.library.classes:
            if not model_class.is_base_of(kind):
                continue
            for base in kind.__mro__:
                if base.__module__ in sys.stdlib_module_names:
                    continue
                for methods, hook in ((model_class.calls, call), (model_class.trainings, train)):
                    for method in methods:
                        self._replace(base, method, functools.partial(_wrap_method, hook=hook))
                if "__init_subclass__" in vars(base) or model_class.name == base.__name__:
                    self._follow(base, call)

    def _replace(self, kind: type, name: str, wrap: Callable[[FunctionType], object]) -> None:
        original = vars(kind).get(name)
        if original is None or (kind, name) in self._originals:
            return
        replacement = _replacement(original, wrap)
        if replacement is not None:
            self._set(kind, name, original, replacement)

    def _follow(self, kind: type, hook: Hook) -> None:
        """Replace the methods of subclasses that will be defined later."""
        name = "__init_subclass__"
        if (kind, name) in self._originals:
            return
        original = vars(kind).get(name)
        if original is None or isinstance(original, classmethod):
            self._set(kind, name, original, classmethod(_wrap_definition(kind, original, hook)))

    def _set(self, kind: type, name: str, original: object, replacement: object) -> None:
        try:
            type.__setattr__(kind, name, replacement)
        except TypeError:  # a class in C, which cannot be changed
            return
        self._originals[kind, name] = original

    def _restore(self) -> None:
        for (kind, name), original in self._originals.items():
            if original is None:
                type.__delattr__(kind, name)
            else:
                type.__setattr__(kind, name, original)
        self._originals.clear()
        for known, (own, replacement) in self._functions.items():
            _exchange(known, replacement, own)
        self._functions.clear()


def _exchange(known: TrainingFunction, old: object, new: object) -> None:
    for module in map(sys.modules.get, known.modules):
        if getattr(module, known.name, None) is old:
            setattr(module, known.name, new)


def _subclasses(kind: type, seen: set[type]) -> Iterator[type]:
    if kind not in seen:
        seen.add(kind)
        yield kind
        inner: type
        for inner in type.__subclasses__(kind):
            yield from _subclasses(inner, seen)


def _replacement(member: object, wrap: Callable[[FunctionType], object]) -> object:
    """Return what replaces a member of a class. None if it is not a method.

    A descriptor around a function, such as scikit-learn's ``available_if``, is copied with another
    function.
    """
    if type(member) is FunctionType:
        return wrap(member)
    attributes = getattr(member, "__dict__", None) or {}
    function = attributes.get("__wrapped__")
    if type(function) is not FunctionType or isinstance(member, type | staticmethod | classmethod):
        return None
    made = copy.copy(member)
    wrapped = wrap(function)
    for name, value in attributes.items():
        if value is function:
            vars(made)[name] = wrapped
    return made


# If a wrapper is pickled by value, all names that it uses are pickled too. So a wrapper uses only
# its hook, the original function and builtins.


def _wrap_method(function: FunctionType, hook: Hook | None) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if hook is None or hook.here.depth >= hook.depth:
            return function(*args, **kwargs)
        return hook.record(function, args, kwargs)

    return wrapper


def _wrap_definition(
    kind: Any, original: "classmethod[Any, Any, None] | None", hook: Hook | None
) -> Callable[..., None]:
    """Wrap ``__init_subclass__``.

    Several may be called for one class. The outermost one patches it, as some change the class.
    """
    function = None if original is None else original.__func__

    def __init_subclass__(cls: Any, /, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - its name
        if hook is not None:
            hook.here.classes += 1
        try:
            if function is None:
                super(kind, cls).__init_subclass__(*args, **kwargs)
            else:
                function(cls, *args, **kwargs)
        finally:
            if hook is not None:
                hook.here.classes -= 1
        if hook is not None and hook.here.classes == 0:
            hook.patches.patch_class(cls)

    return __init_subclass__ if function is None else functools.wraps(function)(__init_subclass__)


def _wrap_parallel(function: FunctionType, hook: Hook | None) -> Callable[..., Any]:
    """Wrap ``joblib.Parallel``, so that calls in its threads count as inside the current call."""

    @functools.wraps(function)
    def wrapper(self: Any, iterable: Any) -> Any:
        if hook is not None and hook.here.depth:
            iterable = carry(iterable)
        return function(self, iterable)

    return wrapper


def carry(tasks: Iterable[Any]) -> Iterable[Any]:
    """Return joblib's tasks, changed so that each runs as part of the current call."""
    depth, context = HERE.depth, context_api.get_current()
    carried = ((Carried(task[0], depth, context), *task[1:]) for task in tasks)
    # joblib reports progress if it knows the number of tasks
    return [*carried] if isinstance(tasks, Sequence) else carried


class Carried:
    """The function of a joblib task. Spans of the task become children of the call that created it.

    The task can run in another thread. If joblib sends it to another process, only the original
    function is pickled.
    """

    def __init__(self, function: Callable[..., Any], depth: int, context: Context) -> None:
        self._function = function
        self._depth = depth
        self._context = context

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        before, HERE.depth = HERE.depth, self._depth
        token = attach(self._context)
        try:
            return self._function(*args, **kwargs)
        finally:
            detach(token)
            HERE.depth = before

    def __reduce__(self) -> tuple[object, tuple[tuple[Callable[..., Any]]]]:
        return _OWN, ((self._function,),)


class _Workers:
    """Tells whether this process is a worker of joblib, in which nothing is recorded."""

    def __init__(self) -> None:
        self._renew()
        renew_in_child(self._renew)

    def _renew(self) -> None:
        self._is_worker: bool | None = None

    @property
    def is_worker(self) -> bool:
        """Whether joblib forked this process from one whose methods are replaced."""
        if self._is_worker is None:
            self._is_worker = _is_forked_by_joblib()
        return self._is_worker


def _is_forked_by_joblib() -> bool:
    """Look at the queue of a worker of ``multiprocessing``: joblib has its own kind."""
    with untrusted:
        process: Any = sys.modules["multiprocessing.process"].current_process()
        return any(type(part).__module__.startswith("joblib.") for part in process._args)
    return False


WORKERS: Final = _Workers()
PATCHES: Final = Patches()
