"""The pace of a measurement: how far apart a bench sends, looks again, or lets a call last.

A bench pauses nowhere else. Tests wait for conditions: ``tests/support/waiting.py``.
"""

import asyncio
import time


def pace(seconds: float) -> None:
    """Let time pass on this thread."""
    time.sleep(seconds)


async def pace_async(seconds: float) -> None:
    """Let time pass in this task; with 0, other tasks run once."""
    await asyncio.sleep(seconds)
