"""Writes the text of each page and command, and the answers of the API to the same questions.

``python -m tests.support.texts FOLDER`` writes ``FOLDER/pages``, ``FOLDER/commands`` and
``FOLDER/facts.json``. ``make texts`` writes the snapshots that `tests/process/texts` compares.
"""

import json
import os
import re
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from shlex import split
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus

from tests.support.folders import ROOT
from tests.support.texts.commands import COMMANDS
from tests.support.texts.pages import PROJECT_ROUTE, read_pages
from tests.support.texts.story import Story, open_story
from tests.support.texts.visible import read_page

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

SNAPSHOTS: Final = ROOT / "tests" / "process" / "texts"
FACTS: Final = "facts.json"
_ID: Final = re.compile(r"\b[0-9a-f]{32}-[0-9a-f]{16}\b|\b[0-9a-f]{16}(?:[0-9a-f]{16}){0,3}\b")
# The clock ticks while records are sent, as often as the program reads it.
_TICKS: Final = re.compile(r"(?<=T08:29:00)\.\d+|(?<=17951633)\d+")
# Bytes on disk depend on when the engine merges.
_SIZE: Final = re.compile(r"\b[\d.,]+ (?:bytes|kB|MB)\b")
_SIZED: Final = "settings"
# Variables that change what a command does.
_VARIABLES: Final = ("OTEL_", "HTTP", "NO_", "ALL_PROXY", "COLUMNS", "FORCE_")


def name_page(route: str) -> str:
    """Return the file name of a page: ``runs.run_id.tree`` for the tree of a run."""
    part = route.removeprefix(PROJECT_ROUTE).strip("/")
    if not part:
        return "project" if route.startswith(PROJECT_ROUTE) else "home"
    return re.sub(r"{(\w+)(?::path)?}", r"\1", part).replace("/", ".")


def _name_ids(text: str) -> str:
    """Number the IDs of a text by their first appearance, and leave out the ticks of the clock."""
    known: dict[str, str] = {}
    text = _TICKS.sub("", text)
    return _ID.sub(lambda found: known.setdefault(found[0], f"ID{len(known) + 1}"), text)


def ask_pages(story: Story, folder: Path) -> dict[str, Any]:
    """Write the text of each page; return its content and the answers of the API."""
    from tests.support.otel_ml_collector.asgi import ask

    answers: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    for route, seat in read_pages().items():
        name, answered = name_page(route), ask(story.service.app, seat.address)
        assert answered.status == 200, (seat.address, answered.status, answered.text)
        seen = read_page(answered.text, has_frame=name == "home")
        blocks = [_SIZE.sub("… bytes", text) if name == _SIZED else text for text in seen.blocks]
        for path in seat.asked:
            if path not in answers:
                reply = ask(story.service.app, path)
                assert reply.status == 200, (path, reply.text)
                answers[path] = reply.json
        links = [*dict.fromkeys(unquote_plus(link) for link in seen.links)]
        lines = [f"GET {seat.address}", "", *blocks, "", *links]
        (folder / f"{name}.txt").write_text(_name_ids("\n".join(lines).rstrip()) + "\n")
        facts[f"pages/{name}"] = {
            "asked": seat.address,
            "blocks": blocks,
            "links": seen.links,
            "answers": [answers[path] for path in seat.asked],
        }
    return facts


class _Listener:
    """Passes requests on to an application and keeps the JSON that it answers."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.answers: list[Any] = []

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        parts: list[bytes] = []
        kept = [pair for pair in scope.get("headers", ()) if pair[0] != b"accept-encoding"]

        async def pass_on(message: "Message") -> None:
            parts.append(message.get("body", b""))
            await send(message)

        await self._app({**scope, "headers": kept}, receive, pass_on)
        if scope.get("path", "").startswith("/api/"):
            self.answers += [json.loads(line) for line in b"".join(parts).splitlines() if line]


def run_commands(story: Story, folder: Path) -> dict[str, Any]:
    """Write the output of each command; return it and the answers that it received."""
    from otel_ml_collector.cli.program import main
    from tests.support.otel_ml_collector.asgi import served

    facts: dict[str, Any] = {}
    listener = _Listener(story.service.app)
    with served(listener) as address:
        os.environ |= {"OTEL_ML_ENDPOINT": f"http://{address}", "COLUMNS": "120"}
        for name, arguments in COMMANDS.items():
            listener.answers.clear()
            output, errors = StringIO(), StringIO()
            with redirect_stdout(output), redirect_stderr(errors):
                status = main([*split(name), *split(arguments)])
            written = (output.getvalue() + errors.getvalue()).replace(address, "localhost:4318")
            command = f"otel-ml {name} {arguments}".rstrip()
            lines = [f"$ {command}", *written.splitlines(), f"exit status {status}"]
            text = _name_ids("\n".join(line.rstrip() for line in lines)) + "\n"
            (folder / f"{name.replace(' ', '-')}.txt").write_text(text)
            facts[f"commands/{name.replace(' ', '-')}"] = {
                "asked": command,
                "blocks": written.splitlines(),
                "links": [],
                "answers": [*listener.answers],
            }
    return facts


def write(folder: Path) -> None:
    """Write all texts and facts into a folder."""
    for name in [name for name in os.environ if name.upper().startswith(_VARIABLES)]:
        del os.environ[name]
    os.environ["TZ"] = "UTC"
    time.tzset()
    for part in ("pages", "commands"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for old in (folder / part).glob("*.txt"):
            old.unlink()
    with tempfile.TemporaryDirectory() as data, open_story(Path(data)) as story:
        facts = ask_pages(story, folder / "pages") | run_commands(story, folder / "commands")
    if folder != SNAPSHOTS:
        (folder / FACTS).write_text(json.dumps(facts, ensure_ascii=False))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else SNAPSHOTS)
