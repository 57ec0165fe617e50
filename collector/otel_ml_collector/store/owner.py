"""Proves to a running collector that a command may read its data directory.

A collector that requires keys has none at first, and it has locked the data directory. Whoever can
read the private files of the directory could also open the store, so they may create the first key.
"""

import hmac
from pathlib import Path
from typing import Final

SECRET_FILE: Final = "session.secret"  # noqa: S105 - the name of a file
_PURPOSE: Final = b"otel-ml: the first key"


def make_owner_token(secret: bytes) -> str:
    """Make the token that proves access to the secret of a data directory."""
    return hmac.new(secret, _PURPOSE, "sha256").hexdigest()


def read_owner_token(data_dir: Path) -> str | None:
    """Make the token from a data directory; None if this process cannot read its secret."""
    try:
        return make_owner_token((data_dir / SECRET_FILE).read_bytes())
    except OSError:
        return None
