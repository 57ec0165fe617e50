"""Notes in the activity of a project who read payloads, if the setting `audit_reads` is on."""

import hashlib
import threading
import time
from typing import Final

import orjson
from anyio.to_thread import run_sync
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otel_ml_collector.access import Actor, actor_now, collect_reads
from otel_ml_collector.store.activity import note_change
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.times import MINUTE_NS

# The first word below a project in the addresses whose answers can contain inputs, outputs, texts
# or logged data.
PAYLOAD_PARTS: Final = frozenset(
    {"runs", "more-runs", "run-list", "sessions", "export", "live", "artifacts", "objects"}
    | {"datasets", "fields", "run-unusual", "rubric-judges", "error-groups", "mentions"}
    | {"experiments", "compare", "problem-pairs", "problems", "trace-pair", "queues"}
    | {"judge-trial", "completion"}
)
_PROJECT_PATH: Final = "/projects/{project:path}/"
_FIRST_ERROR: Final = 400
_MOST_KNOWN: Final = 10_000


class ReadAudit:
    """Stores an entry before a response that can contain payloads is sent.

    Reads of the same address by the same sender in one minute are one entry.

    Args:
        app: The application.
        connections: The store.
    """

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self._app = app
        self._client = connections.open()
        self._lock = threading.Lock()
        self._known: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note what it reads."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reads, actor = collect_reads(), actor_now()

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < _FIRST_ERROR:
                found = {*reads, *_find_reads(scope)}
                if found:
                    await run_sync(self._note, sorted(found), actor)
            await send(message)

        await self._app(scope, receive, send_noted)

    def _note(self, reads: list[tuple[str, str]], actor: Actor) -> None:
        """Store the reads that this minute does not have yet.

        Raises:
            Unavailable: The store does not answer. Then nothing may be read.
        """
        minute_ns = time.time_ns() // MINUTE_NS * MINUTE_NS
        for project, name in reads:
            facts = [project, name, actor.who, actor.program, minute_ns]
            identity = hashlib.sha256(orjson.dumps(facts)).hexdigest()[:32]
            with self._lock, store_trouble():
                if identity in self._known:
                    continue
                note_change(
                    self._client,
                    project,
                    "read",
                    "read",
                    name,
                    time_ns=minute_ns,
                    identity=identity,
                )
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known.add(identity)


def _find_reads(scope: Scope) -> list[tuple[str, str]]:
    """Return the project and the rest of the address, if the answer can contain payloads."""
    template = getattr(scope.get("route"), "path", "")
    _, found, below = template.partition(_PROJECT_PATH)
    names = scope.get("path_params") or {}
    if not found or below.partition("/")[0] not in PAYLOAD_PARTS:
        return []
    rest = below
    for name, value in names.items():
        rest = rest.replace(f"{{{name}:path}}", str(value)).replace(f"{{{name}}}", str(value))
    return [(names["project"], rest)]
