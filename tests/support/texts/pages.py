"""The pages, each with its address in the story and the questions to the API that it answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

PROJECT_ROUTE: Final = "/projects/{project:path}"
_FILE: Final = Path(__file__).with_name("pages.txt")
_CHAIN: Final = 2_120
# The runs of addresses: of the shop, its experiment, and an answer of its desk.
_RUNS: Final = {"first": 1, "second": 2, "tried": 20, "chain": _CHAIN}


class Seat(NamedTuple):
    """A page as a reader opens it.

    Attributes:
        address: Its address.
        asked: Addresses of requests to the API that have the same facts.
    """

    address: str
    asked: tuple[str, ...]


def read_pages() -> Mapping[str, Seat]:
    """Read the table of pages, by route."""
    names = {name: f"{number:032x}-{number:016x}" for name, number in _RUNS.items()}
    pages: dict[str, Seat] = {}
    route = ""
    for line in _FILE.read_text().splitlines():
        kind, _, address = line.strip().partition(" ")
        if line.startswith("#"):
            continue
        if not address:
            route = kind.replace("…", PROJECT_ROUTE)
            continue
        address = address.strip().format(**names, trace=f"{_CHAIN:032x}")
        if kind == "page":
            pages[route] = Seat(address, ())
        else:
            pages[route] = Seat(pages[route].address, (*pages[route].asked, f"/api/v1{address}"))
    return pages
