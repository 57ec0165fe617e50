"""What is known of one decorated function: its name, tags, judges, and the versions it has."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from otel_ml import attributes as names
from otel_ml.capture import make_binder
from otel_ml.capture_mode import capture_mode
from otel_ml.errors import report, untrusted
from otel_ml.recorder import TELL_EVERY_NS, Recorder
from otel_ml.settings import Settings
from otel_ml.tags import Value, tags_of
from otel_ml.versions.structure import (
    DYNAMIC,
    flat_shape,
    output_structure,
    shape,
    structure_digest,
)

if TYPE_CHECKING:
    from otel_ml.genai.generative import Generative
    from otel_ml.versions.definition import Definition

_STRUCTURES: Final = 8
_SHAPES: Final = 256


class Traced:
    """What is known of one decorated function: name, tags, judges, version."""

    def __init__(
        self, recorder: Recorder, function: Callable[..., Any], settings: Settings | None = None
    ) -> None:
        chosen = Settings() if settings is None else settings
        self.recorder = recorder
        self.function = function
        self.name = chosen.name or _model_name(function)
        # For a copy of the function, whatever it is called.
        self.settings = replace(chosen, name=self.name)
        self.tags = recorder.redaction.values(tags_of(chosen.tags or {}))
        self.capture = capture_mode(chosen.capture)
        self.version_on = frozenset(chosen.version_on)
        self.judges = chosen.judges
        self.bind = make_binder(function)
        self.start_attributes: dict[str, Value] = {
            names.PROJECT: recorder.project,
            names.KIND: names.OPERATIONS.get(chosen.kind, chosen.kind),
            names.MODEL_NAME: self.name,
        }
        self.span_name = self.name
        self.generative: Generative | None = None
        if chosen.kind in names.OPERATIONS:
            self._generate(chosen)
        self._params: Mapping[str, object] | None = None
        self._definition: Definition | None = None
        self._structures: dict[str, str] = {}
        self._versions: dict[object, _Version] = {}

    def _generate(self, settings: Settings) -> None:
        from otel_ml.genai.generative import Generative  # who calls no model loads none of it

        self.generative = Generative(
            settings.kind,
            self.function,
            self.name,
            provider=settings.provider,
            model=settings.model,
        )
        self.span_name = self.generative.span_name
        self.start_attributes.update(self.generative.attributes)
        if not self.generative.keeps_content:
            self.capture = capture_mode("off")

    @property
    def definition(self) -> "Definition":
        """The version's definition: computed at the first call, in a console at each change."""
        known = self._definition
        if known is not None and known.is_current():
            return known
        from otel_ml.versions.definition import (  # parsing is no part of start-up
            declared_params,
            define,
        )

        if self._params is None:
            params = declared_params(self.settings.params or {})
            if self._params is None:  # no other thread was first
                self._params = params
        self._definition = found = define(self.function, self._params, self.version_on)
        if known is not None and known.digest != found.digest:
            self._structures = {}
        return found

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

    def describe_version(
        self, facts: dict[str, Value], output: object, now_ns: int, recorder: Recorder
    ) -> Mapping[str, Value]:
        """Find the version that an output belongs to; its definition joins `facts` when due.

        Returns:
            What all runs of that version say, or all of the function where it is not known.
        """
        version = self._versions.get(flat_shape(output))
        if version is None:
            try:
                version = self._version(output)
            except BaseException as error:  # noqa: BLE001 - it costs the run neither output nor scores
                report("version", error)
                return self.start_attributes
        if now_ns >= version.due_ns or version.identity is not recorder.identity:
            version.write(self.start_attributes, self._params_text(), recorder.identity)
            due_ns = recorder.tell((self.name, version.digest, version.structure), now_ns)
            if due_ns is None:
                told = self.definition.to_json(recorder.redaction, version.text)
                facts[names.MODEL_DEFINITION] = told
            version.due_ns = due_ns or now_ns + TELL_EVERY_NS
        return version.constants

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
    """The version that outputs of one shape belong to.

    Attributes:
        digest: Of the definition.
        structure: Digest of the output structure.
        text: The structure itself.
        constants: What all its runs say; one object, so that it is encoded once.
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
    """Name a model by its qualified name, without the functions that it was written in."""
    while isinstance(function, functools.partial):
        function = function.func
    name = None
    with untrusted:
        name = function.__qualname__
    return (name if isinstance(name, str) else type(function).__qualname__).replace("<locals>.", "")
