"""A collector that requires keys, and an admin key."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.collector import CollectorProcess, running
from tests.support.keys import run_keys

ALL: Final = "ingest,read,annotate,admin,import"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def admin(data_dir: Path) -> str:
    """Return the text of a key with all scopes, created before the collector starts."""
    done = run_keys("add", "--data-dir", str(data_dir), "--project", "*", "--scope", ALL)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def closed(data_dir: Path, admin: str) -> Iterator[CollectorProcess]:
    """Run a collector that requires keys."""
    with running(data_dir, "--require-keys") as process:
        yield process
