"""Makes one HTML file of a page, which opens without a server.

The file has one style and one script of ours, which are the same in every file. Its policy allows
these two by hash and no request to anywhere. Images are inside. `portable` removes from the page
what needs a server.
"""

import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from html import unescape
from importlib.metadata import version
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import CollectorError
from otel_ml_collector.services import find_service
from otel_ml_collector.settings.connections import REMOVED
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.store.activity import compare_fields, note_change
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.redacted import redact
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.portable import FileLinks, PartLimits, make_portable
from otel_ml_collector.web.render import STATIC, TEMPLATES, complete_context, endpoint_of
from otel_ml_collector.web.view import BASE_PATH

MOST_FILE_BYTES: Final = 5_000_000
FEW_ROWS: Final = 10
# Room for the head and the foot of a file.
_FRAME_ROOM_BYTES: Final = 8_000
# Browsers do not load these two files with the pages.
_SAVED: Final = STATIC.parent / "saved"
_FILE_STYLE: Final = (STATIC / "style.css").read_text() + (_SAVED / "page.css").read_text()
_FILE_SCRIPT: Final = (_SAVED / "page.js").read_text()
_PAGE_TITLE: Final = re.compile(r"<title>(.*?)</title>", re.DOTALL)
_IMAGE_ADDRESS: Final = re.compile(r"/api/v1/projects/[^/]+/artifacts/([0-9a-f]{64})/image")
_DATA_URL: Final = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+")
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")
_FILE_NAME_CHARS: Final = 60


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


POLICY: Final = (
    f"default-src 'none'; img-src data:; style-src {_hash(_FILE_STYLE)}; "
    f"script-src {_hash(_FILE_SCRIPT)}; base-uri 'none'; form-action 'none'"
)


class FileOptions:
    """Query parameters of a file: whether it has links, and whether it is redacted."""

    def __init__(
        self,
        *,
        request: Request,
        reader: FromReader,
        link: Annotated[
            bool, Query(description="Whether the file has links to the pages of the collector")
        ] = False,
        redacted: Annotated[
            bool,
            Query(
                alias="redact",
                description="Whether to remove what the setting `judge_redact` names",
            ),
        ] = False,
        theme: Annotated[
            str,
            Query(
                pattern="^(light|dark|)$", description="`light` or `dark`. Default: the reader's"
            ),
        ] = "",
    ) -> None:
        self.has_link, self.is_redacted, self.theme = link, redacted, theme
        rules = find_service(request, Settings).judge_redact
        self.reader: Reader = redact(reader, rules) if redacted else reader


FromFileOptions = Annotated[FileOptions, Depends()]


class FileLog:
    """Notes in the activity of a project who made which file.

    Args:
        connections: The store.
    """

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()
        self._lock = threading.Lock()

    def note(self, project: str, name: str, *, is_redacted: bool) -> None:
        """Store that the sender of the current request made a file. On return it is on disk.

        Raises:
            Unavailable: The store does not answer. Then no file may be sent.
        """
        facts = compare_fields(None, {"redacted": is_redacted or None})
        with self._lock, store_trouble():
            note_change(self._client, project, "shared file", "created", name, changes=facts)


@dataclass(slots=True)
class SharedFile:
    """A file that is being made.

    Attributes:
        request: The request for the file.
        options: What the file has.
        project: The project of the page.
        page: Address of the page that the file shows, with base path.
        runs: IDs of the runs that the file contains, so that links to them stay inside.
        cuts: What was left out, in words.
        read_image: Reads the image of an artifact by its hash; None if the page has none.
    """

    request: Request
    options: FileOptions
    project: str
    page: str
    runs: frozenset[str] = frozenset()
    cuts: list[str] = field(default_factory=list)
    read_image: Callable[[str], bytes] | None = None

    @property
    def links(self) -> FileLinks:
        """Where links lead in this file."""
        server = ""
        if self.options.has_link:
            server = endpoint_of(self.request).removesuffix(BASE_PATH.get())
        return FileLinks(f"{BASE_PATH.get()}/projects/", server, self.runs, self._read_image)

    @property
    def frame_bytes(self) -> int:
        """Size of a file without its content."""
        return len(_FILE_STYLE.encode()) + len(_FILE_SCRIPT.encode()) + _FRAME_ROOM_BYTES

    def _read_image(self, address: str) -> bytes | None:
        match = _IMAGE_ADDRESS.fullmatch(address.removeprefix(BASE_PATH.get()))
        if match is None or self.read_image is None:
            return None
        with suppress(CollectorError):  # deleted in the meantime, or many are being read
            return self.read_image(match[1])
        return None

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        """Render a template of the pages for a file."""
        own = {"is_file": True, "frame": "bare.html", **context}
        return TEMPLATES.get_template(template).render(
            complete_context(self.request, own) | {"request": self.request}
        )

    def write_part(
        self, html: str, limits: PartLimits | None = None, *, has_ids: bool = True
    ) -> str:
        """Write a rendered part without what needs a server."""
        return make_portable(html, self.links, limits, has_ids=has_ids)

    def write_page(self, html: str, most_bytes: int = MOST_FILE_BYTES) -> tuple[str, str]:
        """Write a whole page: as it is, with shorter tables, without images, or only its start.

        Returns:
            Its title and its content.
        """
        title = _PAGE_TITLE.search(html)
        html = _PAGE_TITLE.sub("", html, count=1)
        room = most_bytes - self.frame_bytes
        for limits in (
            PartLimits(),
            PartLimits(rows=FEW_ROWS),
            PartLimits(rows=FEW_ROWS, images=False),
            PartLimits(rows=FEW_ROWS, images=False, chars=room // 2),
        ):
            main = self.write_part(html, limits)
            if len(main.encode()) <= room:
                break
        self.cuts += describe_cuts([limits])
        return unescape(title[1]) if title else "", main

    def answer(self, title: str, main: str) -> Response:
        """Return the file as a download. Before, note in the activity who made it."""
        options = self.options
        name = self.page.removeprefix(f"{view.address(self.project)}/")
        log = find_service(self.request, FileLog)
        log.note(self.project, name, is_redacted=options.is_redacted)
        text = TEMPLATES.get_template(
            "saved_file.html"
        ).render(
            title=title,
            project=self.project,
            main=Markup(main),  # noqa: S704 - written by `make_portable`
            policy=POLICY,
            style=Markup(_FILE_STYLE),  # noqa: S704 - our own file
            script=Markup(_FILE_SCRIPT),  # noqa: S704 - our own file
            made=to_rfc3339(time.time_ns())[:16].replace("T", " "),
            version=version("otel-ml"),
            link=f"{self.links.server}{self.page}" if options.has_link else "",
            theme=options.theme,
            is_redacted=options.is_redacted,
            removed=REMOVED,
            cuts=self.cuts,
        )
        name = _NOT_IN_A_NAME.sub("-", title)[:_FILE_NAME_CHARS].strip("-.") or "otel-ml"
        headers = {
            "Content-Disposition": f'attachment; filename="{name}.html"',
            "Content-Security-Policy": POLICY,
            "Cache-Control": "no-store",
        }
        return HTMLResponse(text, headers=headers)


def describe_cuts(limits: Sequence[PartLimits]) -> list[str]:
    """Say which rows and images were left out of some parts, and whether an end was."""
    rows = sum(one.left_rows for one in limits)
    images = sum(one.left_images for one in limits)
    cuts = []
    if rows:
        cuts.append(f"{rows:,} rows of tables")
    if images:
        cuts.append("1 image" if images == 1 else f"{images:,} images")
    if any(one.is_cut for one in limits):
        cuts.append("the end of the page")
    return cuts


def count_text(html: str) -> int:
    """Return the size of written HTML without its images, in bytes."""
    return len(html.encode()) - sum(len(match[0]) for match in _DATA_URL.finditer(html))
