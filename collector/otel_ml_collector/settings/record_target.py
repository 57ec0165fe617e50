"""Where records are sent: the address of a RecordService, its key and whom to trust."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

_MAX_TARGETS: Final = 8
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_MEANT: Final = (
    "expected grpc://HOST:PORT or grpcs://HOST:PORT, with :KEY@ before the host when the service "
    "wants a key, and ?ca=FILE after the port when its certificate is none of the system's"
)


@dataclass(frozen=True, slots=True)
class RecordTarget:
    """A RecordService.

    Attributes:
        address: ``host:port``.
        is_secure: Whether it speaks TLS.
        key: Sent as a bearer token; empty for none.
        ca: Certificates to trust instead of the system's (PEM).
        name: What it is called in the log, in ``/metrics`` and where its cursors are kept.
    """

    address: str
    is_secure: bool = False
    key: str = field(default="", repr=False)
    ca: Path | None = None
    name: str = ""


def read_record_target(text: str) -> RecordTarget:
    """Read ``grpc://[:key@]host:port``, or ``grpcs`` for TLS with an optional ``?ca=file``.

    Raises:
        ValueError: It is none; the message says what would be right, and not the key.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise ValueError(_MEANT) from None
    is_secure = parts.scheme == "grpcs"
    if parts.scheme not in {"grpc", "grpcs"} or not (parts.hostname and port):
        raise ValueError(_MEANT)
    if parts.path not in {"", "/"} or parts.fragment or parts.username:
        raise ValueError(_MEANT)
    key = unquote(parts.password or "")
    if not (key.isascii() and key.isprintable()):
        raise ValueError("expected a key of printable ASCII characters")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return RecordTarget(f"{host}:{port}", is_secure, key, _read_ca(parts, is_secure=is_secure))


def read_record_targets(text: str) -> tuple[RecordTarget, ...]:
    """Read targets, ``name=grpc://...`` with commas between them, at most eight.

    Raises:
        ValueError: One of them is none, or two have one name.
    """
    targets = tuple(_read_named(part.strip()) for part in text.split(",") if part.strip())
    if len({target.name for target in targets}) < len(targets) or len(targets) > _MAX_TARGETS:
        raise ValueError(f"expected at most {_MAX_TARGETS} targets, each name once")
    return targets


def _read_named(text: str) -> RecordTarget:
    name, _, address = text.partition("=")
    if not _NAME.fullmatch(name):
        raise ValueError("expected NAME=grpc://HOST:PORT with a name of a-z, 0-9, '_', '.' and '-'")
    return replace(read_record_target(address), name=name)


def _read_ca(parts: SplitResult, *, is_secure: bool) -> Path | None:
    options = parse_qs(parts.query, keep_blank_values=True)
    if not options:
        return None
    if set(options) != {"ca"} or not is_secure:
        raise ValueError(_MEANT)
    path = Path(options["ca"][-1]).expanduser()
    if not path.is_file():
        raise ValueError(f"expected a file of certificates (PEM), which {path} is not")
    return path
