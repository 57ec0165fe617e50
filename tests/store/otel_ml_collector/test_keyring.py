"""Keys: creating, finding and revoking them, with several collectors."""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from otel_ml_collector.access import INGEST, OPEN, OPEN_BEYOND, READ, Access
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.keyring import Keyring
from otel_ml_collector.store.backup import Backups
from otel_ml_collector.store.keys import KeyStore
from otel_ml_collector.store.owner import SECRET_FILE, read_owner_token
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import Tombstones
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import sampled

WANTED = Access("", "nightly", frozenset({INGEST, READ, "admin"}), ("b", "a"), 100, 2_000)
# Invalid keys, the field that is wrong, and the start of the message.
IMPOSSIBLE: Final = [
    (replace(WANTED, scopes=frozenset()), "scopes", "Invalid scope ''"),
    (replace(WANTED, scopes=frozenset({"write"})), "scopes", "Invalid scope 'write'"),
    (replace(WANTED, projects=()), "projects", "Invalid projects: expected 1 to 100"),
    (replace(WANTED, projects=("a", "*")), "projects", "Invalid project '*'"),
    (replace(WANTED, projects=("a\n",)), "projects", "Invalid project 'a\\n'"),
    (replace(WANTED, projects=("",)), "projects", "Invalid project ''"),
    (replace(WANTED, projects=("a" * 129,)), "projects", "Invalid project 'aaa"),
    (replace(WANTED, name="\x1b"), "name", "Invalid name"),
    (replace(WANTED, spans_per_second=-1), "spans_per_second", "Invalid spans_per_second"),
    (replace(WANTED, bytes_per_second=-1), "bytes_per_second", "Invalid bytes_per_second"),
]


@pytest.fixture(scope="module")
def store(own_store: Store) -> Store:
    """Return a separate store, because a key closes a store to everyone without one."""
    return own_store


class Clock:
    now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Store]:
    """Open a store without keys."""
    with open_store(tmp_path) as opened:
        yield opened


def make_ring(store: Store, *, required: bool = False) -> Keyring:
    return Keyring(KeyStore(store.connections), required=required, clock=Clock())


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def test_no_keys(fresh: Store) -> None:
    """Without keys everyone has full access, but only this machine can create the first key."""
    ring = make_ring(fresh)
    assert not ring.is_on
    assert ring.find({}, is_local=True) == OPEN
    assert ring.find({}, is_local=False) == OPEN_BEYOND
    assert make_ring(fresh, required=True).find({}, is_local=True) is None


def test_key(fresh: Store) -> None:
    """A key is only found by its full text, also after a restart."""
    made = make_ring(fresh).add(WANTED)
    access = replace(WANTED, key_id=made.key.access.key_id)
    assert made.key.access == access
    again = make_ring(fresh)
    assert again.is_on
    for headers in (
        bearer(made.text),
        {"authorization": f"bearer  {made.text} "},
        {"x-api-key": made.text},
    ):
        assert again.find(headers) == access
    key_id, secret = made.text.removeprefix("omk_").split("_")
    other_id, other_secret = "0" * 16, "0" * 64
    for text in (
        *("", "omk_", made.text[:-1], f"{made.text}0", made.text.upper(), secret),
        *(f"omk_{key_id}_{other_secret}", f"omk_{other_id}_{secret}", made.key.secret_hash),
        f"omk_{key_id}_{made.key.secret_hash}",
    ):
        assert again.find(bearer(text), is_local=True) is None
    assert again.find({"authorization": f"Basic {made.text}"}) is None


def test_secret(fresh: Store, tmp_path: Path) -> None:
    """No file of the store contains a key's secret part."""
    made = make_ring(fresh).add(WANTED)
    secret = made.text.rpartition("_")[2]
    assert made.key.secret_hash == hashlib.sha256(secret.encode()).hexdigest()
    [row] = fresh.reader.rows(Sql("SELECT hash, name, scopes, projects FROM access_keys"), {})
    assert row == {
        "hash": made.key.secret_hash,
        "name": "nightly",
        "scopes": ["admin", "ingest", "read"],
        "projects": ["b", "a"],
    }
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    held = [path for path in files if made.key.access.key_id.encode() in path.read_bytes()]
    assert held, "the public part is there, so a secret would be found too"
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_revoked(fresh: Store) -> None:
    """A revoked key stops working at once here, elsewhere at the next refresh, and permanently."""
    here, elsewhere = make_ring(fresh), make_ring(fresh)
    made = here.add(WANTED)
    elsewhere.refresh()
    assert elsewhere.find_key(made.text) is not None
    revoked = here.revoke(made.key.access.key_id)
    expected = replace(made.key, revoked_ns=NOW_NS, revoked_by="local")
    assert here.revoke(made.key.access.key_id) == revoked == expected
    assert here.find_key(made.text) is None
    elsewhere.refresh()
    assert elsewhere.find_key(made.text) is None
    assert make_ring(fresh).find_keys() == [revoked]


def test_who_made_a_key(fresh: Store) -> None:
    """The key that created or revoked a key is stored, or `local` for this machine."""
    ring = make_ring(fresh)
    first = ring.add(WANTED).key
    second = ring.add(WANTED, first.access).key
    ring.revoke(second.access.key_id, replace(first.access, projects=None))
    kept = {
        key.access.key_id: (key.made_by, key.revoked_by) for key in make_ring(fresh).find_keys()
    }
    by = first.access.key_id
    assert kept == {by: ("local", ""), second.access.key_id: (by, by)}


def count_uses(store: Store) -> int:
    [row] = store.reader.rows(Sql("SELECT count() AS uses FROM key_uses"), {})
    return int(row["uses"])


def test_last_use(fresh: Store) -> None:
    """The last use of a key is exact in this collector, and stored at most once an hour."""
    clock = Clock()
    ring = Keyring(KeyStore(fresh.connections), clock=clock)
    made = ring.add(WANTED)
    key_id = made.key.access.key_id
    assert ring.find_uses() == {}
    assert ring.find_key(f"omk_{key_id}_{'0' * 64}") is None
    ring.refresh()
    assert ring.find_uses() == {}
    for _ in range(120):
        clock.now_ns += 60 * SECOND_NS
        assert ring.find_key(made.text) is not None
        ring.refresh()
    assert ring.find_uses() == {key_id: clock.now_ns}
    assert count_uses(fresh) == 2
    known_ns = make_ring(fresh).find_uses()[key_id]
    assert clock.now_ns - 3600 * SECOND_NS <= known_ns < clock.now_ns


def test_last_key(fresh: Store) -> None:
    """A collector whose last key was revoked stays closed."""
    ring = make_ring(fresh)
    ring.revoke(ring.add(WANTED).key.access.key_id)
    assert (ring.is_on, ring.find({}, is_local=True)) == (True, None)
    assert make_ring(fresh).is_on


def test_session(fresh: Store) -> None:
    """A session has its key's read and admin scopes for twelve hours, in every collector."""
    clock = Clock()
    ring = Keyring(KeyStore(fresh.connections), clock=clock)
    made = ring.add(WANTED)
    text = ring.open_session(made.key.access)
    expected = replace(made.key.access, scopes=frozenset({READ, "admin"}))
    assert ring.find_session(text) == expected == make_ring(fresh).find_session(text)
    clock.now_ns += 12 * 3600 * SECOND_NS - 1
    assert ring.find_session(text) == expected
    clock.now_ns += 1
    assert ring.find_session(text) is None


def test_owner_makes_the_first_key(fresh: Store, tmp_path: Path) -> None:
    """If keys are required, the data directory's owner can create the first key, and no other."""
    ring = make_ring(fresh, required=True)
    token = read_owner_token(tmp_path)
    assert token is not None
    owner = ring.find(bearer(token), is_local=True)
    assert owner is not None
    assert (owner.scopes, owner.projects) == (frozenset({"admin"}), None)
    assert ring.find(bearer(token)) is None
    assert ring.find({}, is_local=True) is None
    assert ring.find(bearer("0" * 64), is_local=True) is None
    ring.add(WANTED)
    assert ring.find(bearer(token), is_local=True) is None


def test_stolen_backup(
    fresh: Store, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither a backup nor the store's files allow anyone to forge a session."""
    ring = make_ring(fresh)
    key = ring.add(WANTED).key
    backup = tmp_path_factory.mktemp("kept") / "backup"
    Backups(fresh.connections, Tombstones(fresh.connections)).write(backup)
    secret = tmp_path / SECRET_FILE
    held = [secret.read_bytes(), hashlib.sha256(secret.read_bytes()).hexdigest().encode()]
    files = [path for folder in (backup, tmp_path / "store") for path in folder.rglob("*")]
    assert not [
        path for path in files if path.is_file() and any(one in path.read_bytes() for one in held)
    ]
    until_s = NOW_NS // SECOND_NS + 3_600
    for stolen in (key.secret_hash.encode(), bytes.fromhex(key.secret_hash), b""):
        told = f"otel-ml session {key.access.key_id} {until_s}".encode()
        sign = hmac.new(stolen, told, "sha256").hexdigest()
        assert ring.find_session(f"{key.access.key_id}.{until_s}.{sign}") is None


def test_secret_file(fresh: Store, tmp_path: Path) -> None:
    """The secret file is readable only by its owner, even after its mode was changed."""
    text = make_ring(fresh).open_session(make_ring(fresh).add(WANTED).key.access)
    secret = tmp_path / SECRET_FILE
    assert secret.stat().st_mode & 0o777 == 0o600
    secret.chmod(0o660)  # as Kubernetes does with the files of a volume
    assert make_ring(fresh).find_session(text) is not None
    assert secret.stat().st_mode & 0o777 == 0o600


@sampled(1)
@pytest.mark.parametrize("left", [b"", b"0123", b"no secret at all"])
def test_broken_secret_file(fresh: Store, tmp_path: Path, left: bytes) -> None:
    """A secret that a crash truncated is replaced."""
    (tmp_path / SECRET_FILE).write_bytes(left)
    ring = make_ring(fresh)
    assert len((tmp_path / SECRET_FILE).read_bytes()) == 64
    text = ring.open_session(ring.add(WANTED).key.access)
    assert make_ring(fresh).find_session(text) is not None


def test_secret_of_a_deployment(fresh: Store) -> None:
    """Collectors accept each other's sessions if their settings have the same secret."""

    def make(secret: str) -> Keyring:
        return Keyring(KeyStore(fresh.connections), clock=Clock(), session_secret=secret)

    here = make("a" * 32)
    text = here.open_session(here.add(WANTED).key.access)
    assert make("a" * 32).find_session(text) is not None
    assert make("b" * 32).find_session(text) is None
    assert make("").find_session(text) is None


@sampled(1)
@pytest.mark.parametrize("ahead_s", [120, 24 * 3600, 400 * 24 * 3600])
def test_session_signed_ahead(fresh: Store, ahead_s: int) -> None:
    """A session from a collector whose clock is ahead is not valid for longer than others."""
    clock = Clock()
    ring = Keyring(KeyStore(fresh.connections), clock=clock)
    clock.now_ns += ahead_s * SECOND_NS
    text = ring.open_session(ring.add(WANTED).key.access)
    assert ring.find_session(text) is not None
    clock.now_ns -= ahead_s * SECOND_NS
    assert ring.find_session(text) is None


def test_forged_session(fresh: Store) -> None:
    """A session is invalid if it was changed, uses another key's id, or its key is revoked."""
    ring = make_ring(fresh)
    one, other = ring.add(WANTED).key.access, ring.add(WANTED).key.access
    text = ring.open_session(one)
    key_id, until_s, sign = text.split(".")
    for forged in (
        *("", "..", f"{key_id}.{int(until_s) + 1}.{sign}", f"{other.key_id}.{until_s}.{sign}"),
        *(f"{key_id}.{until_s}.{'0' * 64}", f"{'0' * 16}.{until_s}.{sign}", f"{text}0"),
    ):
        assert ring.find_session(forged) is None
    ring.revoke(one.key_id)
    assert ring.find_session(text) is None


def test_impossible(fresh: Store) -> None:
    """An invalid key is refused with the field that is wrong, and no key is created."""
    ring = make_ring(fresh)
    for wanted, field, message in IMPOSSIBLE:
        with pytest.raises(BadInput) as caught:
            ring.add(wanted)
        assert (caught.value.field, str(caught.value)[: len(message)]) == (field, message)
    assert not ring.is_on


def test_own_keys(fresh: Store) -> None:
    """A key limited to some projects can list and revoke keys of these projects only."""
    ring = make_ring(fresh)
    mine = ring.add(replace(WANTED, projects=("a",))).key
    theirs = [ring.add(replace(WANTED, projects=projects)).key for projects in (("b", "a"), None)]
    within = replace(WANTED, projects=("a",))
    assert ring.find_keys(within) == [mine]
    for key in theirs:
        with pytest.raises(Missing):
            ring.revoke(key.access.key_id, within)
    assert [key.revoked_ns for key in ring.find_keys()] == [0, 0, 0]
