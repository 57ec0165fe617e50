"""The command ``otel-ml activity``."""

from typing import Any, Final

import click

from otel_ml_collector.cli.failure import HELP
from otel_ml_collector.cli.output import Layout, with_form, write_rows
from otel_ml_collector.cli.place import PlaceOptions, check_project, with_place, with_project

_CHANGE_COLUMNS: Final = ("time", "who", "program", "kind", "name", "action", "changes")


@click.command(epilog=HELP)
@with_place
@with_project
@click.option(
    "--last",
    default="",
    metavar="TIME",
    help="Only changes since then: a length such as 7d, or today or yesterday [400d]",
)
@click.option("--kind", "sort", default="", help="Only changes of this kind, such as 'alert rule'")
@click.option(
    "--limit", default=50, type=click.IntRange(1, 1_000), metavar="N", help="Number of changes [50]"
)
@with_form
def activity(
    asked: PlaceOptions, project: str, *, last: str, sort: str, limit: int, form: Layout
) -> int:
    """List who changed what in a project, the newest change first.

    These are new versions, alerts, and changes of rules, judges, baselines, aliases, keys,
    retention, data sets, deletions and labels. Changes are kept for 400 days.
    """
    with asked.open() as place, place.reader(project) as reader:
        found = reader.activity(last=last, kind=sort, limit=limit)
        rows = [{**entry, "changes": _write_changes(entry)} for entry in found["entries"]]
        with check_project(place.api(), project) as check:
            check(rows)
        return write_rows(rows, found, form, _CHANGE_COLUMNS)


def _write_changes(entry: dict[str, Any]) -> str:
    return "; ".join(
        f"{change['field']}: {change['before']} -> {change['after']}"
        if change["before"] is not None
        else f"{change['field']}: {change['after']}"
        for change in entry["changes"]
    )
