"""How long the rows of a table live: what they follow, and by which time they are told apart.

A table says it where it is declared. What deletes a run or a project, what retention deletes, and
what storage counts have it from there.
"""

from dataclasses import dataclass
from enum import Enum

from otel_ml_collector.store.sql import Sql


class Follows(Enum):
    """What a row goes with."""

    RUN = "the run of its start and ids"
    OWNER = "what its owner names: a run, a trace, a key, a tag"
    KEY = "the last run of its trace, or the key of it"
    PROCESS = "the sender that it tells of"
    SOURCE = "the run that it was made of"
    NAMES = "the objects that name its hash"
    PROJECT = "its project"


@dataclass(frozen=True, slots=True)
class Life:
    """How long the rows of a table live.

    Attributes:
        table: Its name in a statement.
        follows: What a row goes with.
        time: When a row was stored or told, by which those of a deleted project are told from what
            came later; empty where its trace or process tells.
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
