"""A page whose frame is sent before its content.

Why: docs/design/075-frames.md.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from markupsafe import escape
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# Errors are mostly found within this time, and then have their own status.
_FRAME_AFTER_S: Final = 0.05
# The content of a page begins with its title and its scripts, which depend on what is found.
_TITLE: Final = "<title>"
_HEAD_END: Final = "</head>"
_MAIN: Final = '<main id="main">'
_MOVE: Final = '<meta http-equiv="refresh" content="0; url={}">'


class FramedPage(HTMLResponse):
    """The answer of a route that shows a whole page: its frame, and the content when it is ready.

    A route that declares it as its `response_class` returns an ordinary page. The frame is sent
    only to a browser that opens the page, and only if the page is not ready within 0.05 s. From
    then on the status is 200: an error that is found later is shown as the content.
    """

    def __init__(self, frame: str, page: "asyncio.Task[Response]") -> None:
        super().__init__()
        del self.headers["content-length"]
        self._frame = frame
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frame, wait for the page, and send its content."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(start)
            await _send_part(send, _split(self._frame)[0], has_more=True)
            await _send_part(send, _content_of(await self._page), has_more=False)
        finally:
            self._page.cancel()  # does nothing after its end


async def answer_framed(
    request: Request,
    answer: Callable[[Request], Coroutine[Any, Any, Response]],
    make_frame: Callable[[Request], str],
) -> Response:
    """Answer with a page, or with a `FramedPage` if the page takes too long.

    Args:
        request: The request of a browser that opens a page.
        answer: Makes the page, or an error or redirect in its place.
        make_frame: Makes a page without content.
    """
    page = asyncio.create_task(answer(request))
    try:
        done, _ = await asyncio.wait({page}, timeout=_FRAME_AFTER_S)
    except asyncio.CancelledError:
        page.cancel()
        raise
    return page.result() if done else FramedPage(make_frame(request), page)


def opens_page(request: Request) -> bool:
    """Return whether a browser opens a page, and does not replace a part of one."""
    headers = request.headers
    return (
        request.method == "GET"
        and "text/html" in headers.get("accept", "")
        and "hx-request" not in headers
    )


async def _send_part(send: Send, text: str, *, has_more: bool) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": has_more})


def _content_of(response: Response) -> str:
    """Return what follows the frame: the content of a page, or a redirect."""
    if "location" in response.headers:
        return _MOVE.format(escape(response.headers["location"]))
    return _split(bytes(response.body).decode())[1]


def _split(page: str) -> tuple[str, str]:
    """Split a page into its frame and its content."""
    start, title, rest = page.partition(_TITLE)
    late, end, rest = rest.partition(_HEAD_END)
    header, main, content = rest.partition(_MAIN)
    return start + end + header + main, title + late + content
