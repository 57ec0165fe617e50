"""What the store takes on disk, and what is kept how long."""

from collections.abc import Mapping, Sequence
from typing import Final

from otel_ml_collector.access import Access
from otel_ml_collector.query.answers.storage import (
    ModelShare,
    ProjectShare,
    RetentionRun,
    Share,
    Storage,
)
from otel_ml_collector.query.times import DAY_NS, to_rfc3339
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.retention import Retention, Swept
from otel_ml_collector.store.storage import (
    KINDS,
    OTHER,
    Part,
    count_models,
    count_older,
    count_rows,
    read_tables,
)

# What retention counts the arrival of; the rest leaves with these.
_RECORDS: Final = ("runs", "metrics", "late_tags")
_PAYLOADS: Final = ("payloads", "objects", "late_logs")
# Of more projects than these, models are not told.
_PROJECTS: Final = 100

_Rows = Mapping[str, Mapping[str, int]]


def find_storage(
    reader: Reader, access: Access, retention: Retention, days: int | None, now_ns: int
) -> Storage:
    """Tell what the store takes, and what goes when nothing older than some days is kept.

    Args:
        reader: Of all projects, as shares are of the whole.
        access: Who asks: of other projects, and of the whole, nothing is told.
        retention: Says what is kept how long.
        days: Of what it is told what would go.
        now_ns: The time.
    """
    tables = {part.table: part for part in read_tables(reader)}
    rows = count_rows(reader)
    wishes = retention.read()
    older: dict[str, dict[str, int]] = {}
    if days is not None:
        older = count_older(reader, (*_RECORDS, *_PAYLOADS), now_ns - days * DAY_NS)
    projects = []
    names = {project for counts in rows.values() for project in counts}
    for name in sorted(filter(access.reaches, names)):
        kept = retention.days_of(name, wishes)
        share = ProjectShare(
            project=name,
            rows=sum(counts.get(name, 0) for counts in rows.values()),
            bytes=sum(_share(tables[table], rows, name) for table in rows if table in tables),
            kinds=_kinds(tables, rows, name),
            models=[],
            record_days=kept.records,
            payload_days=kept.of_payloads,
            freed_records=_freed(tables, rows, older, name, _RECORDS) if older else None,
            freed_payloads=_freed(tables, rows, older, name, _PAYLOADS) if older else None,
        )
        projects.append(share)
    projects.sort(key=lambda share: (-share.bytes, share.project))
    for share in projects[:_PROJECTS]:
        share.models = _models(reader, share)
    whole = tables.values() if access.projects is None else ()
    return Storage(
        bytes=sum(part.bytes for part in whole) or sum(share.bytes for share in projects),
        waiting_bytes=sum(part.waiting for part in whole),
        replaced_bytes=sum(part.replaced for part in whole),
        tables={part.table: Share(rows=part.rows, bytes=part.bytes) for part in whole},
        projects=projects,
        days=days,
        retention=_told(retention.last) if access.projects is None else None,
    )


def _share(part: Part, rows: _Rows, project: str, counts: _Rows | None = None) -> int:
    """Give a project its share of a table's bytes: of its rows, or of those that are counted."""
    known = sum(rows[part.table].values())
    number = (counts or rows)[part.table].get(project, 0)
    return part.bytes * number // known if known else 0


def _kinds(tables: Mapping[str, Part], rows: _Rows, project: str) -> dict[str, Share]:
    kinds = {kind: Share(rows=0, bytes=0) for kind in (*dict.fromkeys(KINDS.values()), OTHER)}
    for table, counts in rows.items():
        if table in tables:
            kind = kinds[KINDS.get(table, OTHER)]
            kind.rows += counts.get(project, 0)
            kind.bytes += _share(tables[table], rows, project)
    return kinds


def _models(reader: Reader, share: ProjectShare) -> list[ModelShare]:
    """Give models their share of the bytes of runs and payloads."""
    runs, payloads = share.kinds["runs"], share.kinds["payloads"]
    both = runs.bytes + payloads.bytes
    return [
        ModelShare(
            model=row["model"],
            rows=row["rows"],
            bytes=min(both * row["rows"] // max(runs.rows, 1), both),
        )
        for row in count_models(reader, share.project)
    ]


def _freed(
    tables: Mapping[str, Part], rows: _Rows, older: _Rows, project: str, names: Sequence[str]
) -> int:
    return sum(_share(tables[name], rows, project, older) for name in names if name in tables)


def _told(swept: Swept | None) -> RetentionRun | None:
    if swept is None:
        return None
    time = to_rfc3339(swept.time_ns)
    return RetentionRun(time=time, deleted_rows=swept.rows, error=swept.error or None)
