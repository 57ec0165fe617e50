"""Pauses of a benchmark between requests, polls, or within a call.

A benchmark pauses nowhere else. Tests wait for conditions: ``tests/support/waiting.py``.
"""

import asyncio
import time


def pace(seconds: float) -> None:
    """Pause this thread."""
    time.sleep(seconds)


async def pace_async(seconds: float) -> None:
    """Pause this task; with 0, other tasks run once."""
    await asyncio.sleep(seconds)
