"""Who the current request is for, so that runs deep inside can be tagged with it."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

CALLER: Final[ContextVar[Mapping[str, str] | None]] = ContextVar("caller", default=None)
