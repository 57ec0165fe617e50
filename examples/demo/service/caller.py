"""The caller of the current request, with which nested runs are tagged."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

CALLER: Final[ContextVar[Mapping[str, str] | None]] = ContextVar("caller", default=None)
