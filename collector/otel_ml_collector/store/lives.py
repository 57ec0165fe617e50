"""How long the rows of a table are kept: which record they belong to, and which time decides.

Each table declares its own. Deletion, retention and the counts of the storage page are derived from
these declarations.
"""

from dataclasses import dataclass
from enum import Enum

from otel_ml_collector.store.sql import Sql


class Follows(Enum):
    """The record that a row goes with."""

    RUN = "the run of its start and ids"
    OWNER = "what its owner names: a run, a trace, a key, a tag"
    KEY = "the last run of its trace, or the key of it"
    PROCESS = "the sender that it tells of"
    SOURCE = "the run that it was made of"
    NAMES = "the objects that name its hash"
    PROJECT = "its project"
    NOTHING = "no other record: it goes when it is old, or with its project"


@dataclass(frozen=True, slots=True)
class Life:
    """How long the rows of a table are kept.

    Attributes:
        table: Name of the table.
        follows: The record with which a row is deleted.
        time: Column with the time at which a row was stored or sent. It separates rows of a deleted
            project from later ones. Empty if the trace or process of the row decides.
        stamp: Column with the time of arrival, from which retention counts; empty if the record
            that the row follows decides.
        is_payload: Whether the row is deleted with the payloads.
        topic: The line of the storage page that counts it.
    """

    table: Sql
    follows: Follows
    time: str = ""
    stamp: str = ""
    is_payload: bool = False
    topic: str = "other"
