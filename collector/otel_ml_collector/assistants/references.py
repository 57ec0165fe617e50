"""Resolves references in tool calls: a run's short ID, a trace, ``answer:v4``, ``qa:v3``."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal

from otel_ml.attributes import NUMBERED, RUN_ID
from otel_ml_collector.assistants.answers import show, unshow
from otel_ml_collector.assistants.find import find_short
from otel_ml_collector.errors import BadInput, Missing, suggest
from otel_ml_collector.evaluations.datasets import find_newest, read_dataset_versions
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.runs import find_key
from otel_ml_collector.store.versions import all_version_numbers, read_version_numbers

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
        kind: Kind of the record. An experiment is a ``run``.
        name: Name of a model, data set or judge; ID of a run; ID or key of a trace.
        number: The version's number; 0 for runs and traces.
    """

    kind: Literal["run", "trace", "model", "dataset", "judge"]
    name: str
    number: int = 0


def find_reference(reader: Reader, project: str, text: str, field: str = "ref") -> Reference:
    r"""Find the record that a text refers to.

    Assistants copy references from earlier answers, in which invisible characters are escaped, such
    as ``\u{200b}``. If no record matches a text with such escapes, they are undone and the record
    is looked up again.

    Args:
        reader: The store's reader, limited to the projects of the caller's key.
        project: The project.
        text: The reference, such as a run's ID, a trace's key or ``answer:v4``.
        field: The argument's name, for errors.

    Raises:
        BadInput: Several runs have this short ID.
        Missing: The project has no such record, or the key has no access to it.
    """
    for form in dict.fromkeys((text.strip(), unshow(text.strip()))):
        reference = _find(reader, project, form, field)
        if reference is not None:
            return reference
    near = _find_similar(reader, project, text)
    raise Missing(f"{field}: there is no {show(text[:120])!r} in the project: {near or _EXPECTED}")


def _find_similar(reader: Reader, project: str, text: str) -> str:
    """Suggest the most similar name of a model, data set or judge; empty if none is similar."""
    match = NUMBERED.fullmatch(text)
    name = match[1] if match else text
    names = [
        known
        for kind in _NAMED_KINDS
        for known, _, _ in all_version_numbers(reader, project, kind)
        if get_close_matches(name[:80], [known])
    ]
    return suggest(name[:80], names) if names else ""


def _find(reader: Reader, project: str, text: str, field: str) -> Reference | None:
    if RUN_ID.fullmatch(text):
        return Reference("run", text)
    if _SHORT.fullmatch(text):
        ids = find_short(reader, project, text)
        if len(ids) > 1:
            raise BadInput(
                f"{field}: {text} is the short ID of {' and '.join(ids)}: choose one", field
            )
        if ids:
            return Reference("run", ids[0])
    if not text:
        return None
    # A name can belong to several kinds: models come before data sets, data sets before judges.
    match = NUMBERED.fullmatch(text)
    name, wanted = (match[1], int(match[2])) if match else (text, 0)
    names: dict[str, set[str]] = {kind: {name, text} for kind in _NAMED_KINDS}
    numbers = read_version_numbers(reader, project, names)
    for kind in _NAMED_KINDS:
        known = {(key[0], number) for key, number in numbers.get(kind, {}).items()}
        if wanted and (name, wanted) in known:
            return Reference(kind, name, wanted)
        newest = max((number for named, number in known if named == text), default=0)
        if newest and kind == "dataset":
            rows = read_dataset_versions(reader, project, [text])
            whole = find_newest(reader, project, rows).get(text)
            newest = whole["number"] if whole else newest
        if newest:
            return Reference(kind, text, newest)
    trace = find_key(reader, text)
    is_here = any(place.project == project for place in trace.places) or project in trace.annotated
    return Reference("trace", text) if is_here else None
