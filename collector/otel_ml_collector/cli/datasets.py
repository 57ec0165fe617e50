"""The commands of data sets: they are listed, shown, compared, changed and written into a file."""

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
    help="why the new version is made: kept with it",
)


@click.group()
def dataset() -> None:
    """List, show, compare and change data sets, and write them into files."""


@dataset.command("list", epilog=HELP)
@with_place
@with_project
@click.argument("name", metavar="[NAME]", required=False)
@with_form
def list_datasets(asked: PlaceOptions, project: str, *, name: str | None, form: Layout) -> int:
    """List data sets, each as its newest version, or the versions of one with their changes."""
    with _reading(asked, project) as (_, reader, check):
        dataset_versions = reader.dataset_versions(name) if name else reader.datasets()
        check(dataset_versions)
        rows = [asdict(dataset_version) for dataset_version in dataset_versions]
        answer = {"versions" if name else "datasets": rows}
        return write_rows(rows, answer, form, _CHANGE_COLUMNS if name else _VERSION_COLUMNS)


@dataset.command(epilog=HELP)
@with_place
@with_project
@click.option("--limit", type=click.IntRange(1, _MOST_ITEMS), default=20, metavar="N", help="[20]")
@click.argument("name", metavar="NAME[:vN]")
@with_form
def show(asked: PlaceOptions, project: str, *, name: str, limit: int, form: Layout) -> int:
    """Show the items of a version, by default the newest, in the order of their ids."""
    with _reading(asked, project) as (_, reader, _):
        version = _find_version(reader, name)
        dataset_items = reader.dataset_items(version.name, version.version)
        rows = [
            {**asdict(dataset_item), **_shown(dataset_item)}
            for dataset_item in islice(dataset_items, limit)
        ]
        return write_rows(rows, {"version": asdict(version), "items": rows}, form, _ITEM_COLUMNS)


@dataset.command(epilog=HELP)
@with_place
@with_project
@click.argument("before", metavar="NAME:vN")
@click.argument("after", metavar="NAME:vM")
@with_form
def diff(asked: PlaceOptions, project: str, *, before: str, after: str, form: Layout) -> int:
    """List the items that were added, removed or changed between two versions."""
    with _reading(asked, project) as (_, reader, _):
        older, newer = (_find_version(reader, part) for part in (before, after))
        if older.name != newer.name:
            raise BadSetting(f"{before} and {after}: expected two versions of one data set")
        dataset_diff = reader.dataset_diff(newer.name, newer.version, older.version)
        answer = asdict(dataset_diff)
        rows = [{"change": _change_of(item), **item} for item in answer["items"]]
        return write_rows(rows, answer, form, _DIFF_COLUMNS)


@dataset.command(epilog=HELP)
@with_place
@with_project
@click.argument("name", metavar="NAME[:vN]")
@with_form
def coverage(asked: PlaceOptions, project: str, *, name: str, form: Layout) -> int:
    """List slices of production's last 28 days beside the items that are like them."""
    with _reading(asked, project) as (_, reader, _):
        version = _find_version(reader, name)
        answer = asdict(reader.dataset_coverage(version.name, version.version))
        return write_rows(answer["slices"], answer, form, _SLICE_COLUMNS)


@dataset.command(epilog=HELP)
@with_place
@with_project
@with_filter
@click.option(
    "--file", metavar="FILE", help=".jsonl, .csv or .parquet; an id that is there is replaced"
)
@click.option(
    "--expected",
    type=click.Choice(("nothing", "outputs", "actual")),
    default="nothing",
    help="with --where: what is right, the answer or the truth that came [nothing]",
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
    """Make a new version with items of a file, or of the newest 100 runs that match --where.

    A data set that is not there is made.
    """
    if bool(file) == bool(within):
        raise BadSetting("Say what to add: either --file FILE, or --where EXPR")
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
            click.echo(f"{called} has {len(made):,} items")
            return DONE
        answer = _change(
            place.api(),
            (project, name, "runs"),
            **asdict(within),
            expected=expected,
            reason=reason,
        )
        for why, count in answer["left_out"].items():
            click.echo(f"left out: {count:,} {why}", err=True)
        _tell(answer["version"])
    return DONE


@dataset.command(epilog=HELP)
@with_place
@with_project
@click.option("--item", "items", multiple=True, required=True, metavar="ID", help="may be repeated")
@_with_reason
@click.argument("name", metavar="NAME")
def remove(
    asked: PlaceOptions, project: str, *, items: Sequence[str], reason: str, name: str
) -> int:
    """Make a new version without some items; the older ones stay as they are."""
    with _reading(asked, project) as (place, reader, _):
        _find_version(reader, name)  # or a wrong name would say that the item is not there
        wanted = {"remove": list(items), "reason": reason}
        _tell(_change(place.api(), (project, name, "items"), **wanted))
    return DONE


@dataset.command(epilog=HELP)
@with_place
@with_project
@click.argument("name", metavar="NAME[:vN]")
@click.argument("file", metavar="[FILE.jsonl]", required=False)
def export(asked: PlaceOptions, project: str, *, name: str, file: str | None) -> int:
    """Write the items of a version, a line each, as --dataset and Dataset.read take them."""
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
    """Open the place of a command, the reader of a project, and its check for missing data.

    Raises:
        CommandFailed: There is no such place, project or data set.
    """
    with (
        asked.open() as place,
        place.reader(project) as reader,
        check_project(place.api(), project) as check,
    ):
        yield place, reader, check


def _find_version(reader: "Reader", name: str) -> "DatasetVersion":
    """Find the version that ``qa:v3`` names, or the newest version of ``qa``."""
    numbered = NUMBERED.fullmatch(name)
    bare, number = (numbered[1], int(numbered[2])) if numbered else (name, 0)
    for dataset_version in reader.dataset_versions(bare):
        if number in {0, dataset_version.version}:
            return dataset_version
    raise CommandFailed(f"Data set {bare!r} has no version {number}", NOT_FOUND)


def _shown(item: Any) -> dict[str, Any]:
    """Return inputs and expected as JSON; a value of another type as its repr."""
    return {
        part: orjson.loads(orjson.dumps(getattr(item, part), default=repr))
        for part in ("inputs", "expected")
    }


def _change_of(item: Mapping[str, Any]) -> str:
    if item["before"] is None:
        return "added"
    return "removed" if item["digest"] is None else "changed"


def _add_items(reader: "Reader", name: str, file: str) -> "Dataset":
    """Join the items of the newest version, if any, and those of a file."""
    from otel_ml.experiments.dataset import Dataset  # takes 0.1 s
    from otel_ml.reader import NotFound

    try:
        added = Dataset.read(file, name)
    except (OSError, ValueError, ImportError) as error:
        raise CommandFailed(str(error), USAGE) from error
    try:
        known = Dataset.load(name, reader=reader)
    except NotFound:
        return added
    items = {item.id: item for item in known} | {item.id: item for item in added}
    return Dataset(name, items.values(), known.description)


def _change(api: Any, of: tuple[str, str, str], **wanted: object) -> Any:
    """Ask for a new version."""
    from otel_ml.reader.api import Question  # heavy

    project, name, how = of
    body = {key: value for key, value in wanted.items() if value is not None}
    return api.ask(Question(("projects", project, "datasets", name, how), method="POST", body=body))


def _tell(version: Mapping[str, Any]) -> None:
    click.echo(f"{version['name']}:v{version['version']} has {version['items']:,} items")


def _line_of(item: Any) -> bytes:
    facts = {"id": item.id, "inputs": item.inputs, "expected": item.expected}
    facts |= {"tags": item.tags} if item.tags else {}
    facts |= {
        name: value for name in ("source_run", "source_session") if (value := getattr(item, name))
    }
    try:
        return orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError as error:
        text = f"Item {item.id!r} holds what no line of JSON can: read it with Dataset.load"
        raise CommandFailed(text) from error
