"""Packages that a test writes to disk and imports, so that their source really varies."""

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Final

_NUMBERS: Final = count()


@contextmanager
def imported(directory: Path, sources: Mapping[str, str], name: str) -> Iterator[ModuleType]:
    """Write modules by dotted name and import one; forget them after the block.

    Each use writes to a new directory, so the same names can be used again.
    """
    root = directory / f"written_{next(_NUMBERS)}"
    for dotted, source in sources.items():
        path = root.joinpath(*dotted.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(dedent(source))
    (root / "__init__.py").unlink(missing_ok=True)
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(root))
        for dotted in [*sources, *(dotted.partition(".")[0] for dotted in sources)]:
            sys.modules.pop(dotted, None)
