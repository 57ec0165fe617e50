"""Signing in to the pages with a key, and out again."""

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from otel_ml_collector.access import READ
from otel_ml_collector.keyring import SESSION_COOKIE, SESSION_S, Keyring
from otel_ml_collector.services import find_service
from otel_ml_collector.web.render import show_page

SIGN_IN: Final = "/sign-in"
_FORM_BYTES: Final = 8_192
_FIELDS: Final = 4
# A path of this server: a browser takes // and /\ for another one.
_LOCAL: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")
_FAILURES: Final = 10
_PER_FAILURE_S: Final = 6.0
_SENDERS: Final = 1_024
_WRONG: Final = "This is no valid key that may read"

router = APIRouter(include_in_schema=False)


class Attempts:
    """Bounds wrong keys: ten at once from one address, then one in six seconds.

    A right key is taken at any time: many people may be behind one address, and no number of
    attempts finds one of 256 random bits.

    Args:
        clock: Tells the time in seconds; it never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # When an address will have no failure left that counts.
        self._clean_s: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, sender: str) -> float:
        """Return how long a sender has to wait for its next attempt; 0 for not at all."""
        left_s = self._clean_s.get(sender, 0.0) - self._clock()
        return max(left_s - (_FAILURES - 1) * _PER_FAILURE_S, 0.0)

    def fail(self, sender: str) -> None:
        """Note a wrong key."""
        now_s = self._clock()
        clean_s = max(self._clean_s.pop(sender, now_s), now_s)
        self._clean_s[sender] = clean_s + _PER_FAILURE_S
        if len(self._clean_s) > _SENDERS:
            self._clean_s.popitem(last=False)


@router.get(SIGN_IN)
async def show_form(request: Request) -> Response:
    """Ask for a key."""
    return _form(request, local_path(request.query_params.get("next", "/")))


@router.post(SIGN_IN)
async def sign_in(request: Request) -> Response:
    """Take a key and give a session."""
    keyring = find_service(request, Keyring)
    attempts = find_service(request, Attempts)
    form = await _read_form(request)
    target = local_path(form.get("next", "/"))
    sender = request.client.host if request.client else ""
    access = keyring.find_key(form.get("key", ""))
    if access is None or not access.has(READ):
        wait_s = int(attempts.wait_s(sender)) + 1
        if wait_s > 1:
            problem = f"Too many wrong keys: try again in {wait_s} s"
            return _form(request, target, problem, 429, {"Retry-After": str(wait_s)})
        attempts.fail(sender)
        return _form(request, target, _WRONG, 403)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(
        SESSION_COOKIE,
        keyring.open_session(access),
        max_age=SESSION_S,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """Take the session away from the browser."""
    answer = RedirectResponse(SIGN_IN, 303)
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax")
    return answer


def local_path(text: str) -> str:
    """Return a path of this server, with its query; any other address becomes the first page."""
    return text if _LOCAL.fullmatch(text) else "/"


async def _read_form(request: Request) -> dict[str, str]:
    """Read the few short fields of a form; one that is too long or odd has none."""
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
    context: dict[str, Any] = {"next": target, "problem": problem}
    answer = show_page(request, "sign_in.html", context, status)
    answer.headers.update({"Cache-Control": "no-store", **(headers or {})})
    return answer
