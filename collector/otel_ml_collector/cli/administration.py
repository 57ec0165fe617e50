"""The commands of whoever runs a collector: serve, check, keys, retention, storage, backup."""

import gc
import logging
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click

from otel_ml_collector.access import SCOPES
from otel_ml_collector.cli.failure import (
    DONE,
    HELP,
    INSTALL_COLLECTOR,
    CommandFailed,
)
from otel_ml_collector.cli.options import Flags, with_settings
from otel_ml_collector.cli.output import Layout, with_form, write_rows
from otel_ml_collector.cli.place import (
    PlaceOptions,
    Workplace,
    fetch_as_stranger,
    is_collector,
    with_place,
)
from otel_ml_collector.errors import BadSetting
from otel_ml_collector.log import start_logging
from otel_ml_collector.settings.sources import load, warnings_of

_NEEDED: Final = ("chdb", "clickhouse_connect", "fastapi", "grpc", "jinja2", "pyarrow", "uvicorn")
# Of the packages that it works without, pyarrow loads these where they are: numpy at once, and
# pandas to see that a value is none of its. Together 50 MB and half a second.
_ABSENT: Final = frozenset({"numpy", "pandas"})
_KEY_COLUMNS: Final = (
    *("id", "name", "scopes", "projects", "spans_per_second", "bytes_per_second"),
    *("created_time", "revoked_time"),
)
_UNAUTHORIZED: Final = 401
_ASK_S: Final = 60.0
_LONG_S: Final = 3_600.0  # files are written anew, or copied

_logger = logging.getLogger(__name__)


class _Absent(MetaPathFinder):
    @staticmethod
    def find_spec(name: str, path: object, target: object = None) -> None:
        if name in _ABSENT:
            raise ModuleNotFoundError(name)


def leave_out() -> None:
    """Hide optional packages from this process from now on, though they are installed."""
    sys.meta_path.insert(0, _Absent)


@click.command()
@with_settings()
def serve(flags: Flags) -> int:
    """Receive OpenTelemetry spans, keep their records, serve API and pages."""
    if any(find_spec(module) is None for module in _NEEDED):
        raise BadSetting(INSTALL_COLLECTOR)
    settings = flags.load()
    start_logging(settings.log_level, settings.log_format)
    for warning in warnings_of(os.environ):
        _logger.warning("%s", warning)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC prints what peers say, as they said it
    gc.disable()  # until it serves: what is imported stays
    leave_out()
    from otel_ml_collector.serve.app import serve as serve_until_told  # heavy

    return serve_until_told(settings)


@click.command()
@with_settings()
@click.argument("file", metavar="[FILE]", required=False)
def check(flags: Flags, file: str | None) -> int:
    """Check a file by itself, without variables.

    Without a file it shows what `otel-ml serve` would run with here, and which source says it.
    """
    if file:
        settings = load(flags.texts, {}, Path(file))
        sys.stdout.write(f"{file} is right\n")
    else:
        settings = flags.load()
        rows = [(name, value.shown or "-", value.told_by) for name, value in flags.choose().items()]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for name, value, source in rows:
            sys.stdout.write(f"{name:{widths[0]}}  {value:{widths[1]}}  {source}\n")
        for warning in warnings_of(os.environ):
            _say(warning)
    for address in () if settings.insecure else (settings.http, settings.grpc):
        if not address.is_loopback:
            _say(f"Listening at {address} needs keys: while there are none, it is refused")
    return DONE


@click.group()
def keys() -> None:
    """Make, list and revoke keys.

    Asks the collector, with a key of the scope admin in OTEL_ML_API_KEY once it has keys; works on
    the data directory while no collector serves it.
    """


@keys.command("add", epilog=HELP, short_help="make a key and print it, this once")
@with_place
@click.option(
    "--project",
    "projects",
    required=True,
    metavar="P[,P2|*]",
    help="its projects, or * for all; the first takes what names no project",
)
@click.option(
    "--scope",
    "scopes",
    default="ingest,read",
    metavar="S[,S2]",
    help=f"some of {', '.join(SCOPES)} [ingest,read]",
)
@click.option("--name", default="", help="what you call it")
@click.option("--spans-per-second", type=int, default=0, metavar="N", help="spans it may send")
@click.option("--bytes-per-second", type=int, default=0, metavar="N", help="bytes it may send")
def add_key(asked: PlaceOptions, projects: str, scopes: str, **more: Any) -> int:
    """Make a key; it stands alone on its line of the output, this once."""
    wanted = {"projects": _split(projects), "scopes": _split(scopes), **more}
    with asked.open(makes=True) as place:
        is_first = not place.api().get("keys")["keys"]
        made = _send(place, "POST", "keys", body=wanted)
        sys.stdout.write(f"{made['key']}\n")
        sys.stdout.flush()
        _say(f"key {made['id']} is shown this once; only its hash is kept, in {place.name}")
        if is_first and "admin" not in made["scopes"]:
            _say("no key has the scope admin: stop the collector to make or revoke others")
        if place.is_served:
            _check_closed(place, is_first=is_first)
    if not place.is_served:
        _say("no collector serves it now: the next one answers nobody without a key")
        if is_collector(asked.address):
            _say(f"the collector at {asked.address} keeps another store: for it nothing changes")
    return DONE


def _check_closed(place: Workplace, *, is_first: bool) -> None:
    """Check that a request without a key is refused, and print the result.

    Raises:
        CommandFailed: The collector answers.
    """
    reply = fetch_as_stranger(place.endpoint, "/api/v1/projects")
    if reply.status != _UNAUTHORIZED:
        raise CommandFailed(
            f"The key is made, but {place.name} does not refuse who has none: it answered "
            f"{reply.status or reply.text}"
        )
    if is_first:
        _say("from now on the collector answers nobody without a key")
    _say(f"checked: {place.endpoint.rstrip('/')} refuses who has no key (401)")


@keys.command("list", epilog=HELP, short_help="list the keys, without what is secret")
@with_place
@with_form
def list_keys(asked: PlaceOptions, form: Layout) -> int:
    """List the keys, the oldest first, without their secrets."""
    with asked.open() as place:
        answer = place.api().get("keys")
        rows = [
            {
                name: ",".join(value) if isinstance(value, list) else value
                for name, value in key.items()
            }
            for key in answer["keys"]
        ]
        write_rows(rows, answer, form, _KEY_COLUMNS)
    return DONE


@keys.command("revoke", epilog=HELP, short_help="revoke a key for ever")
@with_place
@click.argument("key_id", metavar="ID")
def revoke_key(asked: PlaceOptions, key_id: str) -> int:
    """Revoke a key for ever; ID is its public part, as in the list."""
    with asked.open() as place:
        revoked = _send(place, "DELETE", "keys", key_id)
        sys.stdout.write(f"{revoked['id']} is revoked in {place.name}\n")
    return DONE


@click.command(epilog=HELP)
@with_place
@click.argument("project", metavar="PROJECT")
@click.option("--records", metavar="DAYS|configured", help="days that all of it is kept")
@click.option(
    "--payloads",
    metavar="DAYS|configured",
    help="days that inputs, outputs, lines and data are kept: 0 for ever, 'configured' for the "
    "collector's setting",
)
def retention(asked: PlaceOptions, project: str, records: str | None, payloads: str | None) -> int:
    """Say or set how long a project is kept, counted from when a record arrives."""
    with asked.open() as place:
        path = ("projects", project, "retention")
        holds = place.api().get(*path)
        name = ""
        if records is not None or payloads is not None:
            wanted = {
                "record_days": _days(records, holds["record_days"]),
                "payload_days": _days(payloads, holds["payload_days"]),
            }
            holds = _send(place, "PUT", *path, body=wanted)
            name = f", set in {place.name}"
        for what in ("record", "payload"):
            days = holds[f"holds_{what}_days"]
            sys.stdout.write(f"{what}s: {f'{days} days' if days else 'for ever'}{name}\n")
    return DONE


def _days(text: str | None, before: int | None) -> int | None:
    if text is None:
        return before
    if text == "configured":
        return None
    if not text.isdecimal():
        raise BadSetting(f"Invalid days {text!r}: expected a whole number or 'configured'")
    return int(text)


@click.command(epilog=HELP)
@with_place
@click.option("--purge", is_flag=True, help="free now what was deleted; needs the scope admin")
@click.option(
    "--free-days", type=int, metavar="N", help="tell what deleting all older ones would free"
)
@with_form
def storage(asked: PlaceOptions, form: Layout, *, purge: bool, free_days: int | None) -> int:
    """List the space on disk by project."""
    with asked.open() as place:
        if purge:
            answer = _send(place, "POST", "storage", "purge", timeout_s=_LONG_S)
            return write_rows([answer], answer, form)
        answer = place.api(_ASK_S).get("storage", days=free_days)
        rows = [_flat(project) for project in answer["projects"]]
        return write_rows(rows, answer, form, () if rows else ("project",))


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    """Lay a project out flat: bytes in all and by kind."""
    kinds = {f"{kind}_bytes": share["bytes"] for kind, share in facts["kinds"].items()}
    freed = {
        name: facts[name] for name in ("freed_records", "freed_payloads") if facts[name] is not None
    }
    kept = {name: facts[name] for name in ("record_days", "payload_days")}
    return {"project": facts["project"], "bytes": facts["bytes"], **kinds, **kept, **freed}


@click.command(epilog=HELP)
@with_place
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def backup(asked: PlaceOptions, folder: Path) -> int:
    """Write a backup into DIR, a new or empty folder on the collector's own machine.

    A collector that has keys wants one of the scope admin over all projects in OTEL_ML_API_KEY.
    """
    with asked.open() as place:
        body = {"folder": str(folder.absolute())}
        done = _send(place, "POST", "backup", body=body, timeout_s=_LONG_S)
        sys.stdout.write(f"{done['folder']}: {done['bytes']:,} bytes, of {place.name}\n")
    return DONE


@click.command(epilog=HELP)
@with_settings("data_dir")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def restore(flags: Flags, folder: Path) -> int:
    """Make the data directory that --data-dir names, new or empty, of the backup in DIR."""
    data_dir = flags.load().data_dir
    if data_dir is None:
        raise BadSetting("A ClickHouse server restores its own backups: use its RESTORE command")
    if flags.choose()["data_dir"].source == "default":
        raise BadSetting("Say which data directory is to be made with --data-dir DIR")
    if find_spec("chdb") is None:
        raise BadSetting(INSTALL_COLLECTOR)
    from otel_ml_collector.store.backup import restore as restore_into  # takes 0.4 s

    restored = restore_into(folder, data_dir)
    sys.stdout.write(f"{data_dir}: restored, {restored.parts} parts\n")
    if not restored.is_checked:
        sys.stdout.write("The backup has no checksums: of its files the sizes alone were checked\n")
    return DONE


def _send(
    place: Workplace, method: str, *path: str, body: object = None, timeout_s: float = _ASK_S
) -> dict[str, Any]:
    from otel_ml.reader.api import Question  # takes 0.1 s

    question = Question(path, method=method, body=body, is_repeatable=False)
    answer: dict[str, Any] = place.api(timeout_s).ask(question)
    return answer


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _say(text: str) -> None:
    sys.stderr.write(f"otel-ml: {text}\n")
