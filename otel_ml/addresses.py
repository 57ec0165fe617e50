"""Writes names as segments of addresses, so that any name can be a segment, and strips quotes.

See the design record ``docs/design/066-names-in-addresses.md``.
"""

import re
from typing import Final

# Clients and proxies remove the segments `.` and `..`, percent-encoded or not.
_DOTS: Final = re.compile(r"~*\.{1,2}")


def write_segment(name: str) -> str:
    """Return a name as a segment of an address, percent-encoded: ``models%2F1``, ``~..``."""
    from urllib.parse import quote  # slow to import, and not needed to record

    return quote(f"~{name}" if _DOTS.fullmatch(name) else name, safe="", errors="replace")


def strip_quotes(address: str) -> str:
    """Return an address without the quotes that some shells and files of settings leave."""
    address = address.strip()
    is_quoted = len(address) > 1 and address[0] == address[-1] and address[0] in "\"'"
    return address[1:-1].strip() if is_quoted else address


def read_segment(segment: str) -> str:
    """Return the name of a segment, which is percent-encoded; reverses `write_segment`."""
    from urllib.parse import unquote

    name = unquote(segment)
    return name[1:] if name.startswith("~") and _DOTS.fullmatch(name) else name
