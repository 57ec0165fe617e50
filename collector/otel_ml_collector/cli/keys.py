"""``otel-ml keys``: makes, lists and revokes keys.

In the data directory itself while no collector holds it, else by asking the collector.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from otel_ml_collector.access import SCOPES
from otel_ml_collector.cli.remote import add_places, ask, data_dir_of, endpoint_of, places_of
from otel_ml_collector.cli.table import write_table
from otel_ml_collector.errors import BadQuery, BadSetting, InUse, NotFound, Unavailable

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from otel_ml_collector.keyring import Keyring

_COLUMNS: Final = (
    *("id", "name", "scopes", "projects", "spans_per_second", "bytes_per_second"),
    *("created_time", "revoked_time"),
)


class Keeper(Protocol):
    """Where the keys are: each is told as in the JSON API.

    Attributes:
        place: What it is, for people.
    """

    place: str

    def find_all(self) -> list[dict[str, Any]]:
        """Find all keys that may be seen."""

    def add(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Make a key; its text stands under ``key``."""

    def revoke(self, key_id: str) -> dict[str, Any]:
        """Revoke a key."""


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "keys",
        help="make, list and revoke keys",
        description=(
            "Works on the data directory while no collector holds it, else asks the collector, "
            "with a key of the scope admin in OTEL_ML_API_KEY once it has keys."
        ),
    )
    actions = parser.add_subparsers(title="actions", required=True)
    add = actions.add_parser("add", help="make a key and print it, this once")
    add.add_argument(
        "--project",
        required=True,
        metavar="P[,P2|*]",
        help="its projects, or * for all; the first takes what names no project",
    )
    add.add_argument(
        "--scope",
        default="ingest,read",
        metavar="S[,S2]",
        help=f"some of {', '.join(SCOPES)} [ingest,read]",
    )
    add.add_argument("--name", default="", help="what you call it")
    for unit in ("spans", "bytes"):
        add.add_argument(
            f"--{unit}-per-second", type=int, default=0, metavar="N", help=f"{unit} it may send"
        )
    add.set_defaults(run=run_add)
    show = actions.add_parser("list", help="list the keys, without what is secret")
    show.set_defaults(run=run_list)
    revoke = actions.add_parser("revoke", help="revoke a key for ever")
    revoke.add_argument("id", metavar="ID", help="its public part, as in the list")
    revoke.set_defaults(run=run_revoke)
    for action in (add, show, revoke):
        add_places(action)


def run_add(flags: argparse.Namespace) -> int:
    """Make a key; it stands alone on its line of the output.

    Raises:
        BadSetting: It cannot be made here; the message says why.
        CommandFailed: The collector does not make it; the message says why.
    """
    wanted = {
        "name": flags.name,
        "scopes": _split(flags.scope),
        "projects": _split(flags.project),
        "spans_per_second": flags.spans_per_second,
        "bytes_per_second": flags.bytes_per_second,
    }
    with _open_keeper(flags, makes=True) as keeper:
        is_first = not keeper.find_all()
        made = keeper.add(wanted)
    sys.stdout.write(f"{made['key']}\n")
    sys.stdout.flush()
    _say(f"key {made['id']} is shown this once; only its hash is kept, in {keeper.place}")
    if is_first:
        _say("from now on the collector answers nobody without a key")
        if "admin" not in made["scopes"]:
            _say("no key has the scope admin: stop the collector to make or revoke others")
    return 0


def run_list(flags: argparse.Namespace) -> int:
    """List the keys.

    Raises:
        BadSetting: They cannot be read here; the message says why.
        CommandFailed: The collector does not tell them; the message says why.
    """
    with _open_keeper(flags) as keeper:
        rows = [[_cell(key[column]) for column in _COLUMNS] for key in keeper.find_all()]
    write_table([column.removesuffix("_time") for column in _COLUMNS], rows)
    return 0


def run_revoke(flags: argparse.Namespace) -> int:
    """Revoke a key.

    Raises:
        BadSetting: It cannot be revoked here; the message says why.
        CommandFailed: The collector does not revoke it; the message says why.
    """
    with _open_keeper(flags) as keeper:
        key = keeper.revoke(flags.id)
    sys.stdout.write(f"{key['id']} is revoked\n")
    return 0


class _Asked:
    """Asks a collector."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.place = f"the collector at {endpoint}"

    def find_all(self) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = ask(self._endpoint, ["keys"])["keys"]
        return keys

    def add(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        return ask(self._endpoint, ["keys"], method="POST", body=wanted)

    def revoke(self, key_id: str) -> dict[str, Any]:
        return ask(self._endpoint, ["keys", key_id], method="DELETE")


class _Held:
    """Works on a store that this process holds."""

    def __init__(self, keyring: "Keyring", folder: Path | None) -> None:
        self._keyring = keyring
        self.place = str(folder) if folder else "the server of --store"

    def find_all(self) -> list[dict[str, Any]]:
        from otel_ml_collector.api.keys import describe  # heavy, and perhaps not installed

        return [describe(key) for key in self._keyring.find_keys()]

    def add(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        from otel_ml_collector.api.keys import WantedKey, describe  # heavy

        made = self._keyring.add(WantedKey(**wanted).access())
        return {**describe(made.key), "key": made.text}

    def revoke(self, key_id: str) -> dict[str, Any]:
        from otel_ml_collector.api.keys import describe  # heavy

        return describe(self._keyring.revoke(key_id))


@contextmanager
def _open_keeper(flags: argparse.Namespace, *, makes: bool = False) -> Iterator[Keeper]:
    """Open the store, or find the collector that holds it; `makes` also makes the store."""
    settings = places_of(flags)
    if flags.endpoint:
        yield _Asked(endpoint_of(flags, settings))
        return
    if not makes:
        _check_folder(data_dir_of(settings))
    if find_spec("chdb") is None:
        raise BadSetting("The collector is not installed: run pip install 'otel-ml[collector]'")
    from otel_ml_collector.keyring import Keyring  # heavy, and perhaps not installed
    from otel_ml_collector.store.connection import Connections
    from otel_ml_collector.store.keys import KeyStore

    try:
        connections = Connections(settings.store)
    except InUse:
        yield _Asked(endpoint_of(flags, settings))
        return
    try:
        yield _Held(Keyring(KeyStore(connections)), connections.folder)
    except (BadQuery, NotFound, Unavailable) as error:
        raise BadSetting(str(error)) from error
    finally:
        connections.close()


def _check_folder(data_dir: Path | None) -> None:
    if data_dir is not None and not data_dir.is_dir():
        raise BadSetting(f"There is no data directory {data_dir}: say which with --data-dir DIR")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return "-" if value in {None, ""} else str(value)


def _say(text: str) -> None:
    sys.stderr.write(f"otel-ml: {text}\n")
