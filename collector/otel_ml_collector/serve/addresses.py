"""Finds the route of an address by its segments as the client sent them, before decoding.

See the design record ``docs/design/066-names-in-addresses.md``.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from otel_ml.addresses import read_segment

_METHOD_NOT_ALLOWED: Final = 405


class SegmentRoute(BaseRoute):
    """Passes a request on to the route whose path has the segments of its address.

    A segment of an address is either a word of the route's path or a name. So a session that is
    called `runs`, or `models/1`, never leads to another route. Addresses of names with a slash that
    is not percent-encoded have more segments: the routes themselves match them, in their order.

    Args:
        routes: The routes. If several match, the one with the most words comes first.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        # By number of segments: the words of each path, None for a name, and its routes by method.
        self._by_size: dict[int, dict[tuple[str | None, ...], dict[str, Route]]] = {}
        for route in routes:
            if isinstance(route, Route):
                words = tuple(
                    None if word.startswith("{") else word for word in route.path[1:].split("/")
                )
                by_method = self._by_size.setdefault(len(words), {}).setdefault(words, {})
                for method in route.methods or ():
                    by_method.setdefault(method, route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Find the route of a request. An invalid method is a match too: no other route answers."""
        if scope["type"] != "http":
            return Match.NONE, {}
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        segments = raw.decode("ascii", "replace")[1:].split("/")
        found = [
            (words, by_method)
            for words, by_method in self._by_size.get(len(segments), {}).items()
            if all(
                word == segment if word is not None else segment
                for word, segment in zip(words, segments, strict=True)
            )
        ]
        if not found:
            return Match.NONE, {}
        words, by_method = min(found, key=lambda entry: entry[0].count(None))
        route = by_method.get(scope["method"])
        if route is None:
            return Match.FULL, {"route": None, "allowed": sorted(by_method)}
        names = [
            read_segment(segment)
            for word, segment in zip(words, segments, strict=True)
            if word is None
        ]
        values = dict(zip(route.param_convertors, names, strict=True))
        return Match.FULL, {"endpoint": route.endpoint, "path_params": values, "route": route}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to the route that `matches` found."""
        route = scope["route"]
        if route is None:
            headers = {"Allow": ", ".join(scope["allowed"])}
            raise HTTPException(_METHOD_NOT_ALLOWED, headers=headers)
        await route.handle(scope, receive, send)
