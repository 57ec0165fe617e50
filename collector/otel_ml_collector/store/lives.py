"""Declares when the rows of a table are deleted: after a time, or together with another record.

Each table has such a declaration. Deletion, retention and the counts of the storage page are
derived from the declarations.
"""

from dataclasses import dataclass
from enum import Enum

from otel_ml_collector.store.sql import Sql


class Follows(Enum):
    """The kind of record whose deletion also deletes a row."""

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
    """When the rows of a table are deleted: by retention, or together with another record.

    Attributes:
        table: Name of the table.
        follows: The kind of record to which a row belongs, such as its run. The row is deleted
            together with that record.
        time: Column with the time at which a row was stored or sent. When a project is deleted,
            rows that are newer than the deletion are kept. Empty if the table has no such column.
            Then a row is deleted if its trace has no runs left, or if no records of the process
            that sent it are left.
        stamp: Column with the time of arrival. Retention deletes rows by their age since then.
            Empty if retention deletes them together with the record in `follows`.
        is_payload: Whether the rows are payloads: inputs, outputs, log lines or artifacts. Payloads
            can have a shorter retention than other records.
        topic: The kind under which the storage page adds up the size of the table, such as
            ``metrics``.
    """

    table: Sql
    follows: Follows
    time: str = ""
    stamp: str = ""
    is_payload: bool = False
    topic: str = "other"
