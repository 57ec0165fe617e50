"""The weights of model objects as digests, read on a thread of our own.

Which libraries are known stands in `KINDS`; a class is told by the names of its bases, and nothing
is imported for it. An object is read once, and again when its mark is another one: the identities
of what `fit` sets, the counters of tensors, the number of trees.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, Protocol

from otel_ml.errors import report
from otel_ml.process import renew_in_child
from otel_ml.versions.canonical import canonical_value
from otel_ml.versions.held import HELD, Job

_LEAVES: Final = frozenset({str, int, float, bool, bytes, complex, type(None)})
_TRIES: Final = 3
_MOST_KNOWN: Final = 256
_MAX_DEPTH: Final = 64
_NESTED: Final = 16
_CHUNK_BYTES: Final = 1 << 20
_UNREADABLE: Final = "unreadable"
# How a library works, not what it answers.
_SKIPPED: Final = frozenset({"n_jobs", "verbose", "memory", "random_state", "_repr_html_"})
# Looking at a mark costs at most this share of the time.
_SHARE: Final = 100
_GLANCE: Final = 16  # so many elements of an array


class Hash(Protocol):
    """What takes bytes, as the hashes of `hashlib` do."""

    def update(self, data: Any, /) -> None:
        """Take bytes."""


@dataclass(frozen=True, slots=True)
class WeightKind:
    """A kind of model object.

    Attributes:
        mark: Returns what changes when it is fitted or loaded anew; cheap.
        feed: Gives its weights to a hash; takes as long as there are bytes.
    """

    mark: Callable[[Any], object]
    feed: Callable[[Any, Hash], None]


class WeightsJob(Job):
    """The reading of one object's weights."""

    def __init__(self, value: object, kind: WeightKind) -> None:
        super().__init__()
        self.value: object = value
        self.kind = kind


class WeightsPending(Exception):
    """Weights that a definition names are still being read."""

    def __init__(self, jobs: list[WeightsJob]) -> None:
        super().__init__("weights are being read")
        self.jobs = jobs


def kind_of(value: object) -> WeightKind | None:
    """Return how a model object is read; None for an object of no library that is known."""
    for base in type(value).__mro__:
        found = KINDS.get((base.__module__.partition(".")[0], base.__name__))
        if found is not None:
            return found
    return None


def modules_of(value: Any) -> Iterable[object]:
    """List the modules of a model of torch; nothing of any other."""
    kind = kind_of(value)
    return value.modules() if kind is not None and kind.mark is _mark_torch else ()


def digest_of(value: object, kind: WeightKind) -> str | WeightsJob:
    """Return the digest of an object's weights, or the job that reads it now."""
    with _lock:
        known = _known.get(id(value))
        if known is not None and known.holds(value):
            if not isinstance(known.found, WeightsJob) and known.mark == kind.mark(value):
                return known.found
            if isinstance(known.found, WeightsJob) and not known.found.done.is_set():
                return known.found
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        job = WeightsJob(value, kind)
        _known[id(value)] = _Known(_reference(value), None, job)
    _worker.put(job)
    return job


class WeightMarks:
    """The marks of the objects that one definition names, to see when they are others.

    Args:
        finds: Each lists the objects that one name leads to now.
    """

    def __init__(self, finds: Sequence[Callable[[], Iterable[object]]]) -> None:
        self._finds = finds
        self._marks = self._look()
        self._next_ns = 0

    def are_other(self, now_ns: int) -> bool:
        """Tell whether an object is another one, or was fitted; looks seldom when that is slow."""
        if now_ns < self._next_ns:
            return False
        begun_ns = time.perf_counter_ns()
        is_other = self._look() != self._marks
        self._next_ns = now_ns + _SHARE * (time.perf_counter_ns() - begun_ns)
        return is_other

    def _look(self) -> list[object]:
        marks: list[object] = []
        for find in self._finds:
            for value in find():
                kind = kind_of(value)
                marks.append((id(value), None if kind is None else kind.mark(value)))
        return marks


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of an object that was asked about."""

    reference: Callable[[], object]
    mark: object
    found: str | WeightsJob

    def holds(self, value: object) -> bool:
        """Tell whether it is that object, and not another one in its place."""
        return self.reference() is value


def _reference(value: object) -> Callable[[], object]:
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


class _Worker:
    """The thread that reads weights; there is none before the first object."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[WeightsJob] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, job: WeightsJob) -> None:
        """Let an object be read."""
        self._jobs.put(job)
        with _lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._work, name="otel-ml-weights", daemon=True
                )
                self._thread.start()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            mark, digest = read(job.value, job.kind)
            with _lock:
                _known[id(job.value)] = _Known(_reference(job.value), mark, digest)
            job.value = None
            job.done.set()
            del job
            HELD.look()


def read(value: object, kind: WeightKind) -> tuple[object, str]:
    """Read the weights of an object: its mark, and the digest; never raises."""
    mark: object = None
    try:
        for _ in range(_TRIES):
            mark, found = kind.mark(value), sha256()
            kind.feed(value, found)
            if kind.mark(value) == mark:  # nobody has fitted it meanwhile
                break
        return mark, found.hexdigest()[:16]
    except BaseException as error:  # noqa: BLE001 - code of the host's libraries, see errors.py
        report("weights", error)
        return mark, _UNREADABLE


def _restart_in_child() -> None:
    global _lock, _worker  # the parent's may be held by threads that are not here
    _lock, _worker = threading.RLock(), _Worker()
    _known.clear()


# --- Objects in general: estimators of scikit-learn, and what stands in them.


def _mark_estimator(value: Any, depth: int = 0) -> object:
    marks: list[object] = []
    for name, item in sorted(vars(value).items()):
        marks.append((name, item if type(item) in _LEAVES else id(item)))
        parts = item if type(item) in (list, tuple) and len(item) <= _NESTED else [item]
        for part in parts:
            for one in part if type(part) is tuple else [part]:
                kind = None if type(one) in _LEAVES or depth > _NESTED else kind_of(one)
                if kind is not None:
                    is_estimator = kind.mark is _mark_estimator
                    marks.append(
                        _mark_estimator(one, depth + 1) if is_estimator else kind.mark(one)
                    )
    return tuple(marks)


def _mark_array(array: Any) -> object:
    """Look at where an array is and at a few elements: a new one may take the place of an old."""
    few = array.flat[:: max(1, array.size // _GLANCE)]
    return array.__array_interface__["data"], None if array.dtype.hasobject else few.tobytes()


def _feed_object(value: Any, found: Hash) -> None:
    _PartWalk(found).feed(value, 0)


class _PartWalk:
    """Feeds a tree of objects, each once."""

    def __init__(self, found: Hash) -> None:
        self._found = found
        self._seen: dict[int, object] = {}  # the objects too: another one may take its place

    def feed(self, value: Any, depth: int) -> None:
        """Feed one object and what it holds."""
        kind = type(value)
        if kind in _LEAVES:
            self._say(canonical_value(value))
            return
        if id(value) in self._seen or depth > _MAX_DEPTH:
            self._say("again")
            return
        self._seen[id(value)] = value
        if not self._feed_data(value, kind, depth):
            self._feed_whole(value, kind, depth)

    def _say(self, text: str) -> None:
        self._found.update(f"{text};".encode("utf-8", "replace"))

    def _feed_data(self, value: Any, kind: type, depth: int) -> bool:
        root = kind.__module__.partition(".")[0]
        if issubclass(kind, Mapping):
            self._say(f"{kind.__name__}{len(value)}")
            for key in sorted(value, key=lambda key: f"{type(key).__name__}:{key!s}"):
                self.feed(key, depth + 1)
                self.feed(value[key], depth + 1)
        elif kind in (list, tuple, set, frozenset):
            items = sorted(value, key=repr) if kind in (set, frozenset) else value
            self._say(f"{kind.__name__}{len(value)}")
            for item in items:
                self.feed(item, depth + 1)
        elif issubclass(kind, FunctionType | MethodType | BuiltinFunctionType | type):
            subject = value if hasattr(value, "__qualname__") else kind
            self._say(f"{subject.__module__}.{subject.__qualname__}")
        elif root == "numpy" and kind.__name__ == "ndarray":
            self._feed_array(value, depth)
        elif root == "numpy" and hasattr(value, "item") and hasattr(value, "dtype"):
            self._say(f"{value.dtype}:{value.item()!r}")
        elif root == "numpy" and kind.__name__ in {"RandomState", "Generator"}:
            self._say(kind.__name__)
        else:
            return False
        return True

    def _feed_array(self, value: Any, depth: int) -> None:
        self._say(f"{value.dtype.descr}{value.shape}")
        if value.dtype.hasobject:
            self.feed(value.tolist(), depth + 1)
        elif value.dtype.names is not None:  # what lies between the fields is no part of them
            for name in value.dtype.names:
                self._feed_array(value[name], depth + 1)
        elif value.size:
            order = value if value.flags.c_contiguous else value.copy(order="C")
            self._found.update(order.reshape(-1).view("u1"))

    def _feed_whole(self, value: Any, kind: type, depth: int) -> None:
        self._say(f"{kind.__module__}.{kind.__qualname__}")
        known = kind_of(value)
        if known is not None and known.feed is not _feed_object:
            known.feed(value, self._found)
            return
        if hasattr(value, "__dict__") and known is not None:
            state: object = vars(value)
        else:  # of compiled classes, such as trees, what they would be pickled as
            try:
                state = list(value.__reduce_ex__(2)[1:3])
            except TypeError:  # a lock, a handle: no weights
                return
        if isinstance(state, dict):
            state = {name: item for name, item in state.items() if name not in _SKIPPED}
        self.feed(state, depth + 1)


# --- Tensors.


def _mark_torch(module: Any) -> object:
    return tuple((part.data_ptr(), part._version) for part in module.parameters())


def _feed_torch(module: Any, found: Hash) -> None:
    walk = _PartWalk(found)
    for name, part in module.named_modules():
        walk.feed([name, type(part).__qualname__, dict(_settings(part))], 0)
    config: Any = getattr(module, "config", None)
    if hasattr(config, "to_json_string"):  # of Hugging Face
        found.update(config.to_json_string().encode())
    for name, tensor in sorted(module.state_dict().items()):
        found.update(f"{name}:".encode())
        if hasattr(tensor, "data_ptr"):
            _feed_tensor(tensor, found)
        else:
            walk.feed(tensor, 0)


def _settings(part: Any) -> Iterator[tuple[str, object]]:
    for name, item in vars(part).items():
        plain = item if type(item) is tuple else (item,)
        if not name.startswith("_") and name != "training" and {*map(type, plain)} <= _LEAVES:
            yield name, item


def _feed_tensor(tensor: Any, found: Hash) -> None:
    found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    if str(tensor.layout) != "torch.strided":
        coalesced = tensor.to_sparse_coo().coalesce()
        _feed_tensor(coalesced.indices(), found)
        _feed_tensor(coalesced.values(), found)
        return
    whole = tensor.detach().cpu().contiguous()
    count = whole.numel() * whole.element_size()
    if count:
        import ctypes  # only tensors need it

        memory = (ctypes.c_char * count).from_address(whole.data_ptr())
        view = memoryview(memory)
        for start in range(0, count, _CHUNK_BYTES):
            found.update(view[start : start + _CHUNK_BYTES])


# --- Boosters, sessions, pipelines.


def _feed_onnx(session: Any, found: Hash) -> None:
    given = getattr(session, "_model_bytes", None)
    if isinstance(given, bytes):
        found.update(given)
        return
    with Path(session._model_path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)


def _feed_pipeline(pipeline: Any, found: Hash) -> None:
    found.update(str(pipeline.task).encode())
    tokenizer = getattr(pipeline, "tokenizer", None)
    found.update(
        f"{type(tokenizer).__qualname__}:{getattr(tokenizer, 'name_or_path', '')}".encode()
    )
    _PartWalk(found).feed(pipeline.model, 0)


_ESTIMATOR: Final = WeightKind(_mark_estimator, _feed_object)
KINDS: Final[Mapping[tuple[str, str], WeightKind]] = {
    ("sklearn", "BaseEstimator"): _ESTIMATOR,
    ("xgboost", "XGBModel"): _ESTIMATOR,
    ("lightgbm", "LGBMModel"): _ESTIMATOR,
    ("torch", "Module"): WeightKind(_mark_torch, _feed_torch),
    ("xgboost", "Booster"): WeightKind(
        lambda one: one.num_boosted_rounds(),
        lambda one, found: found.update(one.save_raw(raw_format="json")),
    ),
    ("lightgbm", "Booster"): WeightKind(
        lambda one: one.current_iteration(),
        lambda one, found: found.update(one.model_to_string().encode()),
    ),
    ("onnxruntime", "InferenceSession"): WeightKind(id, _feed_onnx),
    ("transformers", "Pipeline"): WeightKind(
        lambda one: (id(one.model), _mark_torch(one.model)), _feed_pipeline
    ),
    ("numpy", "ndarray"): WeightKind(_mark_array, _feed_object),
}
_lock = threading.RLock()
_worker = _Worker()
_known: Final[dict[int, _Known]] = {}
renew_in_child(_restart_in_child)
