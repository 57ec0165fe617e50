"""Finds versions that are new, in all projects, with what they replace."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.models.find import find_definitions
from otel_ml_collector.query.answers.models import Definition
from otel_ml_collector.query.times import DAY_NS
from otel_ml_collector.store.new_versions import list_new_versions
from otel_ml_collector.store.reader import Reader

_SHOWN: Final = 8
_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A model's newest version, and what it and the one before it were defined as.

    Attributes:
        first_ns: When something of it arrived first.
    """

    project: str
    model: str
    number: int
    first_ns: int
    after: Definition
    before: Definition


def find_new_versions(reader: Reader, now_ns: int) -> list[NewVersion]:
    """Find the eight versions that replaced another one last, in the last 30 days."""
    rows = list_new_versions(reader, now_ns - _DAYS * DAY_NS, _SHOWN)
    names: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        names[row["project"]].append(row["name"])
    defined = {
        (project, model): definitions
        for project, models in names.items()
        for model, definitions in find_definitions(reader, project, models).items()
    }
    found = []
    for row in rows:
        definitions = defined.get((row["project"], row["name"]), {})
        if len(definitions) > 1:  # or one was deleted in between
            before, number = list(definitions)[-2:]
            found.append(
                NewVersion(
                    project=row["project"],
                    model=row["name"],
                    number=number,
                    first_ns=row["newest_ns"],
                    after=definitions[number],
                    before=definitions[before],
                )
            )
    return found
