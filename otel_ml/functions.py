"""A decorated function, as its calls need it: options, arguments, tags, judges and versions."""

import functools
import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, get_args

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
    invalid,
)
from otel_ml.capture.description import is_unsaid
from otel_ml.errors import hand_on, quiet, untrusted
from otel_ml.late import late
from otel_ml.recorder import TELL_EVERY_NS, Recorder
from otel_ml.spans import Attributes
from otel_ml.tags import Value, tags_of
from otel_ml.versions.held_runs import Job
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


@dataclass(frozen=True, slots=True)
class CaptureMode:
    """Whether inputs and outputs are recorded."""

    inputs: bool
    outputs: bool


def capture_mode(given: str | None) -> CaptureMode:
    """Read the mode that was given to a decorator, else ``OTEL_ML_CAPTURE``, else all.

    Raises:
        ValueError: A mode was given and is none. A wrong variable records nothing of either,
            as it was set to record less.
    """
    if given is not None:
        check_one_of("capture", given, _MODES)
    mode = given or os.environ.get(VARIABLE, "").strip().lower() or "all"
    return CaptureMode(inputs=mode in {"all", "inputs"}, outputs=mode in {"all", "outputs"})


_ALL: Final = CaptureMode(inputs=True, outputs=True)

if TYPE_CHECKING:
    from otel_ml.genai import generative
    from otel_ml.judges.judge import Judge
    from otel_ml.versions import definition as definitions
    from otel_ml.versions import weights
else:
    definitions = late("versions.definition")
    weights = late("versions.weights")
    generative = late("genai.generative")

_STRUCTURES: Final = 8
_SHAPES: Final = 256


class Options(TypedDict, total=False):
    """The options by name of `Client.trace` and `Client.assess`."""

    name: str | None
    """The model's name; the function's qualified name when not given, of a bound method that of its
    object's class and its own."""
    kind: str
    """One of model, chain, tool, retriever, embedding, agent, training; or a GenAI operation, such
    as chat, embeddings, execute_tool, invoke_agent, retrieval; model when not given."""
    tags: Mapping[str, object] | None
    """Set on every run."""
    params: Params | None
    """Declared parameters, part of the model version; or a function that returns them, called
    once, when the first call has returned."""
    version_on: Collection[Part]
    """The parts that a version counts, out of source, signature, params, helpers, constants and
    output; all of them when not given."""
    capture: Capture | None
    """Which payloads are recorded: all, inputs, outputs or off; the variable ``OTEL_ML_CAPTURE``
    when not given."""
    provider: str | None
    """Of a GenAI operation: who serves the model, such as ``openai``."""
    model: str | None
    """Of a GenAI operation: the provider's model, when it is always the same."""


DEFAULTS: Final[Mapping[str, Any]] = {"kind": "model", "version_on": PARTS}


def check_options(options: Options) -> None:
    """Check the options of a decorator where it is written.

    Raises:
        ValueError: One of them is wrong; the message says what would be right.
        TypeError: One is unknown.
    """
    given: dict[str, Any] = {**dict.fromkeys(Options.__annotations__), **DEFAULTS, **options}
    for key in given.keys() - Options.__annotations__.keys():
        raise TypeError(f"trace() got an unexpected keyword argument {key!r}")
    if given["name"] is not None:
        check_text("name", given["name"])
    check_optional_text("provider", given["provider"])
    check_optional_text("model", given["model"])
    if given["tags"] is not None:
        check_mapping("tags", given["tags"], "a mapping of names to values, or None")
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
    """The judges of a function's calls, and their timing; see `Client.assess`.

    Raises:
        ValueError: An option is wrong; the message has the expected form.
    """

    judges: "tuple[Judge, ...]" = ()
    inline: bool = False
    sample: float = 1.0

    def __post_init__(self) -> None:
        check_flag("inline", self.inline)
        check_number("sample", self.sample, 0, 1)
        called = [judge.name for judge in self.judges]
        if len(set(called)) < len(called):
            raise ValueError(f"Invalid judges {called!r}: expected another name for each")
        for judge in self.judges:
            if judge.pairwise:
                raise ValueError(
                    f"Invalid judge {judge.name!r}: expected one that is not pairwise, which only "
                    "an experiment with a baseline can ask"
                )


UNJUDGED: Final = Judging()


class TracedFunction:
    """The configuration of a decorated function: name, tags, judges, versions.

    Args:
        recorder: Records its calls.
        function: The function, as the user wrote it.
        options: As checked by `check_options`.
        judging: The judges of its calls.
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
        # For a copy of the function, whatever it is called.
        self.options: Options = {**options, "name": self.name}
        self.judging = judging
        self.judges = judging.judges
        self.tags = recorder.redaction.values(tags_of(options.get("tags") or {}))
        self.capture = capture_mode(options.get("capture"))
        self.version_on = frozenset(options.get("version_on", PARTS))
        self.bind = make_binder(function)
        kind = options.get("kind", "model")
        self.start_attributes: dict[str, Value] = {
            names.PROJECT: recorder.project,
            names.KIND: names.OPERATIONS.get(kind, kind),
            names.MODEL_NAME: self.name,
        }
        # Whether its calls say no more than their payloads and version by themselves.
        self.is_plain = not (self.judges or self.tags) and self.capture == _ALL
        self.span_name = self.name
        self.generative: generative.Generative | None = None
        if kind in names.OPERATIONS:
            self._generate(kind)
        self._params: Mapping[str, object] | None = None
        self._definition: definitions.Definition | None = None
        self._marks: weights.WeightMarks | None = None
        self.waits_for: Sequence[Job] = ()
        self._structures: dict[str, str] = {}
        self._versions: dict[object, _Version] = {}

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
        if self.generative.is_talk:  # what a language model says has no structure
            self.version_on -= {"output"}
        self.span_name = self.generative.span_name
        self.start_attributes.update(self.generative.attributes)
        if not self.generative.keeps_content:
            self.capture = capture_mode("off")

    @property
    def definition(self) -> "definitions.Definition":
        """The version's definition: computed at the first call, in a console at each change."""
        known = self._definition
        if known is not None and known.is_current():
            return known
        if self._params is None:
            params = definitions.declared_params(self.options.get("params") or {})
            if self._params is None:  # no other thread was first
                self._params = params
        self._definition = definition = definitions.define(
            self.function, self._params, self.version_on, waits=False
        )
        self._marks = definition.marks
        if known is not None and known.digest != definition.digest:
            self._structures = {}
        return definition

    def structure(self, output: object) -> tuple[str | None, str | None]:
        """Return text and digest of an output's structure; from the 9th on it is dynamic."""
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
        """Return the attributes of an output's version; None where `describe_version` is due."""
        if self._marks is not None:
            self._look_at(self._marks, now_ns)
        versions = self._versions
        version = versions.get(flat_shape(output)) or versions.get(shape(output))
        if version is None or now_ns >= version.due_ns or version.identity is not recorder.identity:
            return None
        return version.constants

    def describe_version(
        self, facts: dict[str, Value], output: object, now_ns: int, recorder: Recorder
    ) -> Mapping[str, Value] | None:
        """Find the version that an output belongs to; its definition joins `facts` when due.

        Returns:
            What all runs of that version say, or all of the function where it cannot be known;
            None while weights are being read: `waits_for` holds the jobs that read them.
        """
        if self._marks is not None:
            self._look_at(self._marks, now_ns)
        version = self._versions.get(flat_shape(output))
        if version is None:
            if not all(job.done.is_set() for job in self.waits_for):
                return None
            with quiet("version"):  # what it costs is neither the run's output nor its scores
                try:
                    version = self._version(output)
                except weights.WeightsPending as pending:
                    self.waits_for = pending.jobs
                    return None
            if version is None:
                return self.start_attributes
        if now_ns >= version.due_ns or version.identity is not recorder.identity:
            version.write(self.start_attributes, self._params_text(), recorder.identity)
            due_ns = recorder.tell((self.name, version.digest, version.structure), now_ns)
            if due_ns is None:
                text = self.definition.to_json(recorder.redaction, version.text)
                facts[names.MODEL_DEFINITION] = text
            version.due_ns = due_ns or now_ns + TELL_EVERY_NS
        return version.constants

    def _look_at(self, marks: "weights.WeightMarks", now_ns: int) -> None:
        """Forget all versions where an object that they name was replaced or fitted again."""
        if marks.are_other(now_ns):
            self._versions, self._definition, self._marks = {}, None, None

    def _version(self, output: object) -> "_Version":
        key = shape(output)
        version = None if key is None else self._versions.get(key)
        if version is not None:
            return version
        definition = self.definition
        text, structure = self.structure(output)
        # Known from now on: a run that lasts says it at its start.
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


@dataclass(slots=True)
class _Version:
    """The version that outputs of the same shape belong to.

    Attributes:
        digest: Of the definition.
        structure: Digest of the output structure.
        text: The structure itself.
        constants: Attributes of all its runs; a single object, so that it is encoded once.
        identity: The recorder's, when `constants` was written.
        due_ns: When the definition is to be sent again.
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
        """Write the constants for the process that `identity` names."""
        constants = {**first, **identity, names.MODEL_VERSION: self.digest}
        if self.structure is not None:
            constants[names.MODEL_OUTPUT_SCHEMA] = self.structure
        if params is not None:
            constants[names.PARAMS] = params
        self.constants = constants
        self.identity = identity


def _model_name(function: Callable[..., Any]) -> str:
    """Name a model by its qualified name, without the functions that it was written in.

    A bound method is named after its object, wherever its class has it from.
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
    """Compile, once a function, how its arguments become inputs.

    Returns:
        A function of ``(args, kwargs)`` that returns inputs by parameter name, defaults
        included and ``self`` or ``cls`` of a method left out, as are the marks by which a
        client library tells that an argument was not given. It never raises for a call that
        the function itself would refuse: what has no name is then kept under ``args``.
    """
    parameters = None
    with untrusted:  # a builtin has no signature
        parameters = inspect.signature(function).parameters
        skip = 1 if _is_method(function, parameters) else 0
    if parameters is None:
        return _unnamed
    if all(parameter.kind in _SIMPLE for parameter in parameters.values()):
        return _simple_binder(parameters, skip)
    return _general_binder(inspect.Signature(list(parameters.values())), skip)


def _simple_binder(parameters: Mapping[str, inspect.Parameter], skip: int) -> Binder:
    """Bind a signature without ``*`` and ``**``: a zip and an update."""
    names = tuple(parameters)[skip:]
    defaults = {
        name: parameters[name].default
        for name in names
        if not (
            parameters[name].default is inspect.Parameter.empty
            or is_unsaid(parameters[name].default)
        )
    }

    count = len(names)
    first, second = (*names, "", "")[:_PAIR]  # a zip takes four times as long
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
            for name in left_out:  # of a method that is called by its class
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
        if is_unsaid(parameter.default)
    ]

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            hand_on(error)
            return _unnamed(args[skip:], kwargs)
        bound.apply_defaults()
        for name in names:
            bound.arguments.pop(name, None)
        for name in unsaid:
            if is_unsaid(bound.arguments[name]):
                del bound.arguments[name]
        return bound.arguments

    return bind


def _unnamed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"args": list(args), **kwargs}


def _is_method(function: Callable[..., Any], parameters: Mapping[str, object]) -> bool:
    """Tell whether a function is written in a class body, not just has a parameter `self`."""
    owner = getattr(function, "__qualname__", "").rpartition(".")[0]
    return (
        bool(owner)
        and not owner.endswith("<locals>")
        and next(iter(parameters), None) in {"self", "cls"}
    )
