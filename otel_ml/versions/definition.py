"""The definition of a model version: a digest of source, signature, params, helpers and constants.

It is computed locally at a function's first call, without network access.
"""

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from otel_ml.capture.values import LIMIT_BYTES, encode
from otel_ml.errors import quiet
from otel_ml.redaction import Redaction
from otel_ml.versions.parts import Parts, Watched, digest
from otel_ml.versions.source import plain_function
from otel_ml.versions.values import Hashed
from otel_ml.versions.version_on import PARTS, Params, Part
from otel_ml.versions.weights import WeightMarks, WeightsPending

_ALL: Final = PARTS - {"output"}


@dataclass(frozen=True, slots=True)
class Definition:
    """Everything that determines a version of a model or judge. A change creates a new version.

    Attributes:
        digest: Hash of everything that determines the version, 16 hex digits. If the source is
            available, the hash is the same on every supported Python version.
        source: Source of the function without decorators; None if unavailable (REPL, frozen code,
            builtins).
        signature: Parameters with annotations, and the return annotation.
        params: Parameters that the user declared with ``params=``.
        helpers: Source of the functions in the same package that the function calls, by name.
        constants: Values that the function uses from its module, class and closure, by name.
        unseen: Descriptions of parts that are not included. If one of them changes, the version
            stays the same.
        read_by: For each helper and constant, the name of the function that uses it.
        watched: Names to check for changes, because a notebook or console can redefine them.
        marks: Detects that a model object used by the function was fitted again; None if there is
            no such object.
    """

    digest: str
    source: str | None
    signature: str
    params: Mapping[str, object]
    helpers: Mapping[str, str]
    constants: Mapping[str, object]
    unseen: tuple[str, ...] = field(default=(), compare=False)
    read_by: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    watched: tuple[Watched, ...] = field(default=(), compare=False, repr=False)
    marks: WeightMarks | None = field(default=None, compare=False, repr=False)

    def to_json(self, redaction: Redaction, output: str | None = None) -> str:
        """Return the definition as JSON for the collector.

        Args:
            redaction: Hides secrets in the text.
            output: Structure of the function's output, such as ``{answer: str}``. None if unknown.
        """
        source = {} if is_source_left_out() else self._code_facts(redaction)
        content: dict[str, object] = {
            "source": None,
            "signature": redaction.source(self.signature),
            "params": orjson.loads(redaction.encode(self.params).text),
            "helpers": {},
            "constants": {},
            "unseen": [],
            "output": None if output is None else redaction.shown(output),
        }
        return encode({**content, **source}).text

    def _code_facts(self, redaction: Redaction) -> dict[str, object]:
        return {
            "source": None if self.source is None else redaction.source(self.source),
            "helpers": {name: redaction.source(text) for name, text in self.helpers.items()},
            "constants": _with_hashes(
                self.constants, orjson.loads(redaction.encode(self.constants).text)
            ),
            "unseen": [redaction.shown(text) for text in self.unseen],
        }

    def without_objects(self) -> "Definition":
        """Return a copy that can be sent to another process.

        It has plain values only, and lacks the objects that are checked for changes.
        """
        return replace(self, params=plain_params(self.params), watched=(), marks=None)

    def is_current(self) -> bool:
        """Tell whether the definition still applies. In a notebook, code can be redefined."""
        return all(watched.is_current() for watched in self.watched)


def _with_hashes(value: object, shown: Any) -> Any:
    """Put hashes in place of hidden secrets, so that a page can show that they changed."""
    if isinstance(value, Hashed):
        return str(value)
    if isinstance(value, dict) and isinstance(shown, dict) and len(value) == len(shown):
        pairs = zip(value.values(), shown.items(), strict=True)
        return {key: _with_hashes(item, part) for item, (key, part) in pairs}
    if isinstance(value, list) and isinstance(shown, list) and len(value) == len(shown):
        return [_with_hashes(item, part) for item, part in zip(value, shown, strict=True)]
    return shown


def is_source_left_out() -> bool:
    """Tell whether ``OTEL_ML_CAPTURE_SOURCE=off`` forbids sending source code."""
    return os.environ.get("OTEL_ML_CAPTURE_SOURCE", "").strip().lower() == "off"


def define(
    target: Callable[..., Any],
    params: Mapping[str, object] | None = None,
    version_on: frozenset[Part] = PARTS,
    *,
    waits: bool = True,
    skips: bool = False,
) -> Definition:
    """Collect everything that determines the version of a function.

    If the source code of the function is not available, its bytecode is used.

    Args:
        target: A function or another callable.
        params: Parameters that the user declared.
        version_on: Parts of the function that belong to the version, such as ``helpers``. If one of
            these changes, a new version is created.
        waits: Whether to wait until the weights of the function's models are hashed, which may take
            long.
        skips: Whether to leave out the weights of models. The result then names them in `unseen`.

    Raises:
        WeightsPending: The weights are not hashed yet, and `waits` is False.
    """
    params = dict(params or {})
    counts = version_on - {"output"}
    lines = [] if counts == _ALL else [f"counts {sorted(counts)}"]
    declared = [params_text(params)] if "params" in counts else []
    function = plain_function(target)
    if function is None:
        parts = Parts("", counts)
        lines += [_name(target), *_bound_arguments(target, parts), *declared]
        parts.note(f"the code of `{_name(target)}`, which is compiled or belongs to a library")
        return Definition(digest(lines), None, "", params, {}, {}, tuple(parts.unseen))
    while True:
        parts = Parts(function.__module__ or "", counts, skips_weights=skips)
        read = [*parts.read(function), *_bound_arguments(target, parts)]
        if not parts.jobs:
            break
        if not waits:
            raise WeightsPending(parts.jobs)
        for job in parts.jobs:
            job.done.wait()
    lines += [*read, *declared]
    return Definition(
        digest=digest(lines),
        source=parts.source,
        signature=parts.signature,
        params=params,
        helpers=parts.helpers,
        constants=parts.constants,
        unseen=tuple(parts.unseen),
        read_by=parts.read_by,
        watched=tuple(parts.watched),
        marks=WeightMarks(parts.models) if parts.models else None,
    )


def declared_params(params: Params) -> dict[str, object]:
    """Return the value of the option ``params`` as a dict. If it is a function, call it.

    If the function raises, the dict is empty.
    """
    with quiet("params"):
        return dict(params if isinstance(params, Mapping) else params())
    return {}


def plain_params(params: Mapping[str, object]) -> dict[str, object]:
    """Return parameters as plain JSON values, which give the same version."""
    return dict(orjson.loads(encode(params).text))


def _name(target: object) -> str:
    known = inspect.getattr_static(target, "__qualname__", None) is not None
    named: Any = target if known else type(target)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}"


def _bound_arguments(target: object, parts: Parts) -> list[str]:
    lines = []
    while isinstance(target, functools.partial) and "constants" in parts.counts:
        lines += [f"{name}={text}" for name, text in parts.bound(target, _name(target.func))]
        target = target.func
    return lines


def join(definition: Definition, name: str, other: Definition) -> Definition:
    """Combine the definitions of two functions. If either changes, a new version is created.

    Used for a judge, which consists of a rubric and a passing criterion.

    Args:
        definition: Definition of the main function, such as the rubric.
        name: Name under which the second function becomes a helper of the main function.
        other: Definition of the second function.

    Returns:
        The main definition, with the second function as a helper, and a new digest.
    """
    shown = {} if other.source is None else {name: other.source}
    return replace(
        definition,
        digest=digest([definition.digest, other.digest]),
        helpers={**definition.helpers, **other.helpers, **shown},
        constants={**definition.constants, **other.constants},
        unseen=tuple(dict.fromkeys(definition.unseen + other.unseen)),
        read_by={**definition.read_by, **other.read_by},
        watched=definition.watched + other.watched,
        marks=None,
    )


def params_text(params: Mapping[str, object], limit_bytes: int = LIMIT_BYTES) -> str:
    """Return parameters as text that does not depend on their order."""
    whole = orjson.loads(encode(params, limit_bytes).text)
    return orjson.dumps(whole, option=orjson.OPT_SORT_KEYS).decode()
