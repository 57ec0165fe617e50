"""The commands ``otel-ml dataset ...``: list, show, compare, change and export data sets."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from otel_ml.attributes import NUMBERED
from otel_ml.counts import write_count
from otel_ml.items import REASON_CHARS
from otel_ml_collector.cli.failure import DONE, HELP, NOT_FOUND, USAGE, CommandFailed
from otel_ml_collector.cli.output import Layout, open_file, with_form, write_rows
from otel_ml_collector.cli.place import (
    PlaceOptions,
    Within,
    check_project,
    with_filter,
    with_place,
    with_project,
)
from otel_ml_collector.errors import BadSetting

if TYPE_CHECKING:
    from otel_ml.experiments.dataset import Dataset
    from otel_ml.reader import Reader
    from otel_ml.records import DatasetVersion
    from otel_ml_collector.cli.place import Workplace

_MOST_ITEMS: Final = 10_000
_SAVED_S: Final = 600.0
_VERSION_COLUMNS: Final = ("name", "version", "items", "stored", "is_complete", "time")
_CHANGE_COLUMNS: Final = (
    *("version", "added", "removed", "changed", "items", "time", "reason", "digest"),
)
_ITEM_COLUMNS: Final = ("id", "inputs", "expected", "tags", "source_run")
_DIFF_COLUMNS: Final = ("change", "id", "before", "digest")
_SLICE_COLUMNS: Final = ("tag", "value", "runs", "run_share", "items", "item_share", "enough")


def _check_reason(_context: click.Context, _option: click.Parameter, text: str) -> str:
    if len(text) > REASON_CHARS:
        raise click.BadParameter(f"expected at most {REASON_CHARS:,} characters")
    return text


_with_reason: Final = click.option(
    "--reason",
    default="",
    metavar="TEXT",
    callback=_check_reason,
    help="Reason for the new version, shown next to its number",
)


@click.group()
def dataset() -> None:
    """List, show, compare, change and export data sets."""


@dataset.command("list", epilog=HELP, short_help="List data sets, or the versions of one.")
@with_place
@with_project
@click.argument("name", metavar="[NAME]", required=False)
@with_form
def list_datasets(asked: PlaceOptions, project: str, *, name: str | None, form: Layout) -> int:
    """List data sets with their newest versions, or one data set's versions and their changes."""
    with _reading(asked, project) as (_, reader, check):
        dataset_versions = reader.dataset_versions(name) if name else reader.datasets()
        check(dataset_versions)
        rows = [asdict(dataset_version) for dataset_version in dataset_versions]
        answer = {"versions" if name else "datasets": rows}
        return write_rows(rows, answer, form, _CHANGE_COLUMNS if name else _VERSION_COLUMNS)


@dataset.command(epilog=HELP, short_help="Show the items of a version.")
@with_place
@with_project
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST_ITEMS),
    default=20,
    metavar="N",
    help="Maximum number of items to show [20]",
)
@click.argument("name", metavar="NAME[:vN]")
@with_form
def show(asked: PlaceOptions, project: str, *, name: str, limit: int, form: Layout) -> int:
    """Show the items of a data set, sorted by ID: the newest version, or the one that you name."""
    with _reading(asked, project) as (_, reader, _):
        version = _find_version(reader, name)
        dataset_items = reader.dataset_items(version.name, version.version)
        rows = [
            {**asdict(dataset_item), **_shown(dataset_item)}
            for dataset_item in islice(dataset_items, limit)
        ]
        return write_rows(rows, {"version": asdict(version), "items": rows}, form, _ITEM_COLUMNS)


@dataset.command(epilog=HELP, short_help="List the items that differ between two versions.")
@with_place
@with_project
@click.argument("before", metavar="NAME:vN")
@click.argument("after", metavar="NAME:vM")
@with_form
def diff(asked: PlaceOptions, project: str, *, before: str, after: str, form: Layout) -> int:
    """List the items that were added, removed or changed between two versions of a data set."""
    with _reading(asked, project) as (_, reader, _):
        older, newer = (_find_version(reader, part) for part in (before, after))
        if older.name != newer.name:
            raise BadSetting(
                f"{before} and {after} are different data sets: expected two versions of one"
            )
        dataset_diff = reader.dataset_diff(newer.name, newer.version, older.version)
        answer = asdict(dataset_diff)
        rows = [{"change": _change_of(item), **item} for item in answer["items"]]
        return write_rows(rows, answer, form, _DIFF_COLUMNS)


@dataset.command(epilog=HELP, short_help="Compare a data set with production traffic.")
@with_place
@with_project
@click.argument("name", metavar="NAME[:vN]")
@with_form
def coverage(asked: PlaceOptions, project: str, *, name: str, form: Layout) -> int:
    """Show how well a data set covers the runs of the last 28 days.

    You see one line for each tag value, such as region=EU: the share of production runs and the
    share of items with this value, and whether these items are enough to compare two versions.
    """
    with _reading(asked, project) as (_, reader, _):
        version = _find_version(reader, name)
        answer = asdict(reader.dataset_coverage(version.name, version.version))
        if not answer["slices"]:
            click.echo(_explain_no_slices(answer), err=True)
        return write_rows(answer["slices"], answer, form, _SLICE_COLUMNS)


def _explain_no_slices(coverage: Mapping[str, Any]) -> str:
    """Return why a data set has no slices to compare, and what to do."""
    if not coverage["models"]:
        return "No model to compare with: run an experiment on this data set first."
    models = ", ".join(coverage["models"])
    if not coverage["runs"]:
        return (
            f"{models} had no live runs in the last 28 days. The runs of the functions in the data "
            "set's last experiments are compared."
        )
    return f"The items have no tag with a value that 1 % of the runs of {models} have."


@dataset.command(epilog=HELP, short_help="Add items from a file or from recorded runs.")
@with_place
@with_project
@with_filter
@click.option(
    "--file",
    metavar="FILE",
    help=".jsonl, .csv or .parquet file with items. An item in the file replaces the stored item "
    "with the same ID",
)
@click.option(
    "--expected",
    type=click.Choice(("nothing", "outputs", "actual")),
    default="nothing",
    help="Expected value of the items that --where adds: nothing, the recorded outputs, "
    "or the ground truth (actual) [nothing]",
)
@_with_reason
@click.argument("name", metavar="NAME")
def add(
    asked: PlaceOptions,
    project: str,
    within: Within,
    *,
    file: str | None,
    expected: str,
    reason: str,
    name: str,
) -> int:
    """Create a new version of the data set NAME with more items.

    The items come from a file, or from the newest 100 runs that match --where. If the data set does
    not exist, it is created.
    """
    if bool(file) == bool(within):
        raise BadSetting("Nothing to add: expected either --file FILE or --where EXPR")
    with asked.open() as place:
        if file:
            from otel_ml.client import Client  # takes 0.1 s

            with place.reader(project) as reader:
                made = _add_items(reader, name, file)
            client = Client(project, endpoint=place.endpoint, api_key=place.key, join=False)
            called = client.save(made, _SAVED_S, reason=reason)
            delivery = client.flush(_SAVED_S)
            client.close()
            if not delivery:
                raise CommandFailed(f"The items did not arrive: {delivery.reason}")
            click.echo(f"{called} has {write_count(len(made), 'item')}")
            return DONE
        answer = _change(
            place.api(),
            (project, name, "runs"),
            **asdict(within),
            expected=expected,
            reason=reason,
        )
        for why, count in answer["left_out"].items():
            click.echo(f"skipped: {count:,} {why}", err=True)
        _print_version(answer["version"])
    return DONE


@dataset.command(epilog=HELP, short_help="Remove items.")
@with_place
@with_project
@click.option(
    "--item",
    "items",
    multiple=True,
    required=True,
    metavar="ID",
    help="ID of an item to remove; may be repeated",
)
@_with_reason
@click.argument("name", metavar="NAME")
def remove(
    asked: PlaceOptions, project: str, *, items: Sequence[str], reason: str, name: str
) -> int:
    """Create a new version of the data set NAME without some items. Older versions are kept."""
    with _reading(asked, project) as (place, reader, _):
        _find_version(reader, name)  # so that an error about a missing data set names it
        wanted = {"remove": list(items), "reason": reason}
        _print_version(_change(place.api(), (project, name, "items"), **wanted))
    return DONE


@dataset.command(epilog=HELP, short_help="Write the items to a JSON Lines file.")
@with_place
@with_project
@click.argument("name", metavar="NAME[:vN]")
@click.argument("file", metavar="[FILE.jsonl]", required=False)
def export(asked: PlaceOptions, project: str, *, name: str, file: str | None) -> int:
    """Write the items of a data set version to a JSON Lines file, or to standard output.

    `otel-ml evaluate --dataset` and `Dataset.read` read this format.
    """
    from otel_ml.experiments.dataset import Dataset  # takes 0.1 s

    with _reading(asked, project) as (_, reader, _):
        lines = [_line_of(item) for item in Dataset.load(name, reader=reader)]
    if file is None or file == "-":
        sys.stdout.buffer.writelines(lines)
        return DONE
    with open_file(Path(file)) as opened:
        opened.writelines(lines)
    return DONE


@contextmanager
def _reading(
    asked: PlaceOptions, project: str
) -> Iterator[tuple["Workplace", "Reader", Callable[[object], None]]]:
    """Find the collector or store, and open a reader of the project in this block.

    Yields:
        The collector or store, the reader, and the function that `check_project` yields.

    Raises:
        CommandFailed: The collector, project or data set does not exist.
    """
    with (
        asked.open() as place,
        place.reader(project) as reader,
        check_project(place.api(), project) as check,
    ):
        yield place, reader, check


def _find_version(reader: "Reader", name: str) -> "DatasetVersion":
    """Find the version of a data set by ``qa:v3``; for ``qa``, the newest whole version.

    Raises:
        CommandFailed: The data set has no such version.
    """
    from otel_ml.experiments.dataset import choose_version  # takes 0.1 s

    numbered = NUMBERED.fullmatch(name)
    bare, number = (numbered[1], int(numbered[2])) if numbered else (name, 0)
    version = choose_version(reader.dataset_versions(bare), number)
    if version is not None:
        return version
    raise CommandFailed(f"Data set {bare!r} has no version {number}", NOT_FOUND)


def _shown(item: Any) -> dict[str, Any]:
    """Return an item's inputs and expected value as JSON values; other types as their repr."""
    return {
        part: orjson.loads(orjson.dumps(getattr(item, part), default=repr))
        for part in ("inputs", "expected")
    }


def _change_of(item: Mapping[str, Any]) -> str:
    if item["before"] is None:
        return "added"
    return "removed" if item["digest"] is None else "changed"


def _add_items(reader: "Reader", name: str, file: str) -> "Dataset":
    """Return the newest whole version's items, if any, with those of a file added or replaced.

    Raises:
        CommandFailed: The file cannot be read, or items of that version were deleted.
    """
    from otel_ml.experiments.dataset import Dataset, choose_version  # takes 0.1 s
    from otel_ml.reader import NotFound

    try:
        added = Dataset.read(file, name)
    except (OSError, ValueError, ImportError) as error:
        raise CommandFailed(str(error), USAGE) from error
    try:
        newest = choose_version(reader.dataset_versions(name), 0)
    except NotFound:
        return added
    if newest is None or newest.is_newest is False:  # the data set has no whole version
        return added
    try:
        known = Dataset.load(f"{name}:v{newest.version}", reader=reader)
    except ValueError as error:
        raise CommandFailed(str(error), USAGE) from error
    items = {item.id: item for item in known} | {item.id: item for item in added}
    return Dataset(name, items.values(), known.description)


def _change(api: Any, of: tuple[str, str, str], **wanted: object) -> Any:
    """Request a new version of a data set; returns the API's answer.

    Args:
        api: The client of the HTTP API.
        of: The project, the data set's name, and the last part of the path: runs or items.
        wanted: Fields of the request's body; None values are left out.
    """
    from otel_ml.reader.api import Question  # heavy

    project, name, how = of
    body = {key: value for key, value in wanted.items() if value is not None}
    return api.ask(Question(("projects", project, "datasets", name, how), method="POST", body=body))


def _print_version(version: Mapping[str, Any]) -> None:
    click.echo(
        f"{version['name']}:v{version['version']} has {write_count(version['items'], 'item')}"
    )


def _line_of(item: Any) -> bytes:
    facts = {"id": item.id, "inputs": item.inputs, "expected": item.expected}
    facts |= {"tags": item.tags} if item.tags else {}
    facts |= {
        name: value for name in ("source_run", "source_session") if (value := getattr(item, name))
    }
    try:
        return orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError as error:
        text = f"Item {item.id!r} has values that JSON cannot contain: use Dataset.load instead"
        raise CommandFailed(text) from error
