"""The part of the JSON API that makes, lists and revokes keys: for the scope admin."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from otel_ml_collector.access import Access, read_projects
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import Admin
from otel_ml_collector.errors import Forbidden
from otel_ml_collector.keyring import Keyring
from otel_ml_collector.services import service_of
from otel_ml_collector.store.keys import StoredKey
from otel_ml_collector.times import to_rfc3339

router = APIRouter(prefix="/api/v1", route_class=JsonRoute)


class WantedKey(BaseModel):
    """What a key is to allow."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="", description="What you call it")
    scopes: list[str] = Field(description="Some of ingest, read, annotate, admin, import")
    projects: list[str] = Field(
        description="The first one takes what names no project; `*` alone is all projects"
    )
    spans_per_second: int = Field(default=0, description="0 for any number")
    bytes_per_second: int = Field(default=0, description="0 for any number")

    def access(self) -> Access:
        """Return it as the keyring takes it."""
        return Access(
            key_id="",
            name=self.name,
            scopes=frozenset(self.scopes),
            projects=read_projects(self.projects),
            spans_per_second=self.spans_per_second,
            bytes_per_second=self.bytes_per_second,
        )


class KeyAnswer(WantedKey):
    """A key, without its text."""

    id: str = Field(description="The public part of its text: `omk_<id>_...`")
    created_time: str = Field(description="RFC 3339, UTC")
    revoked_time: str | None = Field(description="Null while it is valid")


class MadeKey(KeyAnswer):
    """A new key with its text, which is told this once."""

    key: str


class Keys(BaseModel):
    """Keys, the oldest first, the revoked ones too."""

    keys: list[KeyAnswer]


def describe(key: StoredKey) -> dict[str, Any]:
    """Return what is told of a key: nothing of its secret."""
    access = key.access
    return {
        "id": access.key_id,
        "name": access.name,
        "scopes": sorted(access.scopes),
        "projects": access.named_projects,
        "spans_per_second": access.spans_per_second,
        "bytes_per_second": access.bytes_per_second,
        "created_time": to_rfc3339(key.created_ns),
        "revoked_time": to_rfc3339(key.revoked_ns) if key.revoked_ns else None,
    }


FromKeyring = Annotated[Keyring, Depends(service_of(Keyring))]


@router.get("/keys")
def get_keys(keyring: FromKeyring, admin: Admin) -> Keys:
    """List the keys whose projects are all among those of the key that asks."""
    return Keys(keys=[KeyAnswer(**describe(key)) for key in keyring.find_keys(admin)])


@router.post("/keys", status_code=201)
def post_key(wanted: WantedKey, keyring: FromKeyring, admin: Admin) -> MadeKey:
    """Make a key, over no more projects than the key that asks has; its text is told this once."""
    access = wanted.access()
    if not admin.covers(access.projects):
        raise Forbidden("The key may make keys for its own projects only")
    made = keyring.add(access)
    return MadeKey(**describe(made.key), key=made.text)


@router.delete("/keys/{key_id}")
def delete_key(key_id: str, keyring: FromKeyring, admin: Admin) -> KeyAnswer:
    """Revoke a key for ever, here at once, at other collectors before the store within 3 s."""
    return KeyAnswer(**describe(keyring.revoke(key_id, admin)))
