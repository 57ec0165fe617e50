"""How long a table's rows live: the records they belong to, and the time that identifies them.

A table says it where it is declared. Deletion, retention and the counts of storage are derived from
it.

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
    """The life of a table's rows.

    Attributes:
        table: Its name in a statement.
        follows: The record that a row goes with.
        time: When a row was stored or sent, which separates rows of a deleted project from later
            rows ; empty where its trace or process tells.
        stamp: When a row arrived, by which retention counts; empty where what it follows decides.
        is_payload: Whether it is kept no longer than payloads.
        topic: As what storage counts it.
    """

    table: Sql
    follows: Follows
    time: str = ""
    stamp: str = ""
    is_payload: bool = False
    topic: str = "other"
