"""The state of a model object: everything that fitting left in it, as input for a hash.

An estimator consists of its parameters and everything that `fit` sets, including private
attributes. Settings for how it runs do not count (`_HOW_IT_RUNS`). Neither do values that are
unrelated to the fit: libraries keep addresses, times, call counters and caches (`_NOT_FITTED`,
`_FIT_TIMES`, `_TREE_COUNTERS`). For the user's own classes, attributes that change when an object
is used do not count (`uses`).

Objects inside it count by what their library would pickle. For the user's own classes no code is
run; they count by their attributes. Parts that cannot be read are noted by name.
"""

import copyreg
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

from otel_ml.errors import reraise_host_error
from otel_ml.versions.canonical import canonical_value
from otel_ml.versions.source import attributes_of, is_of_library, is_quiet, plain_function
from otel_ml.versions.uses import drop_uses, name_uses

LEAVES: Final = frozenset({str, int, float, bool, bytes, complex, type(None)})
_STATE_DEPTH: Final = 64
_PIECE_BYTES: Final = 16 * 1024 * 1024  # hashed in 10 ms
_MAX_PARTS: Final = 10_000_000
_MAX_GAPS: Final = 32
_MAX_NAMED: Final = 64  # maximum length of a key in a path
_HOW_IT_RUNS: Final = frozenset({"n_jobs", "verbose", "memory", "random_state", "_repr_html_"})
_NOT_FITTED: Final[Mapping[str, str]] = {
    "_stop_words_id": "of vectorizers: the address of the stop words that were looked at last",
    "_cached_dict": "of MultiLabelBinarizer: a cache that `transform` fills",
    "refit_time_": "of searches: seconds",
    "_has_canonical_format": "of sparse matrices: what was asked of them before",
    "_has_sorted_indices": "of sparse matrices: what was asked of them before",
}
_UNFIT: Final = _HOW_IT_RUNS | _NOT_FITTED.keys()
# durations in `cv_results_` of searches such as GridSearchCV
_FIT_TIMES: Final = frozenset(
    {"mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time"}
)
# `n_trims`, `n_leaves`, `n_splits` and `n_calls` in the state of a KDTree or BallTree
_TREE_COUNTERS: Final = slice(7, 11)
_PICKLING: Final = (
    *("__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs__", "__getnewargs_ex__"),
    *("__getattribute__", "__getattr__"),
)
_FUNCTIONS: Final = (FunctionType, MethodType, BuiltinFunctionType, type)
_SETS: Final = (set, frozenset)
_PLAIN: Final = (tuple, str, bytes, int, float, complex)


class Gap(NamedTuple):
    """A part of a model object that cannot be read. Its changes do not create a new version.

    Attributes:
        path: Path inside the object, such as ``.steps[0][1].tokenizer``.
        reason: Why it cannot be read, as text to show after the path.
    """

    path: str
    reason: str


class Reading:
    """The hash of a model object's contents, and what was found in the object.

    The attributes are filled while the object is read. If the hash changes, a new model version is
    created.

    Args:
        check: Called between the parts. It raises `ReadingStopped` if the process ends.

    Attributes:
        check: As above.
        gaps: Parts that cannot be read, at most 32.
        functions: The user's own functions in the object, by path such as ``.steps[0]``.
        kinds: Classes of all objects in it.
    """

    def __init__(self, check: Callable[[], object] = lambda: None) -> None:
        self.check = check
        self._hash = sha256()
        self.gaps: list[Gap] = []
        self.functions: dict[str, FunctionType] = {}
        self.kinds: set[type] = set()

    def update(self, data: Any, /) -> None:
        """Add bytes, or an array of bytes, to the hash."""
        self.check()
        if len(data) <= _PIECE_BYTES:
            self._hash.update(data)
            return
        whole = memoryview(data)
        for start in range(0, len(whole), _PIECE_BYTES):
            self.check()
            self._hash.update(whole[start : start + _PIECE_BYTES])

    def digest(self) -> str:
        """Return the hash of the state, 16 hex digits."""
        return self._hash.hexdigest()[:16]

    def miss(self, path: str, reason: str) -> None:
        """Note a part that cannot be read, such as ``.tokenizer``, and the reason."""
        if len(self.gaps) < _MAX_GAPS:
            self.gaps.append(Gap(path, reason))


@dataclass(frozen=True, slots=True)
class WeightKind:
    """How to detect changes of a library's model objects, such as those of scikit-learn or PyTorch.

    Each attribute is a function that takes the model object.

    Attributes:
        mark: Returns a value that changes when the object is fitted or loaded again. It must be
            fast, because it is called often.
        feed: Adds the weights to a hash. It may be slow. None if the weights are ordinary
            attributes of the object, which are hashed anyway.
        is_small: Returns True if the object is so small that it can be hashed without a background
            thread. None if objects are never small.
    """

    mark: Callable[[Any], object]
    feed: Callable[[Any, Reading], None] | None = None
    is_small: Callable[[Any], bool] | None = None


class ReadingStopped(Exception):
    """Raised if a model object is not read to its end, because the process ends."""


class _TooManyParts(Exception):
    """Raised if a model object has too many parts to hash."""


def fitted_attributes(model: object) -> list[tuple[str, Any]]:
    """Return the attributes of an estimator that fitting has set, sorted by name."""
    attributes = object.__getattribute__(model, "__dict__")
    kept = [pair for pair in sorted(attributes.items()) if pair[0] not in _UNFIT]
    return drop_uses(type(model), kept)


class StateWalk:
    """Computes the hash of an object and all objects inside it. Each object is hashed once.

    Args:
        reading: The object to fill with the hash and with what was found, such as unreadable parts.
        kind_of: Function that returns how to hash an object, if the object is a model of a
            supported library. It returns None for other objects.
    """

    def __init__(self, reading: Reading, kind_of: Callable[[object], WeightKind | None]) -> None:
        self._reading = reading
        self._kind_of = kind_of
        # keep the objects alive: a freed one's id() can be reused
        self._seen: dict[int, object] = {}
        self._steps: list[object] = []  # path to the current part; keys are in a tuple
        self._deep: deque[tuple[Any, list[object]]] = deque()
        self._left = _MAX_PARTS
        self._runs_host_code: dict[type, bool] = {}

    def feed(self, value: Any) -> None:
        """Add an object and its parts to the hash."""
        self._deep.append((value, []))
        try:
            while self._deep:
                value, self._steps = self._deep.popleft()
                self._feed(value, 0)
        except _TooManyParts:
            self._miss(f"which, like all after it, is beyond the limit of {_MAX_PARTS:,} parts")

    def _feed(self, value: Any, depth: int) -> None:
        kind = type(value)
        self._left -= 1
        if kind in LEAVES:
            self._add(canonical_value(value))
            return
        if id(value) in self._seen:
            self._add("again")
            return
        if self._left < 0:
            raise _TooManyParts
        # read it after everything above it, to avoid unlimited recursion
        if depth > _STATE_DEPTH:
            self._add("again")
            self._deep.append((value, [*self._steps]))
            return
        self._seen[id(value)] = value
        steps = len(self._steps)
        try:
            if not self._feed_data(value, kind, depth):
                self._feed_whole(value, kind, depth)
        except (_TooManyParts, ReadingStopped):
            raise
        except BaseException as error:  # noqa: BLE001 - code of libraries, see errors.py
            reraise_host_error(error)
            del self._steps[steps:]
            if not is_quiet(kind):
                self._miss(f"a `{_title(kind)}`, which cannot be read")

    def _part(self, step: object, value: Any, depth: int) -> None:
        """Add a part of the current object."""
        self._steps.append(step)
        self._feed(value, depth + 1)
        self._steps.pop()

    def _add(self, text: str) -> None:
        self._reading.update(f"{text};".encode("utf-8", "replace"))

    def _miss(self, reason: str) -> None:
        self._reading.miss(self._path(), reason)

    def _path(self) -> str:
        shown = [
            f"[{step[0]!r:.{_MAX_NAMED}}]" if type(step) is tuple else f".{step}"
            for step in self._steps
        ]
        return "".join(shown)

    def _feed_data(self, value: Any, kind: type, depth: int) -> bool:
        root = kind.__module__.partition(".")[0]
        if issubclass(kind, dict | MappingProxyType):
            self._feed_mapping(value, kind, depth)
        elif kind is list or kind is tuple:
            self._feed_items(kind.__name__, value, depth)
        elif issubclass(kind, list):
            self._feed_items(_title(kind), [*list.__iter__(value)], depth)
        elif issubclass(kind, deque):
            self._feed_items(_title(kind), [*deque.__iter__(value)], depth)
        elif issubclass(kind, _SETS):
            base = set if issubclass(kind, set) else frozenset
            items = sorted(base.__iter__(value), key=lambda item: self._rank(item, repr))
            self._feed_items(kind.__name__, items, depth)
        elif issubclass(kind, _FUNCTIONS):
            self._feed_function(value, kind, depth)
        elif (array := _array_class(kind)) is not None:
            self._feed_array(value, array, depth)
        elif root == "numpy" and hasattr(value, "item") and hasattr(value, "dtype"):
            self._add(f"{value.dtype}:{value.item()!r}")
        elif root == "numpy" and kind.__name__ in {"RandomState", "Generator"}:
            self._add(kind.__name__)
        else:
            return False
        return True

    def _feed_items(self, title: str, items: Sequence[Any], depth: int) -> None:
        self._add(f"{title}{len(items)}")
        for number, item in enumerate(items):
            self._part((number,), item, depth)

    def _feed_mapping(self, value: Any, kind: type, depth: int) -> None:
        items = [*(dict.items(value) if issubclass(kind, dict) else value.items())]
        if self._steps[-1:] == ["cv_results_"]:
            items = [(key, item) for key, item in items if key not in _FIT_TIMES]
        self._add(f"{kind.__name__}{len(items)}")
        for key, item in sorted(items, key=lambda pair: self._rank(pair[0], _typed)):
            self._part((key,), key, depth)
            self._part((key,), item, depth)
        if issubclass(kind, defaultdict) and value.default_factory is not None:
            self._part("default_factory", value.default_factory, depth)

    def _rank(self, item: Any, text_of: Callable[[Any], str]) -> str:
        """Return a sort key that is the same in every process, without running user code."""
        kind = type(item)
        if kind in LEAVES or kind.__module__ == "numpy":
            return text_of(item)
        if kind is tuple and LEAVES.issuperset(map(type, item)):
            return text_of(item)
        inner = Reading(self._reading.check)
        StateWalk(inner, self._kind_of).feed(item)
        return f"{kind.__name__}:{inner.digest()}"

    def _feed_function(self, value: Any, kind: type, depth: int) -> None:
        subject = value if hasattr(value, "__qualname__") else kind
        self._add(f"{subject.__module__}.{subject.__qualname__}")
        function = value.__func__ if issubclass(kind, MethodType) else value
        if type(function) is FunctionType and not is_of_library(function):
            self._reading.functions[self._path()] = function
        owner = getattr(value, "__self__", None) if kind is not FunctionType else None
        is_plain = owner is None or issubclass(type(owner), ModuleType | type)
        if not is_plain and id(owner) not in self._seen:
            self._part("__self__", owner, depth)

    def _feed_array(self, value: Any, array: Any, depth: int) -> None:
        """Add an array.

        Memory-mapped arrays count like arrays in memory; masked elements are left out.
        """
        plain = value if type(value) is array else array.view(value, array)
        mask = dict(attributes_of(value)).get("_mask") if type(value) is not array else None
        if mask is not None:
            self._add("masked")
            self._part("mask", mask, depth)
            if getattr(mask, "shape", ()) and plain.dtype.names is None:
                plain = plain[~array.view(mask, array)]
        self._feed_elements(plain, depth)
        # do not remember it: joblib loads an array that two attributes share as two arrays
        del self._seen[id(value)]

    def _feed_elements(self, array: Any, depth: int) -> None:
        self._add(f"{array.dtype.descr}{array.shape}")
        if array.dtype.hasobject:
            self._feed(array.tolist(), depth + 1)
        elif array.dtype.names is not None:  # padding between the fields does not count
            for name in array.dtype.names:
                self._feed_elements(array[name], depth)
        elif array.size:
            order = array if array.flags.c_contiguous else array.copy(order="C")
            self._reading.update(order.reshape(-1).view("u1"))

    def _feed_whole(self, value: Any, kind: type, depth: int) -> None:
        self._add(_title(kind))
        self._reading.kinds.add(kind)
        known = self._kind_of(value)
        if known is not None and known.feed is not None:
            known.feed(value, self._reading)
        elif known is not None:
            self._name_uses(kind, object.__getattribute__(value, "__dict__").items())
            self._feed_attributes(fitted_attributes(value), depth)
        else:
            self._feed_pickled(value, kind, depth)

    def _feed_attributes(self, attributes: Sequence[tuple[str, Any]], depth: int) -> None:
        self._add(f"dict{len(attributes)}")
        for name, item in sorted(attributes):
            self._add(canonical_value(name))
            self._part(name, item, depth)

    def _feed_pickled(self, value: Any, kind: type, depth: int) -> None:
        """Add the pickled form. Compiled classes such as trees offer no other."""
        pickled = _by_attributes(value, kind) if self._is_of_host(kind) else _pickled(value, kind)
        if isinstance(pickled, str):  # the name of a global in its module
            self._add(f"{getattr(value, '__module__', '')}.{pickled}")
            return
        made_of, *states = pickled[1:3]
        self._add(f"list{1 + len(states)}")
        self._feed(made_of, depth + 1)
        for state in states:
            if type(state) is dict and all(type(name) is str for name in state):
                self._name_uses(kind, state.items())
                kept = [(name, item) for name, item in state.items() if name not in _NOT_FITTED]
                self._feed_attributes(drop_uses(kind, kept), depth)
            else:
                self._feed(_without_counters(state, kind), depth + 1)

    def _name_uses(self, kind: type, attributes: Iterable[tuple[str, Any]]) -> None:
        for name, reason in name_uses(kind, attributes):
            self._reading.miss(f"{self._path()}.{name}", reason)

    def _is_of_host(self, kind: type) -> bool:
        """Tell whether pickling an object of this class would run the user's code."""
        if kind not in self._runs_host_code:
            members = [copyreg.dispatch_table.get(kind)]
            members += [
                next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
                for name in _PICKLING
            ]
            functions = (plain_function(member) for member in members)
            self._runs_host_code[kind] = any(
                function is not None and not is_of_library(function) for function in functions
            )
        return self._runs_host_code[kind]


def _pickled(value: Any, kind: Any) -> Any:
    """Return the pickled form of an object: class, arguments and state."""
    reducer: Any = copyreg.dispatch_table.get(kind)
    return kind.__reduce_ex__(value, 2) if reducer is None else reducer(value)


def _by_attributes(value: Any, kind: type) -> tuple[object, ...]:
    """Return the form in which an object would be pickled, without running code of its class."""
    base: Any = next((base for base in _PLAIN if issubclass(kind, base)), None)
    made_of = [kind]
    if base is tuple:
        made_of += tuple.__iter__(value)
    elif base is not None:
        made_of += base.__getnewargs__(value)
    return None, tuple(made_of), dict(attributes_of(value)) or None


def _without_counters(state: Any, kind: type) -> Any:
    """Return the state of a neighbours tree as it was before the first query."""
    if not any(base.__name__.startswith("BinaryTree") for base in kind.__mro__):
        return state
    numbers = [*state]
    numbers[_TREE_COUNTERS] = [0] * len(numbers[_TREE_COUNTERS])
    return tuple(numbers)


def _array_class(kind: type) -> type | None:
    """Return NumPy's array class if `kind` is that class or a subclass, else None."""
    for base in kind.__mro__:
        if base.__name__ == "ndarray" and base.__module__ == "numpy":
            return base
    return None


def _typed(key: object) -> str:
    return f"{type(key).__name__}:{key!s}"


def _title(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
