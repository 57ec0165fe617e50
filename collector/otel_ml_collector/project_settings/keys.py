"""Keys over HTTP: routes of the JSON API to manage keys, and sign-in to the pages with a key."""

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from operator import itemgetter
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import RedirectResponse, Response

from otel_ml_collector.access import ANNOTATE, READ, Access, find_access_of
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import Admin
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import NotPermitted
from otel_ml_collector.keyring import SESSION_COOKIE, SESSION_S, Keyring
from otel_ml_collector.services import find_service, service_of
from otel_ml_collector.store.keys import StoredKey
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.web.render import labelling_address, show_page
from otel_ml_collector.web.view import BASE_PATH, link_to

SIGN_IN: Final = "/sign-in"
_FORM_BYTES: Final = 8_192
_FIELDS: Final = 4
# A path on this server. Browsers treat // and /\ as the start of another server's address.
_LOCAL: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")
_FAILURES: Final = 10
_PER_FAILURE_S: Final = 6.0
_MOST_SENDERS: Final = 1_024
_WRONG: Final = "This key is not valid."
_NO_PAGES: Final = "This key cannot open pages. Sign in with a key that has the scope read."
_AUDITED: Final = ("name", "scopes", "projects")

api = APIRouter(prefix="/api/v1", route_class=JsonRoute)
pages = APIRouter(include_in_schema=False, route_class=DeferredRoute)
FromKeyring = Annotated[Keyring, Depends(service_of(Keyring))]


class WantedKey(BaseModel):
    """The access that a new key should have."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="", description="Name of the key")
    scopes: list[str] = Field(
        description="What the key may do: any of ingest, read, annotate, admin, import"
    )
    projects: list[str] = Field(
        description="Spans that name no project go to the first one; `*` alone means all projects"
    )
    spans_per_second: int = Field(default=0, description="0: no limit")
    bytes_per_second: int = Field(default=0, description="0: no limit")


class KeyAnswer(WantedKey):
    """A key without its secret."""

    id: str = Field(description="The public part of its text: `omk_<id>_...`")
    created_time: str = Field(description="RFC 3339, UTC")
    revoked_time: str | None = Field(description="When the key was revoked; null if it is valid")
    made_by: str | None = Field(
        description="Id of the key that created it; `user:` and the name of a user whom a proxy "
        "signed in; `local` for the collector's own machine without a key; null if unknown"
    )
    last_used_time: str | None = Field(
        description="RFC 3339, UTC. Uses at other collectors are known to the hour. Null before "
        "the first use"
    )


class MadeKey(KeyAnswer):
    """A new key with its secret, which is shown only once."""

    key: str


class Keys(AnswerBody):
    """Keys in order of creation, including revoked ones."""

    keys: list[KeyAnswer]


class KeyChange(AnswerBody):
    """The creation or the end of a key."""

    time: str = Field(description="RFC 3339, UTC")
    change: Literal["created", "revoked"]
    id: str
    name: str
    scopes: list[str]
    projects: list[str]
    by: str | None = Field(
        description="Id of the key that made the change; `user:` and the name of a user whom a "
        "proxy signed in; `local` for the collector's own machine without a key; null if unknown"
    )


class KeyChanges(AnswerBody):
    """The changes of keys, newest first."""

    changes: list[KeyChange]


def describe(key: StoredKey, used_ns: int = 0) -> dict[str, Any]:
    """Return the public part of a key, without its secret."""
    return {
        "id": key.access.key_id,
        **key.access.written,
        "created_time": to_rfc3339(key.created_ns),
        "revoked_time": to_rfc3339(key.revoked_ns) if key.revoked_ns else None,
        "made_by": key.made_by or None,
        "last_used_time": to_rfc3339(used_ns) if used_ns else None,
    }


def find_keys(keyring: Keyring, access: Access) -> list[KeyAnswer]:
    """Find the keys whose projects are all covered by an access, oldest first."""
    uses = keyring.find_uses()
    return [
        KeyAnswer(**describe(key, uses.get(key.access.key_id, 0)))
        for key in keyring.find_keys(access)
    ]


def find_key_changes(keyring: Keyring, access: Access) -> list[KeyChange]:
    """Find the changes of the keys that `find_keys` finds, newest first."""
    changes = []
    for key in keyring.find_keys(access):
        written = key.access.written
        facts = {"id": key.access.key_id, **{name: written[name] for name in _AUDITED}}
        changes.append((key.created_ns, {**facts, "change": "created", "by": key.made_by or None}))
        if key.revoked_ns:
            revoked = {**facts, "change": "revoked", "by": key.revoked_by or None}
            changes.append((key.revoked_ns, revoked))
    changes.sort(key=itemgetter(0), reverse=True)
    return [KeyChange(time=to_rfc3339(time_ns), **facts) for time_ns, facts in changes]


@api.get("/keys")
def get_keys(keyring: FromKeyring, admin: Admin) -> Keys:
    """List the keys whose projects are all among the projects of your key."""
    return Keys(keys=find_keys(keyring, admin))


@api.get("/keys/changes")
def get_key_changes(keyring: FromKeyring, admin: Admin) -> KeyChanges:
    """List who created and revoked keys, newest first, for the keys that `GET /keys` lists."""
    return KeyChanges(changes=find_key_changes(keyring, admin))


@api.post("/keys", status_code=201)
def post_key(wanted: WantedKey, keyring: FromKeyring, admin: Admin) -> MadeKey:
    """Create a key for projects of your own key. The secret is shown only in this response."""
    access = Access.read("", wanted.model_dump())
    if not admin.covers(access.projects):
        raise NotPermitted("The key may create keys only for its own projects")
    made = keyring.add(access, admin)
    return MadeKey(**describe(made.key), key=made.text)


@api.delete("/keys/{key_id}")
def delete_key(key_id: str, keyring: FromKeyring, admin: Admin) -> KeyAnswer:
    """Revoke a key permanently.

    It stops working here immediately, and within 3 s in other collectors that use the same store.
    """
    return KeyAnswer(**describe(keyring.revoke(key_id, admin)))


class Attempts:
    """Limits attempts with wrong keys: ten at once per address, then one every 6 s.

    A correct key is always accepted. Many people may share an address, and no number of attempts
    can guess a key of 256 random bits.

    Args:
        clock: Returns a monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # When all failures of an address will have expired.
        self._clean_s: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, sender: str) -> float:
        """Return how many seconds a sender must wait before its next attempt; 0 for none."""
        left_s = self._clean_s.get(sender, 0.0) - self._clock()
        return max(left_s - (_FAILURES - 1) * _PER_FAILURE_S, 0.0)

    def fail(self, sender: str) -> None:
        """Record an attempt with a wrong key."""
        now_s = self._clock()
        clean_s = max(self._clean_s.pop(sender, now_s), now_s)
        self._clean_s[sender] = clean_s + _PER_FAILURE_S
        if len(self._clean_s) > _MOST_SENDERS:
            self._clean_s.popitem(last=False)


@pages.get(SIGN_IN)
async def show_form(request: Request) -> Response:
    """Show the sign-in form, except to a user whom a proxy signed in."""
    target = local_path(request.query_params.get("next", ""))
    return RedirectResponse(target, 303) if _is_signed_on(request) else _form(request, target)


@pages.post(SIGN_IN)
async def sign_in(request: Request) -> Response:
    """Check the key and start a session."""
    keyring = find_service(request, Keyring)
    attempts = find_service(request, Attempts)
    form = await _read_form(request)
    target = local_path(form.get("next", ""))
    if _is_signed_on(request):
        return RedirectResponse(target, 303)
    sender = request.client.host if request.client else ""
    access = keyring.find_key(form.get("key", ""))
    if access is None or not (access.has(READ) or access.has(ANNOTATE)):
        wait_s = int(attempts.wait_s(sender)) + 1
        if wait_s > 1:
            problem = f"Too many wrong keys: try again in {wait_s} s"
            return _form(request, target, problem, 429, {"Retry-After": str(wait_s)})
        attempts.fail(sender)
        return _form(request, target, _NO_PAGES if access else _WRONG, 403)
    if not access.has(READ) and "/queues" not in target:
        target = labelling_address(access)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(
        SESSION_COOKIE,
        keyring.open_session(access),
        max_age=SESSION_S,
        httponly=True,
        path=BASE_PATH.get() or "/",
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


@pages.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """Delete the session cookie."""
    answer = RedirectResponse(link_to("sign-in"), 303)
    answer.delete_cookie(SESSION_COOKIE, path=BASE_PATH.get() or "/", httponly=True, samesite="lax")
    return answer


def _is_signed_on(request: Request) -> bool:
    """Return whether a proxy signed the user in, so that a key would change nothing."""
    access = find_access_of(request.scope)
    return access is not None and access.is_user


def local_path(text: str) -> str:
    """Return a path on this server with its query. Any other address becomes that of Home."""
    return text if _LOCAL.fullmatch(text) else link_to()


async def _read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; empty if the form is too long or invalid."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM_BYTES:
            return {}
    try:
        fields = parse_qs(body.decode(), max_num_fields=_FIELDS)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


def _form(
    request: Request,
    target: str,
    problem: str = "",
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    has_keys = find_service(request, Keyring).is_on
    context: dict[str, Any] = {"next": target, "problem": problem, "has_keys": has_keys}
    answer = show_page(request, "sign_in.html", context, status)
    answer.headers.update({"Cache-Control": "no-store", **(headers or {})})
    return answer
