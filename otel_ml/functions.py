"""The configuration of a traced function: options, argument binding, tags, judges and versions."""

import functools
import inspect
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypedDict, get_args

from otel_ml import attributes as names
from otel_ml.arguments import (
    NAME_CHARS,
    check_callable,
    check_flag,
    check_mapping,
    check_number,
    check_one_of,
    check_optional_text,
    check_text,
    find_similar,
    invalid,
)
from otel_ml.capture.description import is_placeholder
from otel_ml.capture.kinds import root_of
from otel_ml.capture.snapshot import Taking
from otel_ml.errors import quiet, reraise_host_error, untrusted, warn_once
from otel_ml.late import late
from otel_ml.recorder import SEND_EVERY_NS, Recorder
from otel_ml.spans import Attributes
from otel_ml.tags import Value, tags_of
from otel_ml.versions.pending_runs import Job
from otel_ml.versions.structure import (
    DYNAMIC,
    flat_shape,
    output_structure,
    shape,
    structure_digest,
)
from otel_ml.versions.version_on import PARTS, Params, Part, check_version_on

VARIABLE: Final = "OTEL_ML_CAPTURE"
LEFT_OUT: Final = "off"

Capture = Literal["all", "inputs", "outputs", "off"]

_MODES: Final = get_args(Capture)


class CaptureMode(NamedTuple):
    """Whether inputs and outputs are recorded."""

    inputs: bool
    outputs: bool


def capture_mode(given: str | None) -> CaptureMode:
    """Decide whether inputs and outputs are recorded, from the option ``capture``.

    Args:
        given: The option: ``all``, ``inputs``, ``outputs`` or ``off``. If it is None, the
            environment variable ``OTEL_ML_CAPTURE`` decides. Its default is ``all``. If it has an
            unknown value, nothing is recorded.

    Raises:
        ValueError: The given mode is unknown.
    """
    if given is not None:
        check_one_of("capture", given, _MODES)
    mode = given or os.environ.get(VARIABLE, "").strip().lower() or "all"
    return CaptureMode(inputs=mode in {"all", "inputs"}, outputs=mode in {"all", "outputs"})


_ALL: Final = CaptureMode(inputs=True, outputs=True)

if TYPE_CHECKING:
    from otel_ml import pickling
    from otel_ml.genai import generative
    from otel_ml.judges.judge import Judge
    from otel_ml.versions import definition as definitions
    from otel_ml.versions import weights
else:
    definitions = late("versions.definition")
    pickling = late("pickling")
    weights = late("versions.weights")
    generative = late("genai.generative")

_STRUCTURES: Final = 8
_SHAPES: Final = 256
_DEFINING_S: Final = 1.0  # maximum wait for another call that computes the version


class Options(TypedDict, total=False):
    """Keyword options of `Client.trace` and `Client.assess`."""

    name: str | None
    """Name of the model. Default: the function's qualified name; for a bound method, the class of
    its object and the method's name."""
    kind: str
    """Kind of run: model, chain, tool, retriever, embedding, agent or training, or a GenAI
    operation such as chat, embeddings, execute_tool, invoke_agent or retrieval. Default: model."""
    tags: Mapping[str, object] | None
    """Tags to set on every run."""
    params: Params | None
    """Parameters that are part of the model version. Pass a mapping, or a function that returns
    one. The function is called once, after the first call has returned."""
    version_on: Collection[Part]
    """Parts of the function whose change creates a new version: source, signature, params, helpers,
    constants, output. Default: all of them."""
    capture: Capture | None
    """What to record: ``all``, ``inputs``, ``outputs`` or ``off``. Default: the environment
    variable ``OTEL_ML_CAPTURE``."""
    columns: Collection[str] | None
    """Columns of tables to record. The others never leave your process. Default: all columns."""
    provider: str | None
    """For GenAI operations: who serves the model, such as ``openai``."""
    model: str | None
    """For GenAI operations: the provider's model name, if it is always the same."""


DEFAULTS: Final[Mapping[str, Any]] = {"kind": "model", "version_on": PARTS}


def check_options(method: str, options: Options, more: Sequence[str] = ()) -> None:
    """Raise an error if an option that the user passed to `trace` or `assess` is invalid.

    Args:
        method: Name of the method that the user called, ``trace`` or ``assess``.
        options: The options to check, which both methods have.
        more: Names of options that only this method has. They are not checked here, but suggested
            if the user misspells an option.

    Raises:
        ValueError: An option has an invalid value. The message says which values are valid.
        TypeError: There is no such option.
    """
    given: dict[str, Any] = {**dict.fromkeys(Options.__annotations__), **DEFAULTS, **options}
    for key in given.keys() - Options.__annotations__.keys():
        near = find_similar(key, [*Options.__annotations__, *more])
        hint = f"; did you mean {near}?" if near else ""
        raise TypeError(f"{method}() got an unexpected keyword argument {key!r}{hint}")
    if given["name"] is not None:
        check_text("name", given["name"])
    check_optional_text("provider", given["provider"])
    check_optional_text("model", given["model"])
    if given["tags"] is not None:
        check_mapping("tags", given["tags"], "a mapping of names to values, or None")
    columns = given["columns"]
    if columns is not None and (
        not issubclass(type(columns), list | tuple | set | frozenset)
        or not all(type(column) is str for column in columns)
    ):
        raise invalid("columns", columns, "a list of names of columns, or None")
    params = given["params"]
    if params is not None and not issubclass(type(params), Mapping):
        check_callable("params", params, "a mapping, a function that returns one, or None")
    check_version_on(given["version_on"])
    capture_mode(given["capture"])
    _check_kind(
        given["kind"], is_served=given["provider"] is not None or given["model"] is not None
    )


def _check_kind(kind: Any, *, is_served: bool) -> None:
    operations = sorted(names.OPERATIONS)
    if not issubclass(type(kind), str) or len(kind) > NAME_CHARS:
        raise invalid("kind", kind, f"one of {sorted(names.KINDS)} or of {operations}")
    if kind in names.OPERATIONS:
        return
    if is_served:
        raise ValueError(
            f"Invalid kind {kind!r} with a provider or model: expected one of {operations}"
        )
    if kind not in names.KINDS:
        raise ValueError(
            f"Invalid kind {kind!r}: expected one of {sorted(names.KINDS)} or of {operations}"
        )


@dataclass(frozen=True)
class Judging:
    """The judges that score the runs of a traced function; see `Client.assess`.

    Attributes:
        judges: The judges. Each needs a different name.
        inline: Whether they score during the call. Otherwise they score in the background.
        sample: Share of the runs that they score, from 0 to 1.

    Raises:
        ValueError: An option is invalid. The message says which values are valid.
    """

    judges: "tuple[Judge, ...]" = ()
    inline: bool = False
    sample: float = 1.0

    def __post_init__(self) -> None:
        check_flag("inline", self.inline)
        check_number("sample", self.sample, 0, 1)
        called = [judge.name for judge in self.judges]
        if len(set(called)) < len(called):
            raise ValueError(f"Invalid judges {called!r}: expected a different name for each")
        for judge in self.judges:
            if judge.pairwise:
                raise ValueError(
                    f"Invalid judge {judge.name!r}: expected a judge that is not pairwise. "
                    "Pairwise judges work only in experiments with a baseline"
                )

    def for_pickle(self) -> "Judging":
        """Return a copy without the judges that cannot be pickled. Log their names once."""
        judges = []
        for judge in self.judges:
            if pickling.can_pickle(judge):
                judges.append(judge)
            else:
                warn_once(
                    "Judge %s cannot be pickled, so it does not score calls in other processes",
                    judge.name,
                )
        return replace(self, judges=tuple(judges))

    def check_function(self, function: Callable[..., Any]) -> None:
        """Raise an error if a judge needs an input that this function does not have.

        For example, a judge whose rubric has the parameter ``question`` can only score functions
        with a parameter of that name.

        Raises:
            ValueError: A required parameter of a rubric is not a parameter of the function.
        """
        parameters = None
        with untrusted:  # a builtin may have no signature
            parameters = inspect.signature(function).parameters if self.judges else None
        if parameters is None or any(
            parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
        ):
            return
        for judge in self.judges:
            judge._check_inputs(parameters)


UNJUDGED: Final = Judging()


class TracedFunction:
    """A traced function with its settings: name, tags, judges, and what to record.

    It also computes the function's model version.

    Args:
        recorder: Records the calls of the function.
        function: The user's function.
        options: Options that `check_options` accepted.
        judging: The judges that score its calls.
    """

    def __init__(
        self,
        recorder: Recorder,
        function: Callable[..., Any],
        options: Options,
        judging: Judging = UNJUDGED,
    ) -> None:
        self.recorder = recorder
        self.function = function
        self.name = options.get("name") or _model_name(function)
        # keep the name, so that copies of the function have it too
        self.options: Options = {**options, "name": self.name}
        self.judging = judging
        self.judges = judging.judges
        self.tags = recorder.redaction.values(tags_of(options.get("tags") or {}))
        self.capture = capture_mode(options.get("capture"))
        self.version_on = frozenset(options.get("version_on", PARTS))
        self.bind = make_binder(function)
        columns = options.get("columns")
        self.taking = Taking(
            root_of(function.func if type(function) is functools.partial else function),
            None if columns is None else frozenset(columns),
        )
        kind = options.get("kind", "model")
        self.start_attributes: dict[str, Value] = {
            names.PROJECT: recorder.project,
            names.KIND: names.OPERATIONS.get(kind, kind),
            names.MODEL_NAME: self.name,
        }
        # True if calls have only inputs, an output and a version, so that they can take the fast
        # path
        self.is_plain = not (self.judges or self.tags) and self.capture == _ALL
        self.span_name = self.name
        self.generative: generative.Generative | None = None
        if kind in names.OPERATIONS:
            self._generate(kind)
        self._params: Mapping[str, object] | None = None
        self._definition: definitions.Definition | None = None
        self._marks: weights.WeightMarks | None = None
        self.waits_for: Sequence[Job] = ()
        # reentrant: a finalizer may call the function while this thread holds it
        self._defining = threading.RLock()
        self._structures: dict[str, str] = {}
        self._versions: dict[object, _Version] = {}

    # Pickling. The wrapper around a function of a script or notebook is pickled by value, together
    # with this object. Parts that may fail to be pickled are left out, see otel_ml/pickling.py.

    def __reduce__(self) -> tuple[object, tuple[type], dict[str, Any]]:
        definition, params = None, {}
        with quiet("version"):
            try:
                definition = self.definition.without_objects()
            except weights.WeightsPending:
                params = definitions.plain_params(self._params or {})
        options: Options = {**self.options, "params": params, "tags": self.tags}
        state = {
            "recorder": self.recorder,
            "function": self.function,
            "options": options,
            "judging": self.judging.for_pickle(),
            "definition": definition,
        }
        return object.__new__, (_UnpickledFunction,), state

    def _generate(self, kind: str) -> None:
        self.is_plain = False
        options = self.options
        self.generative = generative.Generative(
            kind,
            self.function,
            self.name,
            provider=options.get("provider"),
            model=options.get("model"),
        )
        if self.generative.is_talk:  # the output of a language model has no fixed structure
            self.version_on -= {"output"}
        self.span_name = self.generative.span_name
        self.start_attributes.update(self.generative.attributes)
        if not self.generative.keeps_content:
            self.capture = capture_mode("off")

    @property
    def definition(self) -> "definitions.Definition":
        """Everything that determines the model version: source, helpers, constants and params.

        It is computed at the first call. In a notebook or console, it is computed again when code
        is redefined.
        """
        known = self._definition
        if known is not None and known.is_current():
            return known
        if self._params is None:
            params = definitions.declared_params(self.options.get("params") or {})
            if self._params is None:  # skip if another thread was first
                self._params = params
        self._definition = definition = self._define()
        self._marks = definition.marks
        if known is not None and known.digest != definition.digest:
            self._structures = {}
        return definition

    def _define(self, *, skips: bool = False) -> "definitions.Definition":
        """Compute the definition. With `skips`, without the weights of models.

        Raises:
            WeightsPending: The weights are still being hashed.
        """
        return definitions.define(
            self.function, self._params, self.version_on, waits=False, skips=skips
        )

    def wait_for_definition(self) -> "definitions.Definition":
        """Return `definition`, after the weights of its models are hashed."""
        while True:
            try:
                return self.definition
            except weights.WeightsPending as pending:
                for job in pending.jobs:
                    job.done.wait()

    def structure(self, output: object) -> tuple[str | None, str | None]:
        """Return the structure of an output as text, such as ``{answer: str}``, and its digest.

        The structure is part of the model version: an output with a new structure creates a new
        version. From the ninth structure on, all outputs with a new structure share one version,
        and both text and digest are ``dynamic``.

        Returns:
            Text and digest. Both are None if the model version does not depend on outputs, for
            example for language models. They are also None if the structure is uncertain, for
            example because the output contains an empty list.
        """
        text = output_structure(output) if "output" in self.version_on else None
        if text is None:
            return None, None
        digest = self._structures.get(text)
        if digest is None:
            if len(self._structures) >= _STRUCTURES:
                return DYNAMIC, DYNAMIC
            digest = self._structures[text] = structure_digest(text)
        return text, digest

    def known_constants(self, output: object, now_ns: int, recorder: Recorder) -> Attributes | None:
        """Return the cached span attributes of the model version that produced an output.

        Outputs with different structures can belong to different versions. None if the attributes
        are not in the cache, or if the version must be sent to the collector again.
        """
        if self._marks is not None:
            self._check_models(self._marks, now_ns)
        versions = self._versions
        version = versions.get(flat_shape(output)) or versions.get(shape(output))
        if version is None or now_ns >= version.due_ns or version.identity is not recorder.identity:
            return None
        return version.constants

    def describe_version(
        self, facts: dict[str, Value], output: object, now_ns: int, recorder: Recorder
    ) -> Mapping[str, Value] | None:
        """Return the span attributes that identify the model version of a run.

        Args:
            facts: Attributes of the run. If the collector does not know the version yet, its
                definition is added to them.
            output: Output of the run. Its structure is part of the version.
            now_ns: Current time in nanoseconds.
            recorder: Recorder of the run.

        Returns:
            Attributes that all runs of the version share. If an error prevented finding the
            version, they do not contain a version. The result is None if model weights are still
            being hashed. In that case, wait for the background jobs in `waits_for`, then call the
            method again.
        """
        if self._marks is not None:
            self._check_models(self._marks, now_ns)
        version = self._versions.get(flat_shape(output))
        if version is None:
            if not all(job.done.is_set() for job in self.waits_for):
                return None
            # after an error here, the run must still get its output and scores
            with quiet("version"):
                version = self._compute_version(output)
                if version is None:
                    return None
            if version is None:
                return self.start_attributes
        if now_ns >= version.due_ns or version.identity is not recorder.identity:
            version.write(self.start_attributes, self._params_text(), recorder.identity)
            due_ns = recorder.check_due((self.name, version.digest, version.structure), now_ns)
            if due_ns is None:
                text = self.definition.to_json(recorder.redaction, version.text)
                facts[names.MODEL_DEFINITION] = text
            version.due_ns = due_ns or now_ns + SEND_EVERY_NS
        return version.constants

    def weight_marks(self, jobs: Sequence[Job]) -> list[object]:
        """Return a fingerprint of each model whose weights are being hashed in the background.

        Compare the fingerprints after hashing. If one has changed, the model was fitted again in
        the meantime. The hash then does not describe the model that was called.

        Args:
            jobs: The background jobs that compute the hashes.
        """
        return weights.marks_of(jobs)

    def describe_pending(
        self, facts: dict[str, Value], output: object, now_ns: int, recorder: Recorder
    ) -> Mapping[str, Value]:
        """Return attributes like `describe_version`, without weights that are still being hashed.

        The version then depends only on the code.
        """
        definition = self._define(skips=True)
        text, structure = self.structure(output)
        version = _Version(definition.digest, structure, text)
        version.write(self.start_attributes, None, recorder.identity)
        if recorder.check_due((self.name, version.digest, structure), now_ns) is None:
            facts[names.MODEL_DEFINITION] = definition.to_json(recorder.redaction, text)
        return version.constants

    def _check_models(self, marks: "weights.WeightMarks", now_ns: int) -> None:
        """Forget all versions if a model object they depend on was replaced or fitted again."""
        if marks.are_other(now_ns):
            self._versions, self._definition, self._marks = {}, None, None

    def _compute_version(self, output: object) -> "_Version | None":
        """Return the version for an output; None if model weights are being hashed.

        Several threads may make the first calls at the same time. One of them computes the
        definition and the others wait for it, because all of them together would take much longer.
        """
        is_held = self._definition is None and self._defining.acquire(timeout=_DEFINING_S)
        try:
            if not all(job.done.is_set() for job in self.waits_for):
                return None  # another thread has found the models meanwhile
            return self._version(output)
        except weights.WeightsPending as pending:
            self.waits_for = pending.jobs
            return None
        finally:
            if is_held:
                self._defining.release()

    def _version(self, output: object) -> "_Version":
        key = shape(output)
        version = None if key is None else self._versions.get(key)
        if version is not None:
            return version
        definition = self.definition
        text, structure = self.structure(output)
        # include the version in the start record of later runs
        self.start_attributes = {
            **self.start_attributes,
            names.MODEL_VERSION: definition.digest,
        }
        version = _Version(definition.digest, structure, text)
        if key is not None and not definition.watched:
            if len(self._versions) >= _SHAPES:
                self._versions.clear()
            self._versions[key] = version
        return version

    def _params_text(self) -> str | None:
        params = self.definition.params
        return self.recorder.redaction.encode(params).text if params else None


class _UnpickledFunction(TracedFunction):
    """A traced function before its first use in the process that unpickled it.

    Its function is incomplete until everything is unpickled, because both may refer to each other.
    """

    def __init__(self) -> None:
        raise TypeError("Only made by unpickling")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.function = state["function"]
        self._state = state

    # not in `TracedFunction`, where it would slow down each access to an attribute
    def __getattr__(self, name: str) -> Any:
        """Become a complete `TracedFunction`. Another thread may be doing the same."""
        state = vars(self).get("_state")
        if state is None or name.startswith("__"):
            raise AttributeError(f"TracedFunction has no attribute {name!r}")
        if name not in vars(self):
            made = TracedFunction(
                state["recorder"], state["function"], state["options"], state["judging"]
            )
            vars(self).update({**vars(made), "_definition": state["definition"]})
            self.__class__ = TracedFunction  # type: ignore[assignment]  # what it is from now on
        return getattr(self, name)


@dataclass(slots=True)
class _Version:
    """The model version of all outputs that have the same structure.

    Attributes:
        digest: Digest of the definition.
        structure: Digest of the output structure.
        text: The output structure.
        constants: Attributes that all its runs share; one object, so that it is encoded only once.
        identity: The recorder's identity when `constants` was written.
        due_ns: When the definition must be sent again.
    """

    digest: str
    structure: str | None
    text: str | None
    constants: Mapping[str, Value] = field(default_factory=dict)
    identity: Mapping[str, Value] | None = None
    due_ns: int = 0

    def write(
        self, first: Mapping[str, Value], params: str | None, identity: Mapping[str, Value]
    ) -> None:
        """Set the attributes that all runs of this version share in this process."""
        constants = {**first, **identity, names.MODEL_VERSION: self.digest}
        if self.structure is not None:
            constants[names.MODEL_OUTPUT_SCHEMA] = self.structure
        if params is not None:
            constants[names.PARAMS] = params
        self.constants = constants
        self.identity = identity


def _model_name(function: Callable[..., Any]) -> str:
    """Return a model name: the function's qualified name without enclosing functions.

    For a bound method, use the class of its object, even if the method is inherited.
    """
    while isinstance(function, functools.partial):
        function = function.func
    name = None
    with untrusted:
        name = function.__qualname__
        if type(function) is MethodType:
            held: Any = function.__self__
            owner = held if issubclass(type(held), type) else type(held)
            name = f"{owner.__qualname__}.{function.__name__}"
    return (name if isinstance(name, str) else type(function).__qualname__).replace("<locals>.", "")


Binder = Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]

_PAIR: Final = 2
_SIMPLE: Final = frozenset(
    {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY}
)


def make_binder(function: Callable[..., Any]) -> Binder:
    """Return a function that maps the arguments of a call to parameter names.

    Returns:
        A function that takes ``(args, kwargs)`` and returns a dict of values by parameter name,
        including defaults. ``self``, ``cls`` and placeholders for missing values, such as
        ``NOT_GIVEN``, are left out. It never raises: if the arguments do not fit the parameters,
        the dict contains them under ``args``.
    """
    parameters = None
    with untrusted:  # a builtin may have no signature
        parameters = inspect.signature(function).parameters
        skip = 1 if _is_method(function, parameters) else 0
    if parameters is None:
        return _unnamed
    if all(parameter.kind in _SIMPLE for parameter in parameters.values()):
        return _simple_binder(parameters, skip)
    return _general_binder(inspect.Signature(list(parameters.values())), skip)


def _simple_binder(parameters: Mapping[str, inspect.Parameter], skip: int) -> Binder:
    """Return a binder for a signature without ``*`` and ``**``."""
    names = tuple(parameters)[skip:]
    defaults = {
        name: parameters[name].default
        for name in names
        if not (
            parameters[name].default is inspect.Parameter.empty
            or is_placeholder(parameters[name].default)
        )
    }

    count = len(names)
    first, second = (*names, "", "")[:_PAIR]  # zip() takes four times as long for two arguments
    is_pair = count == _PAIR and not skip
    left_out = tuple(parameters)[:skip]

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if is_pair and not kwargs and len(args) == _PAIR:
            return {first: args[0], second: args[1]}
        positional = args[skip:] if skip else args
        if not kwargs and len(positional) == count:
            return dict(zip(names, positional))  # noqa: B905 - just compared; `strict` costs time
        if len(positional) > len(names):
            return _unnamed(positional, kwargs)
        given = dict(zip(names, positional, strict=False))
        if kwargs:
            given.update(kwargs)
            for name in left_out:  # a method was called on its class
                given.pop(name, None)
        if len(given) < len(names):
            for name, default in defaults.items():
                given.setdefault(name, default)
        return given

    return bind


def _general_binder(signature: inspect.Signature, skip: int) -> Binder:
    names = tuple(signature.parameters)[:skip]
    unsaid = [
        parameter.name
        for parameter in signature.parameters.values()
        if is_placeholder(parameter.default)
    ]

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            reraise_host_error(error)
            return _unnamed(args[skip:], kwargs)
        bound.apply_defaults()
        for name in names:
            bound.arguments.pop(name, None)
        for name in unsaid:
            if is_placeholder(bound.arguments[name]):
                del bound.arguments[name]
        return bound.arguments

    return bind


def _unnamed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"args": list(args), **kwargs}


def _is_method(function: Callable[..., Any], parameters: Mapping[str, object]) -> bool:
    """Tell whether a function is defined in a class body, not just has a parameter `self`."""
    owner = getattr(function, "__qualname__", "").rpartition(".")[0]
    return (
        bool(owner)
        and not owner.endswith("<locals>")
        and next(iter(parameters), None) in {"self", "cls"}
    )
