"""Finds versions that are new, in all projects, with what they replace."""

from dataclasses import dataclass
from typing import Final

from otel_ml_collector.errors import NotFound
from otel_ml_collector.query.answers.models import Version
from otel_ml_collector.query.models import find_versions
from otel_ml_collector.query.times import DAY_NS
from otel_ml_collector.store.new_versions import list_new_versions
from otel_ml_collector.store.reader import Reader

_SHOWN: Final = 8
_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A model's newest version, and the one before it."""

    project: str
    model: str
    first_ns: int
    after: Version
    before: Version


def find_new_versions(reader: Reader, now_ns: int) -> list[NewVersion]:
    """Find the eight versions that replaced another one last, in the last 30 days."""
    found = []
    for row in list_new_versions(reader, now_ns - _DAYS * DAY_NS, _SHOWN):
        try:
            versions = find_versions(reader, row["project"], row["name"])
        except NotFound:  # deleted in between
            continue
        if len(versions) > 1:
            found.append(
                NewVersion(row["project"], row["name"], row["newest_ns"], versions[0], versions[1])
            )
    return found
