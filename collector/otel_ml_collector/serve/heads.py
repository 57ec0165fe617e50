"""Answers HEAD as GET without a body, where that costs no more than a question."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PATHS: Final = "/api/v1/"
# What is as large as a project, or never ends; artifacts answer for themselves.
_NOT: Final = ("/export", "/live")
_OWN: Final = "/artifacts/"


class Heads:
    """Lets an application that answers GET answer HEAD.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not _is_meant(scope):
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, send_head)


def _is_meant(scope: Scope) -> bool:
    path: str = scope["path"]
    return (
        scope["method"] == "HEAD"
        and (path == "/" or path.startswith(_PATHS))
        and not path.endswith(_NOT)
        and _OWN not in path
        and b"format=zip" not in scope["query_string"]
    )
