"""Commands to operate a collector: serve, check, keys, retention, storage, backup, restore."""

import gc
import logging
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import click

from otel_ml.counts import write_count
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
    check_project,
    fetch_as_stranger,
    is_collector,
    with_place,
    with_project,
)
from otel_ml_collector.errors import BadSetting, InUse
from otel_ml_collector.log import start_logging
from otel_ml_collector.settings.sources import load, warnings_of
from otel_ml_collector.store.lock import read_holder
from otel_ml_collector.store.same_folder import identify

_NEEDED: Final = ("chdb", "clickhouse_connect", "fastapi", "grpc", "jinja2", "pyarrow", "uvicorn")
# pyarrow imports these if they are installed, though the collector does not need them. Together
# they cost 50 MB and half a second.
_ABSENT: Final = frozenset({"numpy", "pandas"})
_KEY_COLUMNS: Final = (
    *("id", "name", "scopes", "projects", "spans_per_second", "bytes_per_second"),
    *("created_time", "revoked_time"),
)
_MENTION_COLUMNS: Final = ("kind", "name", "place", "time")
_UNAUTHORIZED: Final = 401
_ASK_S: Final = 60.0
# Projects per page of `storage`.
_PAGE: Final = 1_000
_FREE_WITHIN_S: Final = 120
# A collector that has just locked its data directory is ready within this time.
_HOLDER_S: Final = 30.0
_HOLDER_EVERY_S: Final = 0.2
# For `check`: size without a terminal, the most columns of an origin, and the least of a value.
_NO_TERMINAL: Final = (100, 24)
_ORIGIN_WIDTH: Final = 32
_LEAST_WIDTH: Final = 20
_LONG_S: Final = 3_600.0  # purging rewrites files, and a backup copies them

_logger = logging.getLogger(__name__)


class _Absent(MetaPathFinder):
    @staticmethod
    def find_spec(name: str, path: object, target: object = None) -> None:
        if name in _ABSENT:
            raise ModuleNotFoundError(name)


def leave_out() -> None:
    """Make the imports of numpy and pandas fail in this process, even if they are installed."""
    sys.meta_path.insert(0, _Absent)


@click.command()
@with_settings()
@click.option("--launched", type=click.Path(path_type=Path), hidden=True)
def serve(flags: Flags, launched: Path | None) -> int:
    """Run the collector: receive OpenTelemetry spans, store them, and serve the API and pages.

    Each option is a setting. Instead of an option, you can use the settings file (otel-ml.toml, or
    the file that --config names) or an environment variable, such as OTEL_ML_DATA_DIR for
    --data-dir.
    """
    if any(find_spec(module) is None for module in _NEEDED):
        raise BadSetting(INSTALL_COLLECTOR)
    settings = flags.load()
    start_logging(settings.log_level, settings.log_format)
    for warning in warnings_of(os.environ):
        _logger.warning("%s", warning)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC would log text from clients unescaped
    gc.disable()  # until the collector serves, because imported modules are never freed
    leave_out()
    from otel_ml_collector.serve.launched import LaunchFile
    from otel_ml_collector.serve.server import serve as serve_until_stopped  # heavy

    if launched is None:
        return serve_until_stopped(settings)
    file = LaunchFile(launched)
    try:
        return serve_until_stopped(settings, file)
    except InUse as error:
        file.announce(_await_holder(settings.data_dir, error))
        return DONE


def _await_holder(data_dir: Path | None, error: InUse) -> str:
    """Return the address of the collector that has a data directory open, once it answers.

    Raises:
        InUse: It does not answer in time.
    """
    until = time.monotonic() + _HOLDER_S
    while data_dir is not None and time.monotonic() < until:
        _, address = read_holder(data_dir)
        if address and is_collector(address):
            return address
        time.sleep(_HOLDER_EVERY_S)
    raise error


@click.command()
@with_settings()
@click.argument("file", metavar="[FILE]", required=False)
def check(flags: Flags, file: str | None) -> int:
    """Check the settings in FILE, without environment variables.

    Without FILE, show the settings that `otel-ml serve` would use in this folder, and the source of
    each setting.
    """
    if file:
        settings = load(flags.texts, {}, Path(file))
        sys.stdout.write(f"{file} is valid\n")
    else:
        settings = flags.load()
        rows = [(name, value.shown or "-", value.origin) for name, value in flags.choose().items()]
        _write_settings(rows, shutil.get_terminal_size(_NO_TERMINAL).columns)
        for warning in warnings_of(os.environ):
            _print(warning)
    for address in () if settings.insecure else (settings.http, settings.grpc):
        if not address.is_loopback:
            _print(
                f"To listen at {address}, create a key first (otel-ml keys add): without keys, "
                "otel-ml serve does not start"
            )
    return DONE


def _write_settings(rows: Sequence[tuple[str, str, str]], width: int) -> None:
    """Write settings in columns. A long value or origin continues on the next line."""
    name_width = max(len(name) for name, _, _ in rows)
    origin_width = min(max(len(origin) for _, _, origin in rows), _ORIGIN_WIDTH)
    longest = max(len(value) for _, value, _ in rows)
    value_width = min(longest, max(width - name_width - origin_width - 4, _LEAST_WIDTH))
    for name, value, origin in rows:
        values, origins = _wrap(value, value_width), _wrap(origin, origin_width)
        for first, second, third in zip_longest([name], values, origins, fillvalue=""):
            line = f"{first:{name_width}}  {second:{value_width}}  {third}"
            sys.stdout.write(f"{line.rstrip()}\n")


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)


@click.group()
def keys() -> None:
    """Create, list and revoke API keys.

    If the collector runs and already has keys, set OTEL_ML_API_KEY to a key with the scope admin.
    If no collector runs, the commands read and change the data directory themselves.
    """


@keys.command("add", epilog=HELP, short_help="Create a key and print it once.")
@with_place
@click.option(
    "--project",
    "projects",
    required=True,
    metavar="P[,P2|*]",
    help="Projects that the key may use, or * for all. Spans that do not name a project go to the "
    "first project",
)
@click.option(
    "--scope",
    "scopes",
    default="ingest,read",
    metavar="S[,S2]",
    help=f"What the key may do: one or more of {', '.join(SCOPES)} (default: ingest,read)",
)
@click.option("--name", default="", metavar="NAME", help="Name of the key, shown in lists")
@click.option(
    "--spans-per-second",
    type=int,
    default=0,
    metavar="N",
    help="Maximum spans per second that the key may send; 0 means no limit [0]",
)
@click.option(
    "--bytes-per-second",
    type=int,
    default=0,
    metavar="N",
    help="Maximum bytes per second that the key may send; 0 means no limit [0]",
)
def add_key(asked: PlaceOptions, projects: str, scopes: str, **more: Any) -> int:
    """Create an API key and print it to standard output. It is never shown again."""
    wanted = {"projects": _split(projects), "scopes": _split(scopes), **more}
    with asked.open(makes=True) as place:
        is_first = not place.api().get("keys")["keys"]
        made = _send(place, "POST", "keys", body=wanted)
        sys.stdout.write(f"{made['key']}\n")
        sys.stdout.flush()
        _print(
            f"key {made['id']} will not be shown again: copy it now (only its hash is stored, in "
            f"{place.name})"
        )
        if is_first and "admin" not in made["scopes"]:
            _print(
                "no key has the scope admin: you must stop the collector to create or revoke other "
                "keys"
            )
        if place.is_served:
            _check_closed(place, is_first=is_first)
    if not place.is_served:
        _print("the next collector that uses this store will require a key for every request")
        if is_collector(asked.address):
            _print(
                f"the collector at {asked.address} uses a different store: nothing changes for it"
            )
    return DONE


def _check_closed(place: Workplace, *, is_first: bool) -> None:
    """Check that the collector refuses a request without a key, and print the result.

    Raises:
        CommandFailed: The collector does not refuse the request.
    """
    reply = fetch_as_stranger(place.endpoint, "/api/v1/projects")
    if reply.status != _UNAUTHORIZED:
        raise CommandFailed(
            f"The key was created, but {place.name} does not refuse requests without a key: it "
            f"answered {reply.status or reply.text} instead of 401"
        )
    if is_first:
        _print("from now on, the collector requires a key for every request")
    _print(f"checked: {place.endpoint.rstrip('/')} refuses requests without a key (401)")


@keys.command("list", epilog=HELP, short_help="List the keys, without their secrets.")
@with_place
@with_form
def list_keys(asked: PlaceOptions, form: Layout) -> int:
    """List the API keys, oldest first, without their secrets."""
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


@keys.command("revoke", epilog=HELP, short_help="Revoke a key permanently.")
@with_place
@click.argument("key_id", metavar="ID")
def revoke_key(asked: PlaceOptions, key_id: str) -> int:
    """Revoke an API key permanently. ID is the public part of the key, as `keys list` shows it."""
    with asked.open() as place:
        revoked = _send(place, "DELETE", "keys", key_id)
        sys.stdout.write(f"{revoked['id']} is revoked in {place.name}\n")
    return DONE


@click.command(epilog=HELP)
@with_place
@click.argument("project", metavar="[PROJECT]", required=False)
@click.option(
    "--confirm",
    is_flag=True,
    help="Confirm that the clock is right, so that deletion continues after a clock jump",
)
@click.option(
    "--records",
    metavar="DAYS|configured",
    help="Days to keep records; 0 keeps them forever, and 'configured' uses the collector's "
    "setting",
)
@click.option(
    "--payloads",
    metavar="DAYS|configured",
    help="Days to keep inputs, outputs, log lines and logged data; 0 keeps them as long as the "
    "records, and 'configured' uses the collector's setting",
)
def retention(
    asked: PlaceOptions,
    project: str | None,
    *,
    confirm: bool,
    records: str | None,
    payloads: str | None,
) -> int:
    """Show or set how long the records of a project are kept, counted from their arrival.

    Retention pauses if the collector's clock has jumped by more than 2 days since the last deletion
    of old records. Check the clock. If the clock is right, use --confirm.
    """
    if confirm is bool(project):
        raise BadSetting("Give PROJECT, or --confirm alone")
    if not project:
        return _confirm_clock(asked)
    with asked.open() as place:
        path = ("projects", project, "retention")
        holds = place.api().get(*path)
        name = ""
        if records is not None or payloads is not None:
            with check_project(place.api(), project) as check:
                check(None)
            wanted = {
                "record_days": _days(records, holds["record_days"]),
                "payload_days": _days(payloads, holds["payload_days"]),
            }
            holds = _send(place, "PUT", *path, body=wanted)
            name = f", set in {place.name}"
        for what in ("record", "payload"):
            days = holds[f"holds_{what}_days"]
            sys.stdout.write(f"{what}s: {f'{days} days' if days else 'forever'}{name}\n")
    return DONE


def _confirm_clock(asked: PlaceOptions) -> int:
    with asked.open() as place:
        answer = _send(place, "POST", "retention", "confirm")
        last = answer["last_pass_time"] or "never"
        sys.stdout.write(
            f"The clock of {place.name} is confirmed: {answer['time']}. Retention deletes again, "
            f"its last pass was: {last}\n"
        )
    return DONE


def _days(text: str | None, before: int | None) -> int | None:
    if text is None:
        return before
    if text == "configured":
        return None
    if not text.isdecimal():
        raise BadSetting(f"Invalid number of days {text!r}: expected an integer or 'configured'")
    return int(text)


@click.command(epilog=HELP)
@with_place
@click.option(
    "--purge",
    is_flag=True,
    help="Free the space of deleted records now; needs a key with the scope admin",
)
@click.option(
    "--no-wait",
    is_flag=True,
    help="Do not wait until --purge has freed the space, which takes 8 to 40 s",
)
@click.option(
    "--rebuild",
    metavar="DAY",
    help="Compute again what other runs change about the runs of a day (YYYY-MM-DD, UTC), such as "
    "inherited sessions; needs a key with the scope admin",
)
@click.option(
    "--free-days",
    type=int,
    metavar="N",
    help="Also show how much space you would free by deleting everything older than N days",
)
@with_form
def storage(
    asked: PlaceOptions,
    form: Layout,
    *,
    purge: bool,
    no_wait: bool,
    rebuild: str | None,
    free_days: int | None,
) -> int:
    """Show how much disk space each project uses, or free the space of deleted records."""
    with asked.open() as place:
        if rebuild is not None:
            answer = _send(place, "POST", "storage", "rebuild", timeout_s=_LONG_S, day=rebuild)
            return write_rows([answer], answer, form)
        if purge:
            wait = {"wait_s": 0 if no_wait else _FREE_WITHIN_S}
            answer = _send(place, "POST", "storage", "purge", timeout_s=_LONG_S, **wait)
            return write_rows([answer], answer, form)
        answer = _read_storage(place, free_days)
        for deletion in answer.get("deletions", ()):
            _print(_describe_deletion(deletion))
        rows = [_flat(project) for project in answer["projects"]]
        return write_rows(rows, answer, form, () if rows else ("project",))


def _describe_deletion(deletion: dict[str, Any]) -> str:
    """Describe how far a deletion is, in one line."""
    what = deletion["project"]
    if deletion["target"]:
        what = f"{deletion['kind']} {deletion['target']} of {what}"
    runs = (
        ""
        if deletion["deleted_runs"] is None
        else f", {write_count(deletion['deleted_runs'], 'run')}"
    )
    trouble = f"; last attempt: {deletion['trouble']}" if deletion["trouble"] else ""
    return f"deleting {what}: {deletion['steps_done']} of {deletion['steps']} steps{runs}{trouble}"


def _read_storage(place: Workplace, free_days: int | None) -> dict[str, Any]:
    """Read the sizes of all projects, page after page, as one answer."""
    api = place.api(_ASK_S)
    answer: dict[str, Any] = api.get("storage", days=free_days)
    cursor = answer.get("next_cursor")
    while cursor is not None:
        page = api.get("storage", days=free_days, limit=_PAGE, cursor=cursor)
        answer["projects"] += page["projects"]
        cursor = answer["next_cursor"] = page["next_cursor"]
    return answer


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    """Return a project's storage as one table row: bytes in total and by kind, and retention."""
    kinds = {f"{kind}_bytes": share["bytes"] for kind, share in facts["kinds"].items()}
    freed = {
        name: facts[name] for name in ("freed_records", "freed_payloads") if facts[name] is not None
    }
    kept = {name: facts[name] for name in ("record_days", "payload_days")}
    return {"project": facts["project"], "bytes": facts["bytes"], **kinds, **kept, **freed}


@click.command(epilog=HELP)
@with_place
@with_project
@click.option(
    "--who",
    required=True,
    metavar="NAME",
    help="Name of the person; upper and lower case do not matter",
)
@with_form
def find(asked: PlaceOptions, project: str, form: Layout, *, who: str) -> int:
    """Find a person's name in data set items, alert rules, labels and similar records.

    After you delete a user, use this command to find where the name still appears. To search the
    inputs and outputs of runs, use `otel-ml runs --where`.
    """
    with asked.open() as place, check_project(place.api(), project) as check:
        answer = place.api(_ASK_S).get("projects", project, "mentions", who=who)
        check(answer["mentions"])
        if not answer["is_complete"]:
            _print("there are more than 1,000 of a kind: the list is cut off")
        write_rows(answer["mentions"], answer, form, _MENTION_COLUMNS)
    return DONE  # also if nothing is found, as after a full deletion


@click.command(epilog=HELP)
@with_place
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def backup(asked: PlaceOptions, folder: Path) -> int:
    """Write a backup to DIR, a new or empty folder on the collector's machine.

    You can leave the collector running. If it has keys, set OTEL_ML_API_KEY to a key with the scope
    admin for all projects.
    """
    with asked.open() as place:
        seen = identify(folder.absolute())
        body = {
            "folder": str(folder.absolute()),
            "seen": {"path": str(seen.path), "device": seen.device, "inode": seen.inode},
        }
        done = _send(place, "POST", "backup", body=body, timeout_s=_LONG_S)
        sys.stdout.write(f"{done['folder']}: {done['bytes']:,} bytes, backup of {place.name}\n")
        sys.stdout.write(f"Writing was paused for {done['rested_ms'] / 1_000:.2f} s\n")
    return DONE


@click.command(epilog=HELP)
@with_settings("data_dir")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def restore(flags: Flags, folder: Path) -> int:
    """Restore the backup in DIR into a data directory.

    --data-dir names the data directory. It must be new or empty.
    """
    data_dir = flags.load().data_dir
    if data_dir is None:
        raise BadSetting(
            "Invalid store: a ClickHouse server restores its backups itself, with its RESTORE "
            "statement"
        )
    if flags.choose()["data_dir"].source == "default":
        raise BadSetting("No data directory given: use --data-dir DIR, a new or empty folder")
    if find_spec("chdb") is None:
        raise BadSetting(INSTALL_COLLECTOR)
    from otel_ml_collector.store.backup import restore as restore_into  # takes 0.4 s

    restored = restore_into(folder, data_dir)
    sys.stdout.write(f"{data_dir}: restored, {restored.parts} parts\n")
    if not restored.is_checked:
        sys.stdout.write("The backup has no checksums: only the sizes of its files were checked\n")
    return DONE


def _send(
    place: Workplace,
    method: str,
    *path: str,
    body: object = None,
    timeout_s: float = _ASK_S,
    **parameters: int | str,
) -> dict[str, Any]:
    from otel_ml.reader.api import Question  # takes 0.1 s

    question = Question(path, parameters, method=method, body=body, is_repeatable=False)
    answer: dict[str, Any] = place.api(timeout_s).ask(question)
    return answer


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _print(text: str) -> None:
    sys.stderr.write(f"otel-ml: {text}\n")
