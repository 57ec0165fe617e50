"""Looks up the parts of the collector by type, and lists what a topic adds to it."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastapi import APIRouter, Request

Part = TypeVar("Part")


class Services:
    """Contains one part of each type. All exist before the first request."""

    def __init__(self, *parts: object) -> None:
        self._parts: dict[type, object] = {}
        for part in parts:
            self.put(part)

    def put(self, part: object) -> None:
        """Add a part. It replaces a part of its type, and of each type that it is derived from."""
        self._parts |= dict.fromkeys(type(part).__mro__[:-1], part)

    def find(self, kind: type[Part]) -> Part:
        """Return the part of a type.

        Raises:
            LookupError: The application has no such part.
        """
        part = self._parts.get(kind)
        if isinstance(part, kind):
            return part
        raise LookupError(f"The application has no {kind.__name__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What a topic adds to the application.

    Attributes:
        api: The routes of its API.
        pages: The routes of its pages.
        make_services: Makes the parts that only its routes use, from the parts of the collector.
    """

    api: Sequence[APIRouter] = ()
    pages: Sequence[APIRouter] = ()
    make_services: Callable[[Services], Iterable[object]] = lambda services: ()


def find_service(request: Request, kind: type[Part]) -> Part:
    """Return the application's part of a type."""
    services: Services = request.app.state.services
    return services.find(kind)


def service_of(kind: type[Part]) -> Callable[[Request], Awaitable[Part]]:
    """Return a dependency for routes that returns the application's part of a type."""

    async def find(request: Request) -> Part:
        return find_service(request, kind)

    return find
