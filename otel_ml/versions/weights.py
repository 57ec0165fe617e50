"""Computes digests of model weights in a background thread.

`WEIGHT_KINDS` lists the supported libraries. Classes are recognised by the names of their bases, so
nothing is imported. An object is read once, and again when its mark changes: the identities of
fitted attributes, the version counters of tensors, the number of trees.
"""

import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from otel_ml.errors import report_named, untrusted
from otel_ml.process import END, renew_in_child
from otel_ml.versions.pending_runs import PENDING_RUNS, Job
from otel_ml.versions.state import (
    LEAVES,
    Gap,
    Reading,
    ReadingStopped,
    StateWalk,
    WeightKind,
    fitted_attributes,
)
from otel_ml.versions.tensors import TensorReader
from otel_ml.worker import Worker

_READ_TRIES: Final = 3
_MOST_KNOWN: Final = 256
_NESTED: Final = 16
_CHUNK_BYTES: Final = 1 << 20
_UNREADABLE: Final = "unreadable"
_SMALL_BYTES: Final = 1024 * 1024
# checks of marks may take at most 1/100 of the time
_SHARE: Final = 100
_MARKED_ELEMENTS: Final = 16  # number of array elements in a mark


@dataclass(frozen=True, slots=True)
class Weights:
    """The hash of a model object's weights, and what was found in the object.

    Attributes:
        digest: Hash of the weights, 16 hex digits.
        gaps: Parts that could not be read. A change in such a part alone creates no new version.
        functions: The user's own functions in the object, by path such as ``.steps[0]``.
        kinds: Classes of all objects in it.
    """

    digest: str
    gaps: tuple[Gap, ...] = ()
    functions: Mapping[str, Callable[[], FunctionType | None]] = field(
        default_factory=dict, compare=False
    )
    kinds: frozenset[type] = frozenset()

    @property
    def is_unreadable(self) -> bool:
        """Whether no part could be read."""
        return self.digest == _UNREADABLE


class WeightsJob(Job):
    """The background task that hashes the weights of a model object."""

    def __init__(self, value: object, kind: WeightKind) -> None:
        super().__init__()
        self.value: object = value
        self.kind = kind
        self.mark: object = None  # mark of the object when it was read


class WeightsPending(Exception):
    """The version cannot be computed yet, because model weights are still being hashed."""

    def __init__(self, jobs: list[WeightsJob]) -> None:
        super().__init__("weights are being read")
        self.jobs = jobs


def marks_of(jobs: Sequence[Job]) -> list[object]:
    """Return the mark of each job's model object.

    A mark is a value that changes when the object is fitted or loaded again, see `WeightKind`. If
    the object was already hashed, its mark from before the hashing is returned. So a change during
    the hashing is noticed.
    """
    return [
        job.mark if job.done.is_set() else _mark_of(job.value, job.kind)
        for job in jobs
        if isinstance(job, WeightsJob)
    ]


def kind_of(value: object) -> WeightKind | None:
    """Return how to read the weights of a model object; None if its library is not supported."""
    for base in type(value).__mro__:
        weight_kind = WEIGHT_KINDS.get((base.__module__.partition(".")[0], base.__name__))
        if weight_kind is not None:
            return weight_kind
    return None


def modules_of(value: Any) -> Iterable[object]:
    """Return the submodules of a PyTorch model; empty for other objects."""
    kind = kind_of(value)
    return value.modules() if kind is not None and kind.mark is _mark_torch else ()


def weights_of(value: object, kind: WeightKind) -> Weights | WeightsJob:
    """Return the hash of an object's weights, or the task that is computing it."""
    known = _known.get(id(value))
    if known is not None and known.holds(value):
        if not isinstance(known.found, WeightsJob) and known.mark == _mark_of(value, kind):
            return known.found
        if isinstance(known.found, WeightsJob) and not known.found.done.is_set():
            return known.found
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    if kind.is_small is not None and kind.is_small(value):
        mark, found = read(value, kind)
        _known[id(value)] = _Known(_reference(value), mark, found)
        return found
    job = WeightsJob(value, kind)
    if END.has_begun:  # nobody waits for it any more
        return job
    # if two threads are here at the same time, the object is read twice
    _known[id(value)] = _Known(_reference(value), None, job)
    _jobs.append(job)
    if _reader.is_asleep and not _reader.wake():
        raise RuntimeError("cannot start the thread that reads weights")
    return job


class WeightMarks:
    """Detects whether the model objects that a function uses were replaced or fitted again.

    Args:
        finds: Functions without arguments. Each returns model objects that the traced function uses
            at the moment.
    """

    def __init__(self, finds: Sequence[Callable[[], Iterable[object]]]) -> None:
        self._finds = finds
        self._marks = self._mark_all()
        self._next_ns = 0

    def are_other(self, now_ns: int) -> bool:
        """Return whether a model was replaced or fitted again since this `WeightMarks` was made.

        After a slow check, there is no new check for a while. For example, after a check that took
        10 ms, calls in the next second return False without a check.
        """
        if now_ns < self._next_ns:
            return False
        begun_ns = time.perf_counter_ns()
        is_other = self._mark_all() != self._marks
        self._next_ns = now_ns + _SHARE * (time.perf_counter_ns() - begun_ns)
        return is_other

    def _mark_all(self) -> list[object]:
        marks: list[object] = []
        for find in self._finds:
            for value in find():
                kind = kind_of(value)
                marks.append((id(value), None if kind is None else _mark_of(value, kind)))
        return marks


@dataclass(frozen=True, slots=True)
class _Known:
    """The known state of an object."""

    reference: Callable[[], object]
    mark: object
    found: Weights | WeightsJob

    def holds(self, value: object) -> bool:
        """Tell whether this is still the same object, not another one with the same id()."""
        return self.reference() is value


def _mark_of(value: object, kind: WeightKind) -> object:
    """Return an object's mark; None if it raises."""
    with untrusted:
        return kind.mark(value)
    return None


def _reference(value: object) -> Callable[[], object]:
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


def _read_all() -> None:
    """Process the jobs, in a thread that starts with the first one."""
    while not _reader.is_stopping:
        _reader.rest(lambda: _jobs)
        while _jobs:
            job = _jobs.popleft()
            try:
                mark, weights = read(job.value, job.kind, _stop_at_end)
            except ReadingStopped:
                return
            _known[id(job.value)] = _Known(_reference(job.value), mark, weights)
            job.value, job.mark = None, mark
            job.done.set()
            del job
            PENDING_RUNS.send_ready()


def _stop_at_end() -> None:
    """Stop reading if the process ends. A thread inside PyTorch would abort the process then."""
    if _reader.is_stopping:
        raise ReadingStopped


def read(
    value: object, kind: WeightKind, check: Callable[[], object] = lambda: None
) -> tuple[object, Weights]:
    """Hash the weights of an object.

    Returns the object's mark (see `WeightKind`) and the hash. Raises only what `check` raises.
    """
    mark: object = None
    try:
        for _ in range(_READ_TRIES):
            mark, reading = kind.mark(value), Reading(check)
            if kind.feed is None:
                StateWalk(reading, kind_of).feed(value)
            else:
                kind.feed(value, reading)
            if kind.mark(value) == mark:  # not fitted while it was read
                break
        functions = {path: weakref.ref(function) for path, function in reading.functions.items()}
        kinds = frozenset(reading.kinds)
        return mark, Weights(reading.digest(), tuple(reading.gaps), functions, kinds)
    except ReadingStopped:
        raise
    except BaseException as error:  # noqa: BLE001 - code of third-party libraries, see errors.py
        report_named("weights", error)
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        gap = Gap("", f"a `{name}`, which cannot be read ({type(error).__name__})")
        return mark, Weights(_UNREADABLE, (gap,))


def _restart_in_child() -> None:
    _jobs.clear()
    _known.clear()


# Objects in general: scikit-learn estimators and everything inside them.


def _mark_estimator(value: Any, depth: int = 0) -> object:
    marks: list[object] = []
    for name, item in fitted_attributes(value):
        marks.append((name, item if type(item) in LEAVES else id(item)))
        parts = item if type(item) in (list, tuple) and len(item) <= _NESTED else [item]
        for part in parts:
            for entry in part if type(part) is tuple else [part]:
                kind = None if type(entry) in LEAVES or depth > _NESTED else kind_of(entry)
                if kind is not None:
                    is_estimator = kind.mark is _mark_estimator
                    marks.append(
                        _mark_estimator(entry, depth + 1) if is_estimator else kind.mark(entry)
                    )
    return tuple(marks)


def _mark_array(array: Any) -> object:
    """Return address and a few elements of an array.

    A new array may reuse the address of an old one.
    """
    few = array.flat[:: max(1, array.size // _MARKED_ELEMENTS)]
    return array.__array_interface__["data"], None if array.dtype.hasobject else few.tobytes()


# Tensors.


def _mark_torch(module: Any) -> object:
    return tuple((part.data_ptr(), part._version) for part in module.parameters())


def _is_small(module: Any) -> bool:
    """Tell whether a module is read in less than a millisecond, before its weights change again."""
    size = 0
    for part in module.parameters():
        size += part.numel() * part.element_size()
        if size > _SMALL_BYTES or part.device.type != "cpu":
            return False
    return True


def _feed_torch(module: Any, reading: Reading) -> None:
    walk = StateWalk(reading, kind_of)
    for name, part in module.named_modules():
        walk.feed([name, type(part).__qualname__, dict(_settings(part))])
    config: Any = getattr(module, "config", None)
    if hasattr(config, "to_json_string"):  # Hugging Face models
        reading.update(config.to_json_string().encode())
    reader = TensorReader(reading.check)
    for name, tensor in sorted(module.state_dict().items()):
        reading.update(f"{name}:".encode())
        if hasattr(tensor, "data_ptr"):
            _feed_tensor(tensor, reading, reader)
        else:
            walk.feed(tensor)


def _settings(part: Any) -> Iterator[tuple[str, object]]:
    for name, item in vars(part).items():
        plain = item if type(item) is tuple else (item,)
        if not name.startswith("_") and name != "training" and {*map(type, plain)} <= LEAVES:
            yield name, item


def _feed_tensor(tensor: Any, reading: Reading, reader: TensorReader) -> None:
    reading.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    if str(tensor.layout) != "torch.strided":
        coalesced = tensor.to_sparse_coo().coalesce()
        _feed_tensor(coalesced.indices(), reading, reader)
        _feed_tensor(coalesced.values(), reading, reader)
        return
    if tensor.numel():
        reading.update(reader.read(tensor))


# Boosters, sessions, pipelines.


def _feed_onnx(session: Any, reading: Reading) -> None:
    given = getattr(session, "_model_bytes", None)
    if isinstance(given, bytes):
        reading.update(given)
        return
    with Path(session._model_path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            reading.update(chunk)


def _feed_pipeline(pipeline: Any, reading: Reading) -> None:
    reading.update(str(pipeline.task).encode())
    tokenizer = getattr(pipeline, "tokenizer", None)
    reading.update(
        f"{type(tokenizer).__qualname__}:{getattr(tokenizer, 'name_or_path', '')}".encode()
    )
    StateWalk(reading, kind_of).feed(pipeline.model)


_ESTIMATOR: Final = WeightKind(_mark_estimator)


def _feed_catboost(model: Any, reading: Reading) -> None:
    """Read the trees of a CatBoost model, without the time and ID of its training."""
    reading.update(repr(sorted(model.get_params().items(), key=str)).encode())
    if model.tree_count_:
        reading.update(model.get_leaf_values().tobytes())
        reading.update(model.get_leaf_weights().tobytes())
        reading.update(repr((model.get_borders(), model.get_scale_and_bias())).encode())


def _mark_keras(model: Any) -> object:
    """Return what changes with each training step. A prediction may copy the arrays."""
    steps = getattr(getattr(model, "optimizer", None), "iterations", None)
    return len(model.variables), None if steps is None else int(steps)


def _feed_keras(model: Any, reading: Reading) -> None:
    for layer in model.layers:
        with untrusted:  # a user's layer may have no configuration
            config = {key: value for key, value in layer.get_config().items() if key != "name"}
            reading.update(repr((type(layer).__qualname__, config)).encode())
    for weight in model.get_weights():
        reading.update(str((weight.dtype, weight.shape)).encode())
        reading.update(weight.tobytes())


WEIGHT_KINDS: Final[Mapping[tuple[str, str], WeightKind]] = {
    ("sklearn", "BaseEstimator"): _ESTIMATOR,
    ("xgboost", "XGBModel"): _ESTIMATOR,
    ("lightgbm", "LGBMModel"): _ESTIMATOR,
    ("torch", "Module"): WeightKind(_mark_torch, _feed_torch, _is_small),
    ("xgboost", "Booster"): WeightKind(
        lambda entry: entry.num_boosted_rounds(),
        lambda one, entry: entry.update(one.save_raw(raw_format="json")),
    ),
    ("lightgbm", "Booster"): WeightKind(
        lambda entry: entry.current_iteration(),
        lambda one, entry: entry.update(one.model_to_string().encode()),
    ),
    ("catboost", "CatBoost"): WeightKind(
        lambda entry: (id(entry._object), entry.tree_count_), _feed_catboost
    ),
    ("keras", "Model"): WeightKind(_mark_keras, _feed_keras),
    ("onnxruntime", "InferenceSession"): WeightKind(id, _feed_onnx),
    ("transformers", "Pipeline"): WeightKind(
        lambda entry: (id(entry.model), _mark_torch(entry.model)), _feed_pipeline
    ),
    ("numpy", "ndarray"): WeightKind(_mark_array),
}
_jobs: Final[deque[WeightsJob]] = deque()
_reader: Final = Worker("otel-ml-weights", _read_all)
_known: Final[dict[int, _Known]] = {}
renew_in_child(_restart_in_child)
