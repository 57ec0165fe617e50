"""The store of a new collector, created once per test process and then copied.

Creating the tables takes three times as long as opening them, and most tests begin with a new
store. `test_migrations` and tests with their own `CollectorProcess` cover the creation of tables at
first start.
"""

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

# In a separate process: the engine opens one folder per process, and tests may have one open.
_MAKER: Final = """
import sys
from otel_ml_collector.store.migrations import connect
connect(f"chdb://{sys.argv[1]}").close()
"""


def lay(data_dir: Path) -> None:
    """Copy the store of a first start into a data directory, unless it has one."""
    store = data_dir / "store"
    if not store.exists():
        shutil.copytree(_made(), store, symlinks=True)


@cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="otel-ml-new-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run([sys.executable, "-c", _MAKER, str(folder)], check=True, timeout=180)
    store = folder / "store"
    (store / "status").unlink(missing_ok=True)  # names the process that had it open
    return store
