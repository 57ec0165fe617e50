"""Finds what a command works on: a running collector, or a data directory.

All commands that use stored data follow the same rule. They use the collector at the given or usual
address. If none answers, they open the data directory and serve the same JSON API in this process,
only for themselves. A new data directory is created only if the user named it. Messages of a
command name the collector or data directory that was used.
"""

import gc
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from otel_ml.addresses import strip_quotes
from otel_ml_collector.cli.failure import (
    INSTALL_COLLECTOR,
    NOT_FOUND,
    UNREACHABLE,
    USAGE,
    CommandFailed,
    asking,
)
from otel_ml_collector.cli.options import Command, flags_of, setting_options, taking
from otel_ml_collector.errors import BadInput, BadSetting, InUse
from otel_ml_collector.settings.sources import SettingText
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.settings.values import address_here
from otel_ml_collector.store.lock import read_holder
from otel_ml_collector.store.owner import read_owner_token
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.windows import DAY_NAMES, find_last, read_zone

if TYPE_CHECKING:
    from otel_ml.export.settings import ExportSettings as Connection
    from otel_ml.reader import Reader
    from otel_ml.reader.api import Api

_VARIABLE: Final = "OTEL_ML_ENDPOINT"
NO_PROJECT: Final = (
    "No project given: use --project P or set OTEL_ML_PROJECT; otel-ml projects lists the projects"
)
_PLACE_SETTINGS: Final = ("data_dir", "store", "http")
_MOST_KEY_CHARS: Final = 1_000
_MOST_BYTES: Final = 1_000_000
_PROBE_S: Final = 5.0
_ASK_S: Final = 30.0
_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Workplace:
    """A running collector, or a store that this process has opened.

    Attributes:
        endpoint: Base address of the HTTP API.
        key: API key for requests; None for the key from the environment.
        name: Description for messages, such as ``the collector at http://localhost:4318``.
        is_served: Whether it is a running collector. False for a store that only this process uses.
    """

    endpoint: str
    key: str | None
    name: str
    is_served: bool = True

    def api(self, timeout_s: float = _ASK_S) -> "Api":
        """Return a client for the HTTP API."""
        from otel_ml.reader.api import Api  # takes 0.1 s

        return Api(self.endpoint, self.key, timeout_s, program="command")

    def reader(self, project: str, timeout_s: float = _ASK_S) -> "Reader":
        """Return a reader for a project."""
        from otel_ml.reader import Reader  # takes 0.1 s

        return Reader(project, self.key, self.endpoint, timeout_s=timeout_s)


@dataclass(frozen=True, slots=True)
class PlaceOptions:
    """The collector or store that a command uses, from options, environment and settings file.

    Attributes:
        settings: The settings of the address and the store.
        chosen: The source of each of these settings.
        has_file: Whether ``--config`` was given.
        endpoint: The collector's address in ``--endpoint``; None if not given.
        key_file: The file in ``--api-key-file``; None if not given.
    """

    settings: Settings
    chosen: Mapping[str, SettingText]
    has_file: bool
    endpoint: str | None
    key_file: str | None

    @property
    def address(self) -> str:
        """The base address at which this machine reaches the collector of the settings."""
        scheme = "https" if self.settings.tls_cert else "http"
        return f"{scheme}://{address_here(self.settings.http)}"

    @property
    def names_store(self) -> bool:
        """Whether a setting chooses the store, instead of the default."""
        return self._source("data_dir") != "default" or self._source("store") != "default"

    @contextmanager
    def open(self, *, makes: bool = False) -> Iterator[Workplace]:
        """Find the collector, or open the store, for use as ``with options.open() as place``.

        Args:
            makes: Whether to create a store if a setting names a data directory without one.

        Raises:
            BadSetting: A setting is invalid, or the collector's packages are not installed.
            CommandFailed: There is no collector and no store, a request in the ``with`` block
                fails, or the output cannot be written.
        """
        with ExitStack() as opened:
            place = self._find(opened, makes=makes)
            with asking():
                yield place

    @contextmanager
    def open_collector(self) -> Iterator[Workplace | None]:
        """Find the running collector, for use as ``with options.open_collector() as place``.

        `place` is None if no collector is running. Unlike `open`, this never opens the store.

        Raises:
            BadSetting: A setting is invalid.
            CommandFailed: The server at the given address is not an otel-ml collector, a request in
                the ``with`` block fails, or the output cannot be written.
        """
        place = self._find_collector()
        if place is None and self.settings.data_dir:
            _, address = read_holder(self.settings.data_dir)
            if address and is_collector(address):
                place = _collector_at(address, self._key())
        with asking():
            yield place

    def _find(self, opened: ExitStack, *, makes: bool) -> Workplace:
        place = self._find_collector()
        if place is not None:
            return place
        self._check_there(makes=makes, is_alone=self._is_alone)
        try:
            return opened.enter_context(_open_store(self.settings))
        except InUse as error:
            for address in (error.address, self.address):
                if address and is_collector(address):
                    return _collector_at(address, self._key() or self._owner_token())
            raise CommandFailed(f"{error} (it does not answer requests)", UNREACHABLE) from error

    @property
    def _is_alone(self) -> bool:
        """Whether the command-line options choose a store, and no address."""
        return self._source("http") != "flag" and any(
            self._source(name) == "flag" for name in _PLACE_SETTINGS
        )

    def _find_collector(self) -> Workplace | None:
        """Find the collector at the given address, or one that answers at the usual address."""
        key = self._key()
        flags = {name for name in _PLACE_SETTINGS if self._source(name) == "flag"}
        source, endpoint = "endpoint", strip_quotes(self.endpoint or "")
        if not endpoint and not flags and not self.has_file:
            source, endpoint = _VARIABLE, strip_quotes(os.environ.get(_VARIABLE, ""))
        if endpoint:
            if not endpoint.startswith(("http://", "https://")):
                raise BadSetting(f"Invalid {source} {endpoint!r}: expected http://HOST:PORT")
            reply = fetch_as_stranger(endpoint, "/healthz")
            if reply.status == HTTPStatus.OK and not reply.is_ours:
                raise CommandFailed(f"The server at {endpoint} is not an otel-ml collector")
            return _collector_at(endpoint, key)
        if not self._is_alone and is_collector(self.address):
            return _collector_at(self.address, key)
        return None

    def _source(self, name: str) -> str:
        return self.chosen[name].source

    def _check_there(self, *, makes: bool, is_alone: bool) -> None:
        """Check that the store exists, or that a setting names it and it may be created."""
        folder = self.settings.data_dir
        if folder is None or (folder / "store").is_dir() or (makes and self.names_store):
            return
        if is_alone:
            raise CommandFailed(
                f"There is no store in {folder}: set --data-dir to the folder of a collector", USAGE
            )
        raise CommandFailed(
            f"No collector answers at {self.address}, and there is no data directory {folder}: "
            "start a collector with otel-ml serve, or choose one with --endpoint URL or "
            "--data-dir DIR",
            UNREACHABLE,
        )

    def _key(self) -> str | None:
        return read_key_file(self.key_file)

    def _owner_token(self) -> str | None:
        """Return the token that creates the first key, if no key is set."""
        if self.settings.data_dir is None or os.environ.get("OTEL_ML_API_KEY"):
            return None
        return read_owner_token(self.settings.data_dir)


def read_key_file(path: str | None) -> str | None:
    """Read the key in the file of ``--api-key-file``; None without a file.

    Raises:
        BadSetting: The file cannot be read.
    """
    if not path:
        return None
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(_MOST_KEY_CHARS).strip()
    except (OSError, ValueError) as error:
        raise BadSetting(f"The file of --api-key-file cannot be read: {error}") from error


def _collector_at(endpoint: str, key: str | None) -> Workplace:
    return Workplace(endpoint, key, f"the collector at {endpoint.rstrip('/')}")


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An HTTP response.

    Attributes:
        status: The HTTP status; 0 if there was no response.
        text: The body, or the reason why there was no response.
        date: The ``Date`` header; empty if there was none.
    """

    status: int
    text: str
    date: str = ""

    @property
    def json(self) -> Any:
        """The body parsed as JSON; None if it is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    @property
    def is_ours(self) -> bool:
        """Whether this is the response of an otel-ml collector to ``/healthz``."""
        content = self.json
        return isinstance(content, dict) and content.get("program") == "otel-ml"

    @property
    def reason(self) -> str:
        """The status and the error message of the collector, or the body if there is no message."""
        content = self.json
        error = content.get("error") if isinstance(content, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        words = " ".join(str(message or self.text).split())[:200]
        return f"{self.status}: {words}" if self.status else words


def fetch(
    connection: "Connection", path: str, method: str = "GET", timeout_s: float = _PROBE_S
) -> HttpReply:
    """Send one HTTP request to a collector, with the SDK's proxy and certificates."""
    from http.client import HTTPException

    from urllib3.exceptions import HTTPError

    from otel_ml.export.http import Unusable, attempt_until, describe, open_connections

    try:
        with attempt_until(time.monotonic() + timeout_s) as attempt:
            line = open_connections(connection)
            response = line.pools.urlopen(
                method,
                connection.page + path,
                headers={**line.headers, "connection": "close"},
                timeout=attempt.time_left(),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            text = response.read(_MOST_BYTES).decode("utf-8", "replace")
            return HttpReply(response.status, text, response.headers.get("date", ""))
    except Unusable as error:
        return HttpReply(0, str(error))
    except (OSError, HTTPException, HTTPError) as error:
        return HttpReply(0, describe(error))


def fetch_as_stranger(endpoint: str, path: str) -> HttpReply:
    """Send a GET request for a path without an API key."""
    from otel_ml.export.settings import resolve

    connection = resolve(endpoint, "", None, "http/protobuf")
    headers = {
        name: text
        for name, text in connection.headers.items()
        if name not in {"authorization", "x-api-key", "cookie"}
    }
    return fetch(replace(connection, headers=headers), path)


def is_collector(endpoint: str) -> bool:
    """Return whether an otel-ml collector answers at an address."""
    return fetch_as_stranger(endpoint, "/healthz").is_ours


@contextmanager
def _open_store(settings: Settings) -> Iterator[Workplace]:
    """Open a store and serve its API on a loopback port, with a secret that only this process has.

    Raises:
        BadSetting: The store cannot be opened.
        InUse: A collector has the store open.
    """
    if any(find_spec(module) is None for module in ("chdb", "fastapi", "uvicorn")):
        raise BadSetting(INSTALL_COLLECTOR)
    with _without_collection():
        import uvicorn  # heavy, like the imports below, and optional

        from otel_ml_collector.access import OPEN, Access
        from otel_ml_collector.keyring import Keyring
        from otel_ml_collector.serve.app import make_app, open_collector
        from otel_ml_collector.store.keys import KeyStore

    secret = secrets.token_hex(32)

    class Owner(Keyring):
        """Grants everything to requests with the secret, and nothing to any other request."""

        def find(self, headers: Mapping[str, str], *, is_local: bool = False) -> Access | None:
            authorization = headers.get("authorization", "")
            is_owner = secrets.compare_digest(authorization.encode(), f"Bearer {secret}".encode())
            return OPEN if is_owner else None

    logging.getLogger("otel_ml_collector").setLevel(logging.ERROR)
    alone = replace(
        settings, require_keys=False, forward_otlp=(), forward_records=(), collector_name=""
    )
    collector = open_collector(alone)
    try:
        owner = Owner(KeyStore(collector.connections))
        app = make_app(replace(collector, keyring=owner), settings)
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=1,
            )
        )
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"  # requests go to this process only
        folder = collector.connections.folder
        name = f"the data directory {folder}" if folder else "the server of --store"
        try:
            endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield Workplace(endpoint, secret, name, is_served=False)
        finally:
            server.should_exit = True
            thread.join()
            listener.close()
    finally:
        collector.close()


@contextmanager
def _without_collection() -> Iterator[None]:
    """Turn off garbage collection for imports in this block, because modules are never freed."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def with_place(command: Command) -> Command:
    """Add the options that choose a collector or store, and pass them as ``asked``.

    The command calls `PlaceOptions.open` to use the collector or store.
    """
    options: list[Command] = [
        click.option(
            "--endpoint",
            metavar="URL",
            help="Address of the collector (default: $OTEL_ML_ENDPOINT, or the address of --http)",
        ),
        click.option(
            "--api-key-file",
            metavar="FILE",
            help="File that contains the API key (default: the key in $OTEL_ML_API_KEY)",
        ),
        *setting_options(_PLACE_SETTINGS),
    ]

    def make(taken: dict[str, Any]) -> PlaceOptions:
        flags = flags_of(taken)
        return PlaceOptions(
            flags.load(), flags.choose(), bool(flags.file), taken["endpoint"], taken["api_key_file"]
        )

    names = {*_PLACE_SETTINGS, "config", "endpoint", "api_key_file"}
    return taking(options, names, "asked", make)(command)


@dataclass(frozen=True, slots=True)
class Within:
    """A filter and a time range that select runs.

    Attributes:
        where: A filter expression; empty for all runs.
        start: Only runs that started at this time or later; None for no limit.
        end: Only runs that started before this time; None for no limit.
        tz: The time zone of dates and days in `where`, `start` and `end`; None for UTC.
    """

    where: str
    start: str | None
    end: str | None
    tz: str | None

    def __bool__(self) -> bool:
        """Whether any of the three is set."""
        return bool(self.where or self.start or self.end)


def with_project(command: Command) -> Command:
    """Add --project to a command and pass the project's name as ``project``."""

    def read(context: click.Context, option: click.Parameter, text: str | None) -> str:
        project = text or os.environ.get("OTEL_ML_PROJECT")
        if not project:
            raise BadSetting(NO_PROJECT)
        return project

    option = click.option(
        "--project", metavar="P", callback=read, help="Project to use (default: $OTEL_ML_PROJECT)"
    )
    return option(command)


def with_filter(command: Command) -> Command:
    """Add --where, --start, --end, --last and --tz to a command, and pass a `Within` as ``within``.

    A period given by --last is passed as its start and end.
    """

    def make(taken: dict[str, Any]) -> Within:
        last = taken.pop("last")
        return replace(Within(**taken), **_read_last(last, taken)) if last else Within(**taken)

    options: list[Command] = [
        click.option(
            "--where",
            metavar="EXPR",
            default="",
            help="Only runs that match this filter, such as 'latency > 1s and not cached'",
        ),
        click.option(
            "--start",
            metavar="TIME",
            help="Only runs that started at this time or later, such as 2026-11-20",
        ),
        click.option(
            "--end",
            metavar="TIME",
            help="Only runs that started before this time",
        ),
        click.option(
            "--last",
            metavar="LENGTH",
            help="Only runs of the time until now, such as 7d, or of a day: today or yesterday",
        ),
        click.option(
            "--tz",
            metavar="ZONE",
            help="Time zone of dates, and of times without an offset, such as Europe/Berlin [UTC]",
        ),
    ]
    names = {"where", "start", "end", "last", "tz"}
    return taking(options, names, "within", make)(command)


def _read_last(last: str, taken: Mapping[str, Any]) -> dict[str, str]:
    """Return the start and the end of a period; a period until now has no end.

    Raises:
        BadSetting: --start or --end was given too, or the period or the time zone is invalid.
    """
    if taken["start"] or taken["end"]:
        raise BadSetting("--last cannot be used with --start or --end")
    try:
        window = find_last(last, time.time_ns(), read_zone(taken["tz"] or "UTC"))
    except BadInput as error:
        raise BadSetting(str(error)) from error
    edges = {"start": to_rfc3339(window.start_ns)}
    return edges | ({"end": to_rfc3339(window.end_ns)} if last in DAY_NAMES else {})


@contextmanager
def check_project(api: "Api", project: str) -> Iterator[Callable[[object], None]]:
    """Report an unknown project clearly when a request in the ``with`` block finds nothing.

    Yields:
        A function to call with the result. If the result is empty, it checks that the project
        exists.

    Raises:
        CommandFailed: The project does not exist; the message lists existing projects.
    """
    from otel_ml.reader.errors import NotFound

    def check(is_found: object = False) -> None:
        if is_found:
            return
        there = [project["project"] for project in api.get("projects")["projects"]]
        # A project that has only data sets is not in the list.
        if project not in there and not api.get("projects", project, "datasets")["datasets"]:
            more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
            named = (
                f"expected one of {', '.join(there[:_NAMED])}{more}"
                if there
                else "no project has runs yet"
            )
            raise CommandFailed(f"There is no project {project!r}: {named}", NOT_FOUND)

    try:
        yield check
    except NotFound:
        check()
        raise
