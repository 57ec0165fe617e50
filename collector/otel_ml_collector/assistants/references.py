"""References that assistants pass on: a run by 16 hex digits, a trace, ``answer:v4``, ``qa:v3``."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from otel_ml.attributes import NUMBERED, RUN_ID
from otel_ml_collector.assistants.answers import show, unshow
from otel_ml_collector.assistants.find import find_short
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.runs import find_key
from otel_ml_collector.store.versions import read_version_numbers

_SHORT: Final = re.compile("[0-9a-f]{16}")
_NAMED_KINDS: Final[tuple[Literal["model", "dataset", "judge"], ...]] = (
    "model",
    "dataset",
    "judge",
)
_EXPECTED: Final = (
    "expected a run's 16 hex digits or whole id, a trace's id or key, a version such as answer:v4, "
    "a data set such as qa:v3, a judge or an experiment's id"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """The record that a text refers to.

    Attributes:
        kind: An experiment is a run, of which the kind says so.
        name: Of a model, data set or judge; the id of a run, the id or key of a trace.
        number: The version; 0 where there is none.
    """

    kind: Literal["run", "trace", "model", "dataset", "judge"]
    name: str
    number: int = 0


def find_reference(reader: Reader, project: str, text: str, field: str = "ref") -> Reference:
    """Find the record that a text refers to: as it stands, else with an answer's escapes undone.

    Raises:
        BadInput: Several runs have that short id.
        Missing: Nothing of the project is called so, or it is not for this key.
    """
    for form in dict.fromkeys((text.strip(), unshow(text.strip()))):
        reference = _find(reader, project, form, field)
        if reference is not None:
            return reference
    raise Missing(f"{field}: there is no {show(text[:120])!r} in the project: {_EXPECTED}")


def _find(reader: Reader, project: str, text: str, field: str) -> Reference | None:
    if RUN_ID.fullmatch(text):
        return Reference("run", text)
    if _SHORT.fullmatch(text):
        ids = find_short(reader, project, text)
        if len(ids) > 1:
            raise BadInput(
                f"{field}: {text} is the short id of {' and '.join(ids)}: name one", field
            )
        if ids:
            return Reference("run", ids[0])
    if not text:
        return None
    # A version by its name: of a model, else of a data set, else of a judge.
    match = NUMBERED.fullmatch(text)
    name, wanted = (match[1], int(match[2])) if match else (text, 0)
    names: dict[str, set[str]] = {kind: {name, text} for kind in _NAMED_KINDS}
    numbers = read_version_numbers(reader, project, names)
    for kind in _NAMED_KINDS:
        known = {(key[0], number) for key, number in numbers.get(kind, {}).items()}
        if wanted and (name, wanted) in known:
            return Reference(kind, name, wanted)
        newest = max((number for named, number in known if named == text), default=0)
        if newest:
            return Reference(kind, text, newest)
    trace = find_key(reader, text)
    is_here = any(place.project == project for place in trace.places) or project in trace.told
    return Reference("trace", text) if is_here else None
