"""Slow cases of tests/unit/otel_ml/versions/test_source.py."""

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.otel_ml.written import imported
from tests.support.waiting import run_other_threads
from tests.unit.otel_ml.versions.test_source import text_of


class Cycle:
    """Garbage that lets other threads run while it is collected."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        run_other_threads()


def find_often(target: Callable[..., Any]) -> set[str | None]:
    found = set()
    for _ in range(8):
        garbage = [Cycle() for _ in range(5)]
        found.add(text_of(target))
        del garbage
    return found


def test_source_is_found_in_many_threads(tmp_path: Path) -> None:
    """The source is found even if many threads parse at once, which some interpreters cannot do."""
    text = "def large(a):\n" + "    a = [a, (a, a)]\n" * 1_500
    thresholds = gc.get_threshold()
    gc.set_threshold(100)
    try:
        with (
            imported(tmp_path, {"shop.model": text}, "shop.model") as module,
            ThreadPoolExecutor(8) as threads,
        ):
            found = set[str | None]().union(*threads.map(find_often, [module.large] * 8))
    finally:
        gc.set_threshold(*thresholds)
    assert found == {text.rstrip()}
