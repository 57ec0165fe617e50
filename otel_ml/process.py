"""This process as the wire names it: an id, and numbers that show what was lost on the way."""

import itertools
import os
from typing import Final


class Process:
    """One process; a forked child gets a new id and starts its numbers at 1."""

    def __init__(self) -> None:
        self.renew()
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        """Take a new id and begin at 1."""
        self.id = os.urandom(4).hex()
        self._counts: dict[str, itertools.count[int]] = {}

    def count_of(self, project: str) -> "itertools.count[int]":
        """Return the numbers of a project; ``next`` takes one."""
        return self._counts.setdefault(project, itertools.count(1))


PROCESS: Final = Process()
